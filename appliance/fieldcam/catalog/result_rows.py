# SPDX-License-Identifier: MIT
"""Results of consumers in `catalog.db`: putting them in once, and keeping the newest.

A result has one row however often it is found: what it says makes its key, and the key is unique. So whoever was killed
between writing a row and removing the file it came from does both again, and nothing is counted twice. The key is also
the row's check value: made anew of what is read, it tells a damaged row from a whole one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fieldcam.catalog.connect import Connection
from fieldcam.catalog.reader import is_live_id
from fieldcam.core.errors import CatalogError
from fieldcam.core.result import Result

RESULTS_SCHEMA = 2  # of the file: the first that has the columns below
# The newest are kept, of the whole appliance. The second bound is for results that are large.
MAX_ROWS = 200_000
MAX_CHARACTERS = 256_000_000
# Removed at most at once; also how many more than `MAX_ROWS` there may be, because a removal touches other pages than
# the rows it makes room for, and need not happen at every sweep.
PRUNE_ROWS = 1000

RESULT_COLUMNS = (
    *("id", "image_id", "camera", "service", "at", "data", "boot_id", "monotonic_ns", "sequence", "filename"),
    "key",
)
_INSERT = (
    f"INSERT INTO results ({', '.join(RESULT_COLUMNS)}) "  # noqa: S608 - names of ours
    f"VALUES ({', '.join('?' * len(RESULT_COLUMNS))})"
)


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A row of `results`: its id, which rises in the order in which results came in, and what it says."""

    id: int
    result: Result


@dataclass(frozen=True, slots=True)
class RecordedResult:
    """A result that has its row.

    Attributes:
        row: as it is in the catalog.
        capture: file name of the capture it is about; None when it is about a live frame or none.
    """

    row: ResultRow
    capture: str | None


class ResultRows:
    """The results in an open catalog. Every method that writes belongs into a transaction of the caller's.

    Args:
        connection: to a migrated file.
        max_rows, max_characters: how much is kept.
    """

    def __init__(
        self, connection: Connection, *, max_rows: int = MAX_ROWS, max_characters: int = MAX_CHARACTERS
    ) -> None:
        self._connection = connection
        self._max_rows = max_rows
        self._max_characters = max_characters
        # Kept in memory: a table of totals would be one more page that every sweep writes.
        self._totals: tuple[int, int] | None = None

    def forget_totals(self) -> None:
        """Count again before the next removal: a transaction was taken back."""
        self._totals = None

    def add(self, results: Sequence[Result]) -> list[RecordedResult]:
        """Give each result a row, unless it has one; return them in the same order, `image_id` as it is known now.

        The camera of each must be named.
        """
        self._prune()
        return [self._add(result) for result in results]

    def restore(self, rows: Sequence[ResultRow]) -> int:
        """Put rows back with the ids they had; return how many were new. An id that is taken gives way to another."""
        added = 0
        for row in rows:
            if self._find(row.result) is None:
                taken = self._connection.execute("SELECT 1 FROM results WHERE id = ?", (row.id,)).fetchone()
                self._insert(row.result, None if taken else row.id)
                added += 1
        return added

    def _add(self, result: Result) -> RecordedResult:
        if (known := self._find(result)) is not None:
            # It was found before: it keeps what was known of its capture then.
            result = dataclasses.replace(result, image_id=known[1])
            return RecordedResult(ResultRow(known[0], result), self._capture_of(result)[1])
        image_id, capture = self._capture_of(result)
        result = dataclasses.replace(result, image_id=image_id)
        return RecordedResult(ResultRow(self._insert(result, None), result), capture)

    def _find(self, result: Result) -> tuple[int, int | None] | None:
        found: tuple[int, int | None] | None = self._connection.execute(
            "SELECT id, image_id FROM results WHERE service = ? AND at = ? AND key = ?",
            (result.service, result.at, result.key),
        ).fetchone()
        return found

    def _insert(self, result: Result, row_id: int | None) -> int:
        data = json.dumps(result.data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        values = (
            *(row_id, result.image_id, result.camera, result.service, result.at, data),
            *(result.boot_id, result.monotonic_ns, result.sequence, result.filename, result.key),
        )
        cursor = self._connection.execute(_INSERT, values)
        if self._totals is not None:
            self._totals = (self._totals[0] + 1, self._totals[1] + len(data))
        return int(cursor.lastrowid or 0)

    def _capture_of(self, result: Result) -> tuple[int | None, str | None]:
        """Return id and file name of the capture a result is about, as far as the catalog knows it."""
        if result.image_id is not None:
            found = self._connection.execute(
                "SELECT id, filename FROM images WHERE id = ? AND camera = ?", (result.image_id, result.camera)
            ).fetchone()
            if found is not None and result.filename in {None, found[1]}:
                return int(found[0]), str(found[1])
            taken = self._connection.execute("SELECT 1 FROM images WHERE id = ?", (result.image_id,)).fetchone()
            # An id of another image is a mistake of the consumer's; one without a row may get it later.
            return (None if taken or is_live_id(result.image_id) else result.image_id), None
        if result.filename is not None:
            found = self._connection.execute(
                "SELECT id, filename, sequence FROM images WHERE camera = ? AND filename = ?",
                (result.camera, result.filename),
            ).fetchone()
            # A live frame may have the name of a capture; both never have the same sequence.
            if found is not None and result.sequence in {None, found[2]}:
                return int(found[0]), str(found[1])
        return None, None

    def _prune(self) -> None:
        """Remove the oldest when there are too many, a bounded number at a time."""
        if self._totals is None:
            rows, characters = self._connection.execute(
                "SELECT count(*), coalesce(sum(length(data)), 0) FROM results"
            ).fetchone()
            self._totals = (int(rows), int(characters))
        rows, characters = self._totals
        if rows < self._max_rows + PRUNE_ROWS and characters <= self._max_characters:
            return
        last, number, size = self._connection.execute(
            "SELECT max(id), count(*), coalesce(sum(length(data)), 0) "
            "FROM (SELECT id, data FROM results ORDER BY id LIMIT ?)",
            (min(PRUNE_ROWS, max(1, rows - 1)),),
        ).fetchone()
        self._connection.execute("DELETE FROM results WHERE id <= ?", (last,))
        self._totals = (rows - int(number), characters - int(size))


def result_row(values: Sequence[Any]) -> ResultRow:
    """Return a row read as `RESULT_COLUMNS`.

    Raises:
        CatalogError: the row is damaged.
    """
    row = dict(zip(RESULT_COLUMNS, values, strict=True))
    row_id, key = row.pop("id"), row.pop("key")
    try:
        result = Result(**{**row, "data": json.loads(row["data"])})
        if type(row_id) is not int or row_id < 0:
            raise ValueError(f"id is {row_id!r}")
    except (ValueError, TypeError, RecursionError) as error:
        raise CatalogError(f"result {row_id!r} is damaged: {error}", cause="damaged") from None
    if result.key != key:
        raise CatalogError(f"result {row_id} is damaged: it is not what was written", cause="damaged")
    return ResultRow(row_id, result)

# SPDX-License-Identifier: MIT
"""Getting results out of a catalog that is given up.

Images can be made again from their sidecars; of results the catalog has more than anybody else: `processed/` holds the
newest 1000 of each consumer. So when a catalog is made again its results are carried over, as far as the old file can
still be read: from the newest backwards, and when that ends at a damaged page, from the oldest forwards. Each row
proves by its key that it is what was written.

The old file is evidence, so it is opened for reading only. Where SQLite then refuses it (a transaction was under way
when the power went, or somebody has it locked for good) it is read without locks: a row of a transaction that was never
finished is whole or fails its key, and its source is still there to be found again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from fieldcam.catalog.connect import (
    SIDE_FILES,
    WRITER_BUSY_SECONDS,
    Connection,
    catalog_errors,
    open_immutable,
    open_reader,
)
from fieldcam.catalog.result_rows import MAX_ROWS, RESULT_COLUMNS, RESULTS_SCHEMA, ResultRow, result_row
from fieldcam.catalog.schema import check_version
from fieldcam.core.errors import CatalogError, SharedVolumeError

BATCH = 200
_SELECT = f"SELECT {', '.join(RESULT_COLUMNS)} FROM results"  # noqa: S608 - names of ours
_DOWN = f"{_SELECT} WHERE id < ? ORDER BY id DESC LIMIT ?"
_UP = f"{_SELECT} WHERE id > ? AND id < ? ORDER BY id LIMIT ?"


@dataclass(slots=True)
class Rescued:
    """How it went: rows read, rows that are damaged, and whether the whole file could be read."""

    rows: int = 0
    damaged: int = 0
    whole: bool = False


def rescue(path: Path, told: Rescued) -> Iterator[list[ResultRow]]:
    """Yield the results of a catalog in batches, newest first; what cannot be read is left out. Raises nothing.

    Args:
        path: the file; nothing in it is changed.
        told: filled while reading.
    """
    for look in (_open, open_immutable):
        with suppress(CatalogError, SharedVolumeError):
            connection = look(path)
            with closing(connection):
                if check_version(connection, path) < RESULTS_SCHEMA:
                    told.whole = True  # of a release that kept none
                    return
                yield from _rows(connection, path, told)
                return


def moved_aside(path: Path) -> Path | None:
    """Return the newest catalog that was moved aside, or None."""
    aside = [entry for entry in path.parent.glob(f"{path.name}.corrupt.*") if not entry.name.endswith(SIDE_FILES)]
    return max(aside, key=lambda entry: entry.name, default=None)


def _open(path: Path) -> Connection:
    return open_reader(path, busy_seconds=WRITER_BUSY_SECONDS)


def _rows(connection: Connection, path: Path, told: Rescued) -> Iterator[list[ResultRow]]:
    lowest = 2**63 - 1
    try:
        for batch in _walk(connection, path, _DOWN, (lowest,)):
            lowest = _id_of(batch[-1])
            yield _whole(batch, told)
            if told.rows + told.damaged >= MAX_ROWS:
                break
    except CatalogError:
        with suppress(CatalogError):
            for batch in _walk(connection, path, _UP, (-(2**63), lowest)):
                yield _whole(batch, told)
        return
    told.whole = True


def _walk(connection: Connection, path: Path, sql: str, bounds: tuple[int, ...]) -> Iterator[list[tuple[object, ...]]]:
    """Yield rows in batches; the first bound is where the last one ended. At a damaged page it goes on row by row.

    Raises:
        CatalogError: the next row cannot be read.
    """
    size = BATCH
    while True:
        try:
            with catalog_errors(path):
                batch = connection.execute(sql, (*bounds, size)).fetchall()
        except CatalogError:
            if size == 1:
                raise
            size = 1
            continue
        if not batch:
            return
        if _id_of(batch[-1]) == bounds[0]:
            raise CatalogError("the ids stand still", cause="damaged")  # or this would never end
        bounds = (_id_of(batch[-1]), *bounds[1:])
        yield batch


def _id_of(row: tuple[object, ...]) -> int:
    if not isinstance(row[0], int):
        raise CatalogError("an id is no number", cause="damaged")
    return row[0]


def _whole(batch: list[tuple[object, ...]], told: Rescued) -> list[ResultRow]:
    rows = []
    for values in batch:
        try:
            rows.append(result_row(values))
        except CatalogError:
            told.damaged += 1
    told.rows += len(rows)
    return rows

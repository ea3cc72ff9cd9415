# SPDX-License-Identifier: MIT
"""Pages of results, for the API. Opens the file for each answer, as `catalog.reader` does, and for the same reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldcam.catalog.connect import READER_BUSY_SECONDS
from fieldcam.catalog.reader import MAX_PAGE, Cursor, opened
from fieldcam.catalog.result_rows import RESULT_COLUMNS, RESULTS_SCHEMA, ResultRow, result_row

_COLUMNS = ", ".join(RESULT_COLUMNS)
# In order of preference: the first that is asked for finds the rows, the others only look at what it found.
_FILTER_COLUMNS = ("image_id", "service", "camera")


@dataclass(frozen=True, slots=True)
class ResultFilter:
    """Which results are wanted; everything that is set must hold.

    Attributes:
        since, until: `at` from (including) and to (excluding), RFC 3339 UTC with milliseconds and Z.
    """

    service: str | None = None
    camera: str | None = None
    image_id: int | None = None
    since: str | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True)
class ResultPage:
    """Results, newest first; `next` is None on the last page. In a cursor `captured_at` is the result's time."""

    rows: tuple[ResultRow, ...]
    next: Cursor | None


class ResultReader:
    """Reads the results of `catalog.db`.

    Args:
        path: `Layout.catalog`; need not exist yet.
        busy_seconds: how long to wait while the manager commits.
    """

    def __init__(self, path: Path, *, busy_seconds: float = READER_BUSY_SECONDS) -> None:
        self._path = path
        self._busy_seconds = busy_seconds

    def page(self, wanted: ResultFilter, *, after: Cursor | None = None, limit: int = 50) -> ResultPage:
        """Return the next results, newest first.

        Args:
            wanted: the filter.
            after: the `next` of the page before; None for the first.
            limit: 1 to `MAX_PAGE`.

        Raises:
            CatalogUnavailableError, CatalogTooNewError, CatalogError: the catalog cannot be read now.
        """
        limit = max(1, min(limit, MAX_PAGE))
        sql, values = result_query(wanted, after, limit + 1)
        with opened(self._path, self._busy_seconds, least_schema=RESULTS_SCHEMA) as connection:
            found = connection.execute(sql, values).fetchall()
        rows = tuple(result_row(row) for row in found[:limit])
        more = len(found) > limit
        return ResultPage(rows, Cursor(rows[-1].result.at, rows[-1].id) if more else None)


def result_query(wanted: ResultFilter, after: Cursor | None, limit: int) -> tuple[str, tuple[Any, ...]]:
    """Return the statement of a page and its values."""
    asked = [(column, getattr(wanted, column)) for column in _FILTER_COLUMNS if getattr(wanted, column) is not None]
    terms, values = [], []
    for column, value in asked:
        # The unary plus keeps SQLite, which knows nothing of how values are spread, from choosing another index.
        # A camera has none: results_time gives the order, and rows of the few other cameras are passed over.
        terms.append(f"{'' if column == asked[0][0] and column != 'camera' else '+'}{column} = ?")
        values.append(value)
    if wanted.since is not None:
        terms.append("at >= ?")
        values.append(wanted.since)
    # The cursor and `until` bound the same end: only the tighter one is asked.
    if after is not None and wanted.until is not None and after.captured_at >= wanted.until:
        after = None
    if wanted.until is not None and after is None:
        terms.append("at < ?")
        values.append(wanted.until)
    if after is not None:
        terms.append("(at, id) < (?, ?)")
        values += [after.captured_at, after.id]
    where = f"WHERE {' AND '.join(terms)} " if terms else ""
    sql = f"SELECT {_COLUMNS} FROM results {where}ORDER BY at DESC, id DESC LIMIT ?"  # noqa: S608 - columns of ours
    return sql, (*values, limit)

# SPDX-License-Identifier: MIT
"""The reading half of the catalog, for the API and the commands.

Each call opens the file and closes it again (a fraction of a millisecond): the manager may put a rebuilt catalog in
its place at any moment, and a kept connection would go on reading the old one. So one reader may be shared between
threads. Every answer costs the same at a thousand rows and at a million: each filter has an index that also gives the
order, and counts are kept by triggers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fieldcam.catalog.connect import READER_BUSY_SECONDS, Connection, catalog_errors, open_reader
from fieldcam.catalog.image_row import ROW_COLUMNS, ImageRow, row_from
from fieldcam.catalog.schema import require_schema
from fieldcam.core.frame import Kind

# Above every id of a capture (camera number × 2^40 + counter, numbers up to 4095), below what JavaScript can count to.
LIVE_ID_BASE = 2**52
MAX_PAGE = 1000
MAX_STEPS = 20_000_000  # of SQLite's virtual machine: about a second
_STEP_CHECK = 100_000

_COLUMNS = ", ".join(ROW_COLUMNS)
# In order of preference: the first that is asked for finds the rows, the others only look at what it found.
_FILTER_COLUMNS = ("job_id", "sample_no", "submission_no", "user_id", "camera")


def is_live_id(image_id: int) -> bool:
    """Return whether an id belongs to `live.db`; otherwise it belongs to `catalog.db`."""
    return image_id >= LIVE_ID_BASE


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """Which images are wanted; everything that is set must hold.

    Attributes:
        since, until: `captured_at` from (including) and to (excluding), RFC 3339 UTC with milliseconds and Z.
        job_id, user_id: compared as text: 7 and "7" are the same, "007" is another.
    """

    camera: str | None = None
    kind: Kind | None = None
    sample_no: str | None = None
    submission_no: str | None = None
    user_id: int | str | None = None
    job_id: int | str | None = None
    since: str | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended; the next one begins after it. `str()` and `parse` make it travel in a URL."""

    captured_at: str
    id: int

    def __str__(self) -> str:
        return f"{self.captured_at}~{self.id}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a cursor.

        Raises:
            ValueError: it is not one.
        """
        captured_at, tilde, number = text.partition("~")
        if not tilde or not number.isascii() or not number.isdigit() or len(number) > 18 or len(captured_at) != 24:
            raise ValueError("not a cursor")
        return cls(captured_at, int(number))


@dataclass(frozen=True, slots=True)
class Page:
    """Images, newest first; `next` is None on the last page."""

    rows: tuple[ImageRow, ...]
    next: Cursor | None


@dataclass(frozen=True, slots=True)
class Total:
    """How many images of a camera there are, and their bytes (images only, without sidecars)."""

    camera: str
    images: int
    bytes: int


class CatalogReader:
    """Reads one catalog file.

    Args:
        path: `Layout.catalog` or `Layout.live_catalog`; need not exist yet.
        kind: which of the two it is.
        busy_seconds: how long to wait while the writer commits.

    Every method raises `CatalogUnavailableError` (missing, locked, being rebuilt, too slow), `CatalogTooNewError` or
    `CatalogError` (damaged).
    """

    def __init__(self, path: Path, kind: Kind, *, busy_seconds: float = READER_BUSY_SECONDS) -> None:
        self._path = path
        self._kind = kind
        self._busy_seconds = busy_seconds

    def get(self, image_id: int) -> ImageRow | None:
        """Return an image, also a removed one (see `ImageRow.state`), or None."""
        if not 0 <= image_id < 2**63:
            return None
        rows = self._rows(f"SELECT {_COLUMNS} FROM images WHERE id = ?", (image_id,))  # noqa: S608
        return rows[0] if rows else None

    def find(self, camera: str, filename: str) -> ImageRow | None:
        """Return the image of that name, also a removed one, or None."""
        sql = f"SELECT {_COLUMNS} FROM images WHERE camera = ? AND filename = ?"  # noqa: S608
        rows = self._rows(sql, (camera, filename))
        return rows[0] if rows else None

    def page(self, wanted: ImageFilter, *, after: Cursor | None = None, limit: int = 50) -> Page:
        """Return the next images that are present, newest first.

        Args:
            wanted: the filter.
            after: the `next` of the page before; None for the first.
            limit: 1 to `MAX_PAGE`.
        """
        if wanted.kind is not None and wanted.kind != self._kind:
            return Page((), None)
        limit = max(1, min(limit, MAX_PAGE))
        sql, values = page_query(wanted, after, limit + 1)
        rows = self._rows(sql, values)
        more = len(rows) > limit
        rows = rows[:limit]
        return Page(tuple(rows), Cursor(rows[-1].captured_at, rows[-1].id) if more else None)

    def latest(self, camera: str | None = None) -> ImageRow | None:
        """Return the newest image by id, which no clock jump touches; of all cameras, the newest of those by time."""
        cameras = [camera] if camera is not None else [total.camera for total in self.totals()]
        sql = (
            f"SELECT {_COLUMNS} FROM images "  # noqa: S608
            "WHERE camera = ? AND state = 'present' ORDER BY id DESC LIMIT 1"
        )
        newest = [row for name in cameras for row in self._rows(sql, (name,))]
        return max(newest, key=lambda row: (row.captured_at, row.id), default=None)

    def totals(self) -> list[Total]:
        """Return images and bytes that are present, per camera."""
        with self._open() as connection:
            rows = connection.execute("SELECT camera, images, bytes FROM totals ORDER BY camera").fetchall()
        return [Total(str(camera), int(images), int(size)) for camera, images, size in rows]

    def count_before(self, camera: str, captured_at: str) -> int:
        """Return how many images of a camera that are present were captured before a time."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT count(*) FROM images WHERE camera = ? AND state = 'present' AND captured_at < ?",
                (camera, captured_at),
            ).fetchone()
        return int(row[0])

    def oldest(self, camera: str, captured_before: str, *, after: Cursor | None = None, limit: int) -> list[ImageRow]:
        """Return images of a camera captured before a time, oldest first, those after the cursor."""
        start = after or Cursor("", -1)
        sql = (
            f"SELECT {_COLUMNS} FROM images WHERE camera = ? AND state = 'present' "  # noqa: S608
            "AND captured_at < ? AND (captured_at, id) > (?, ?) ORDER BY captured_at, id LIMIT ?"
        )
        return self._rows(sql, (camera, captured_before, start.captured_at, start.id, limit))

    def newest_ids(self, camera: str, limit: int) -> list[int]:
        """Return the highest ids of a camera among the images that are present."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT id FROM images WHERE camera = ? AND state = 'present' ORDER BY id DESC LIMIT ?", (camera, limit)
            ).fetchall()
        return [int(row[0]) for row in rows]

    def _rows(self, sql: str, values: tuple[Any, ...]) -> list[ImageRow]:
        with self._open() as connection:
            rows = connection.execute(sql, values).fetchall()
        return [row_from(row) for row in rows]

    def _open(self) -> AbstractContextManager[Connection]:
        return opened(self._path, self._busy_seconds)


@contextmanager
def opened(path: Path, busy_seconds: float, *, least_schema: int = 1) -> Iterator[Connection]:
    """Open a catalog for one answer.

    Raises:
        CatalogUnavailableError, CatalogTooNewError, CatalogError: as `CatalogReader`; also for what the block does.
    """
    with closing(open_reader(path, busy_seconds=busy_seconds)) as connection:
        require_schema(connection, path, least_schema)
        _limit_steps(connection)
        with catalog_errors(path):
            yield connection


def page_query(wanted: ImageFilter, after: Cursor | None, limit: int) -> tuple[str, tuple[Any, ...]]:
    """Return the statement of a page and its values."""
    asked = [(column, getattr(wanted, column)) for column in _FILTER_COLUMNS if getattr(wanted, column) is not None]
    terms = ["state = 'present'"]
    values: list[Any] = []
    for position, (column, value) in enumerate(asked):
        # The unary plus keeps SQLite, which knows nothing of how values are spread, from choosing another index.
        terms.append(f"{'' if position == 0 else '+'}{column} = ?")
        values.append(str(value))
    if wanted.since is not None:
        terms.append("captured_at >= ?")
        values.append(wanted.since)
    # The cursor and `until` bound the same end: only the tighter one is asked, or SQLite might start from the other.
    if after is not None and wanted.until is not None and after.captured_at >= wanted.until:
        after = None
    if wanted.until is not None and after is None:
        terms.append("captured_at < ?")
        values.append(wanted.until)
    if after is not None:
        terms.append("(captured_at, id) < (?, ?)")
        values += [after.captured_at, after.id]
    sql = (
        f"SELECT {_COLUMNS} FROM images WHERE {' AND '.join(terms)} "  # noqa: S608 - columns of ours, values are bound
        "ORDER BY captured_at DESC, id DESC LIMIT ?"
    )
    return sql, (*values, limit)


def _limit_steps(connection: Connection) -> None:
    """Give up on a statement that would take much longer than any of ours does."""
    left = MAX_STEPS // _STEP_CHECK

    def count() -> int:
        nonlocal left
        left -= 1
        return int(left < 0)

    connection.set_progress_handler(count, _STEP_CHECK)

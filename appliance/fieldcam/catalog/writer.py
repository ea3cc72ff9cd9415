# SPDX-License-Identifier: MIT
"""The writing half of the catalog. One process has it, the manager: one writer is a rule of correctness here.

Everything is idempotent: recording a frame twice gives one row with the id it had, so announcements, reconciling and
rebuilding may overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fieldcam.catalog.connect import (
    Cause,
    Connection,
    catalog_errors,
    open_writer,
    quick_check,
    sqlite_error,
    transaction,
)
from fieldcam.catalog.image_row import VALUE_COLUMNS, digest_of, values_of
from fieldcam.catalog.migrations import migrate
from fieldcam.catalog.reader import LIVE_ID_BASE
from fieldcam.catalog.result_rows import RecordedResult, ResultRow, ResultRows
from fieldcam.core.clock import Clock
from fieldcam.core.errors import CatalogError, CatalogUnavailableError
from fieldcam.core.frame import Kind, Sidecar
from fieldcam.core.result import Result

_INSERT = (
    f"INSERT INTO images (id, {', '.join(VALUE_COLUMNS)}, thumbnail_path, digest) "  # noqa: S608 - names of ours
    f"VALUES ({', '.join('?' * (len(VALUE_COLUMNS) + 3))})"
)
_WALK = (
    f"SELECT id, camera, filename, state, thumbnail_path, digest, {', '.join(VALUE_COLUMNS)} "  # noqa: S608
    "FROM images WHERE id > ? ORDER BY id LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class KnownImage:
    """A row as reconciling needs it; `whole` is False when its values are not those that were written."""

    id: int
    camera: str
    filename: str
    present: bool
    thumbnail_path: str | None
    whole: bool


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What tells one state of a file from another."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> FileStamp | None:
        """Return the stamp of a file, None when it is not there."""
        try:
            facts = path.stat()
        except OSError:
            return None
        return cls(facts.st_ino, facts.st_size, facts.st_mtime_ns)


class CatalogWriter:
    """An open catalog.

    Args:
        connection: from `open_writer`, migrated.
        path: the file.
        kind: `capture` for `catalog.db`, `live` for `live.db`.
        clock: where ids of live frames start.
    """

    def __init__(self, connection: Connection, path: Path, kind: Kind, clock: Clock) -> None:
        self._connection = connection
        self.path = path
        self.kind = kind
        with catalog_errors(path):
            highest = connection.execute("SELECT max(id) FROM images").fetchone()[0] or 0
        # Milliseconds rise faster than frames come, so that a new live.db does not repeat the ids of the one before.
        self._next_live_id = max(highest + 1, LIVE_ID_BASE + clock.wall_ns() // 1_000_000)
        self._stamp = FileStamp.of(path)
        self._results = ResultRows(connection)

    @classmethod
    def open(cls, path: Path, kind: Kind, clock: Clock, *, durable: bool | None = None) -> Self:
        """Open and migrate a catalog; an empty one is made when there is none.

        Args:
            path: the file.
            kind: `capture` for `catalog.db`, `live` for `live.db`.
            clock: where ids of live frames start.
            durable: whether commits survive a power cut; None = those of captures do.

        Raises:
            CatalogTooNewError: it needs a newer release.
            CatalogUnavailableError, CatalogError: it cannot be opened, or it is damaged.
            StorageUnavailableError, StorageFullError: the file could not be made.
        """
        connection = open_writer(path, durable=kind == "capture" if durable is None else durable)
        try:
            migrate(connection, path)
            return cls(connection, path, kind, clock)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the file; nothing is pending in it. Idempotent."""
        with suppress(sqlite_error):
            self._connection.close()

    def changed_by_others(self) -> bool:
        """Return whether the file was deleted, replaced or written since this writer last wrote it."""
        return FileStamp.of(self.path) != self._stamp

    def check_structure(self) -> str | None:
        """Return what SQLite finds wrong with the file, or None. Reads all of it.

        Raises:
            CatalogUnavailableError: it could not be read.
        """
        return quick_check(self._connection, self.path)

    def probe(self) -> None:
        """Write something, to find out whether that works.

        Raises:
            CatalogUnavailableError, CatalogError: it does not.
        """
        with self._writing():
            self._connection.execute(
                "INSERT INTO meta VALUES ('probe', '0') ON CONFLICT (key) DO UPDATE SET value = value + 1"
            )

    def record(self, sidecar: Sidecar) -> int:
        """Record one frame; return its id. See `record_many`."""
        return self.record_many([sidecar])[0]

    def record_many(self, sidecars: Sequence[Sidecar], thumbnails: Sequence[str | None] = ()) -> list[int]:
        """Record frames in one transaction; return their ids. Known ones keep theirs; removed ones come back.

        Args:
            sidecars: what was published.
            thumbnails: paths relative to the archive, one per sidecar, or nothing.

        Raises:
            ValueError: a sidecar is damaged; nothing was recorded.
            CatalogError: another image has the id (cause `conflict`); nothing was recorded.
            CatalogUnavailableError: nothing was recorded.
        """
        rows = [values_of(sidecar) for sidecar in sidecars]
        ids = []
        with self._writing():
            for index, (sidecar, values) in enumerate(zip(sidecars, rows, strict=True)):
                thumbnail = thumbnails[index] if thumbnails else None
                ids.append(self._record(sidecar, values, thumbnail))
        return ids

    def mark_removed(self, camera: str, filenames: Sequence[str]) -> int:
        """Note that frames are gone; return how many rows changed. Live frames lose their rows.

        Raises:
            CatalogUnavailableError, CatalogError: nothing was changed.
        """
        statement = (
            "DELETE FROM images WHERE camera = ? AND filename = ?"
            if self.kind == "live"
            else "UPDATE images SET state = 'removed' WHERE camera = ? AND filename = ? AND state = 'present'"
        )
        with self._writing():
            return self._connection.executemany(statement, [(camera, name) for name in filenames]).rowcount

    def set_thumbnails(self, made: Iterable[tuple[str, str, str]]) -> None:
        """Note thumbnails as (camera, filename, path relative to the archive).

        Raises:
            CatalogUnavailableError, CatalogError: nothing was changed.
        """
        with self._writing():
            self._connection.executemany(
                "UPDATE images SET thumbnail_path = ?3 WHERE camera = ?1 AND filename = ?2",
                [(camera, filename, path) for camera, filename, path in made],
            )

    def record_results(self, results: Sequence[Result]) -> list[RecordedResult]:
        """Record results in one transaction; known ones keep their rows. The camera of each must be named.

        Raises:
            CatalogUnavailableError, CatalogError: nothing was recorded.
        """
        with self._writing_results():
            return self._results.add(results)

    def restore_results(self, rows: Sequence[ResultRow]) -> int:
        """Put results of another catalog, or of `processed/`, back with their ids; return how many were new.

        Raises:
            CatalogUnavailableError, CatalogError: nothing was changed.
        """
        with self._writing_results():
            return self._results.restore(rows)

    def unknown(self, camera: str, filenames: Sequence[str]) -> list[str]:
        """Return those names (at most 500) that have no row that is present.

        Raises:
            CatalogUnavailableError, CatalogError: the catalog could not be read.
        """
        with catalog_errors(self.path):
            found = self._connection.execute(
                "SELECT filename FROM images WHERE camera = ? AND state = 'present' "  # noqa: S608 - question marks
                f"AND filename IN ({', '.join('?' * len(filenames))})",
                (camera, *filenames),
            ).fetchall()
        known = {str(row[0]) for row in found}
        return [name for name in filenames if name not in known]

    def after(self, row_id: int, limit: int) -> list[KnownImage]:
        """Return the next rows by id, for walking through all of them in steps.

        Raises:
            CatalogUnavailableError, CatalogError: the catalog could not be read.
        """
        with catalog_errors(self.path):
            rows = self._connection.execute(_WALK, (row_id, limit)).fetchall()
        return [known_image(row) for row in rows]

    def _record(self, sidecar: Sidecar, values: tuple[object, ...], thumbnail: str | None) -> int:
        known = self._connection.execute(
            "SELECT id, state FROM images WHERE camera = ? AND filename = ?", (sidecar.camera, sidecar.filename)
        ).fetchone()
        if known is not None:
            if known[1] != "present":
                self._connection.execute("UPDATE images SET state = 'present' WHERE id = ?", (known[0],))
            return int(known[0])
        if sidecar.kind == "capture" and sidecar.id is not None:
            row_id = sidecar.id
            digest = digest_of(row_id, values)
        else:
            row_id = self._next_live_id
            self._next_live_id += 1
            digest = digest_of(None, values)
        self._connection.execute(_INSERT, (row_id, *values, thumbnail, digest))
        return row_id

    @contextmanager
    def _writing_results(self) -> Iterator[None]:
        try:
            with self._writing():
                yield
        except BaseException:
            self._results.forget_totals()
            raise

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if self.changed_by_others():
            raise CatalogUnavailableError(
                f"{self.path.name} was changed by another process", cause=Cause.CHANGED.value, path=str(self.path)
            )
        try:
            with transaction(self._connection, self.path):
                yield
        finally:
            self._stamp = FileStamp.of(self.path)


def known_image(row: Sequence[object]) -> KnownImage:
    """Return a row that was read as id, camera, filename, state, thumbnail_path, digest, then `VALUE_COLUMNS`.

    Raises:
        CatalogError: a value has a type that was never written.
    """
    row_id, camera, filename, state, thumbnail, digest, *values = row
    if not isinstance(row_id, int) or not isinstance(camera, str) or not isinstance(filename, str):
        raise CatalogError(f"row {row_id!r} is damaged", cause="damaged")
    is_live = row_id >= LIVE_ID_BASE
    try:
        whole = digest == digest_of(None if is_live else row_id, values)
    except (TypeError, ValueError):
        whole = False  # bytes where a text was
    return KnownImage(
        row_id, camera, filename, state == "present", thumbnail if isinstance(thumbnail, str) else None, whole
    )

# SPDX-License-Identifier: MIT
"""Opening SQLite files, and saying in our words what SQLite says in its own.

`catalog.db` is written with a rollback journal and synchronous EXTRA: a power cut loses nothing that was committed,
and a reader of another user without write permission works when the writer is away, which a WAL database refuses.
`live.db` is a cache that is reconciled at start: it is never flushed to disk, but keeps its journal, so that a killed
writer leaves no half transaction.

One connection per thread; nobody opens a database file by hand while a connection of the same process is open,
because closing that descriptor would drop SQLite's locks (POSIX).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from fieldcam.core.durable import FILE_MODE, storage_errors
from fieldcam.core.errors import CatalogError, CatalogUnavailableError

# Capture waits one second for the answer to an announcement, so the writer gives up a lock before that.
WRITER_BUSY_SECONDS = 0.6
READER_BUSY_SECONDS = 2.0
SIDE_FILES = ("-journal", "-wal", "-shm")

Connection = sqlite3.Connection
sqlite_error = sqlite3.Error


class Cause(StrEnum):
    """Why the catalog failed; stands in the `cause` detail of the error."""

    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    MISSING = "missing"
    LOCKED = "locked"
    FULL = "full"
    IO = "io"
    SLOW = "slow"
    CHANGED = "changed"
    CONFLICT = "conflict"


_CAUSES = {
    sqlite3.SQLITE_CORRUPT: Cause.DAMAGED,
    sqlite3.SQLITE_NOTADB: Cause.DAMAGED,
    sqlite3.SQLITE_ERROR: Cause.DAMAGED,  # "no such table": our statements are right, so the schema is not ours
    sqlite3.SQLITE_FORMAT: Cause.DAMAGED,
    sqlite3.SQLITE_MISMATCH: Cause.DAMAGED,
    sqlite3.SQLITE_SCHEMA: Cause.DAMAGED,
    sqlite3.SQLITE_CANTOPEN: Cause.UNREADABLE,
    sqlite3.SQLITE_PERM: Cause.UNREADABLE,
    sqlite3.SQLITE_AUTH: Cause.UNREADABLE,
    sqlite3.SQLITE_READONLY: Cause.UNREADABLE,
    sqlite3.SQLITE_BUSY: Cause.LOCKED,
    sqlite3.SQLITE_LOCKED: Cause.LOCKED,
    sqlite3.SQLITE_PROTOCOL: Cause.LOCKED,
    sqlite3.SQLITE_FULL: Cause.FULL,
    sqlite3.SQLITE_IOERR: Cause.IO,
    sqlite3.SQLITE_NOMEM: Cause.IO,
    sqlite3.SQLITE_INTERRUPT: Cause.SLOW,
    sqlite3.SQLITE_CONSTRAINT: Cause.CONFLICT,
}
_NEEDS_REBUILD = {Cause.DAMAGED, Cause.UNREADABLE, Cause.MISSING}


@contextmanager
def catalog_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite into ours; the detail `cause` is one of `Cause`.

    Raises:
        CatalogUnavailableError: the file is missing, locked, cannot be opened, or the disk failed.
        CatalogError: the file is damaged, or a row was refused.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        cause = _CAUSES.get(code & 0xFF, Cause.IO) if isinstance(code, int) else Cause.DAMAGED
        if cause is Cause.UNREADABLE and not path.exists():
            cause = Cause.MISSING
        wrong = cause in {Cause.DAMAGED, Cause.CONFLICT}
        raise (CatalogError if wrong else CatalogUnavailableError)(
            f"{path.name} is {_WORDS[cause]}: {error}", cause=cause.value, path=str(path)
        ) from error
    except UnicodeDecodeError as error:
        # A flipped byte in a text.
        raise CatalogError(
            f"{path.name} is {_WORDS[Cause.DAMAGED]}: {error}", cause=Cause.DAMAGED.value, path=str(path)
        ) from error


_WORDS = {
    Cause.DAMAGED: "damaged",
    Cause.UNREADABLE: "not accessible",
    Cause.MISSING: "missing",
    Cause.LOCKED: "locked by another process",
    Cause.FULL: "on a full disk",
    Cause.IO: "on a disk that fails",
    Cause.CHANGED: "changed by another process",
    Cause.SLOW: "too slow for this request",
    Cause.CONFLICT: "in conflict with this row",
}


def cause_of(error: CatalogError) -> Cause | None:
    """Return why the catalog failed, where that is known."""
    try:
        return Cause(str(error.details.get("cause")))
    except ValueError:
        return None


def needs_rebuild(error: CatalogError) -> bool:
    """Return whether waiting will not mend it."""
    return cause_of(error) in _NEEDS_REBUILD


def open_writer(path: Path, *, durable: bool, mode: int = FILE_MODE) -> Connection:
    """Open a database for its one writer; it is made when missing, with these permissions.

    Raises:
        CatalogUnavailableError, CatalogError: it cannot be opened, or it is no database.
        StorageUnavailableError, StorageFullError: the file could not be made.
    """
    if not path.exists():
        _create(path, mode)
    with catalog_errors(path):
        connection = sqlite3.connect(_uri(path, "rw"), uri=True, timeout=WRITER_BUSY_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = DELETE").fetchone()
            connection.execute(f"PRAGMA synchronous = {'EXTRA' if durable else 'OFF'}")
            connection.execute("PRAGMA trusted_schema = OFF")
            # Reads the file: opening alone does not.
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
    return connection


def open_reader(path: Path, *, busy_seconds: float = READER_BUSY_SECONDS) -> Connection:
    """Open a database for reading only; works without write permission and while the writer is away.

    Raises:
        CatalogUnavailableError, CatalogError: it is missing, cannot be opened, or is no database.
    """
    with catalog_errors(path):
        connection = sqlite3.connect(
            _uri(path, "ro"), uri=True, timeout=busy_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
    return connection


def open_immutable(path: Path) -> Connection:
    """Open a database without asking for its locks: for what can be got out of a file that somebody holds for good.

    Raises:
        CatalogUnavailableError, CatalogError: it cannot be opened, or it is no database.
    """
    with catalog_errors(path):
        connection = sqlite3.connect(f"{_uri(path, 'ro')}&immutable=1", uri=True, isolation_level=None)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def transaction(connection: Connection, path: Path) -> Iterator[None]:
    """Run statements as one transaction: all or nothing.

    Raises:
        CatalogUnavailableError, CatalogError: nothing was changed.
    """
    with catalog_errors(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def quick_check(connection: Connection, path: Path) -> str | None:
    """Return what SQLite finds wrong with the structure of the file, or None. Reads the whole file.

    Raises:
        CatalogUnavailableError: it could not be read.
    """
    try:
        with catalog_errors(path):
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    except CatalogError as error:
        if cause_of(error) is Cause.DAMAGED:
            return error.message
        raise
    return None if found == ["ok"] else "; ".join(found)


def _create(path: Path, mode: int) -> None:
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        os.close(descriptor)


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(str(path))}?mode={mode}"

# SPDX-License-Identifier: MIT
"""A database that lives is never copied as a file: a copy made while it is written to is damaged, or old, or both.

SQLite's own backup reads one state of it while others go on reading, and waits for a transaction under way.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from fieldcam.catalog.connect import Connection, catalog_errors, open_reader
from fieldcam.core.durable import OWN_FILE_MODE, storage_errors
from fieldcam.core.errors import CatalogError

ALL_PAGES = -1  # in one go: page by page it would begin anew with every commit of the writer
PATIENCE_SECONDS = 30.0


def take_snapshot(source: Path, target: Path) -> None:
    """Copy one consistent state of a database, in use or not, to a file that is not there yet.

    Raises:
        CatalogUnavailableError, CatalogError: the database cannot be read, or its copy is not sound.
        StorageFullError, StorageUnavailableError: the copy cannot be written.
    """
    with storage_errors(target):
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, OWN_FILE_MODE))
    with (
        closing(open_reader(source, busy_seconds=PATIENCE_SECONDS)) as reader,
        catalog_errors(source),
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        reader.backup(copy, pages=ALL_PAGES)
        # The copy is one file: nothing may have to lie beside it.
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()
    check_soundness(target)


def check_soundness(path: Path) -> None:
    """Read all of a database and make sure that it is whole.

    Raises:
        CatalogError: it is not.
        CatalogUnavailableError: it cannot be read.
    """
    with closing(open_reader(path)) as connection:
        found = _integrity(connection, path)
    if found != ["ok"]:
        raise CatalogError(f"{path.name} is damaged: {'; '.join(found[:3])}", cause="damaged", path=str(path))


def _integrity(connection: Connection, path: Path) -> list[str]:
    with catalog_errors(path):
        return [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]

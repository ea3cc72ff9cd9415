# SPDX-License-Identifier: MIT
"""Which release's schema a file has, and whether this one may use it.

`PRAGMA user_version` says which release's schema the file has; `min_reader` in `meta` says the oldest schema a program
must know to use it. A program accepts a newer file whose `min_reader` it satisfies, and leaves it as it is.

Apart from the migrations, which load sqlite-utils: whoever only reads starts without it.
"""

from __future__ import annotations

from pathlib import Path

from fieldcam.catalog.connect import Connection, catalog_errors
from fieldcam.core.errors import CatalogTooNewError, CatalogUnavailableError

SCHEMA_VERSION = 2


def check_version(connection: Connection, path: Path) -> int:
    """Return the schema version of a file, 0 for an empty one.

    Raises:
        CatalogTooNewError: it needs a newer release.
    """
    with catalog_errors(path):
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version <= SCHEMA_VERSION:
            return version
        row = connection.execute("SELECT value FROM meta WHERE key = 'min_reader'").fetchone()
    min_reader = int(row[0]) if row and str(row[0]).isdigit() else version
    if min_reader > SCHEMA_VERSION:
        raise CatalogTooNewError(
            f"{path} has schema {version}, for releases that know schema {min_reader}; this one knows {SCHEMA_VERSION}",
            path=str(path),
            version=version,
            min_reader=min_reader,
        )
    return version


def require_schema(connection: Connection, path: Path, least: int = 1) -> None:
    """Make sure that a reader can use a file.

    Args:
        connection: to the file.
        path: the file.
        least: the oldest schema that has what the reader asks for.

    Raises:
        CatalogTooNewError: it needs a newer release.
        CatalogUnavailableError: the manager has not made its tables yet, or not brought them to this release's schema.
    """
    if check_version(connection, path) < least:
        raise CatalogUnavailableError(f"{path.name} is being made", path=str(path), cause="missing")

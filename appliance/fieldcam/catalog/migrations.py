# SPDX-License-Identifier: MIT
"""The schema, told as a story: each step is additive, so that the release before still runs after a roll-back.

`PRAGMA user_version` says which release's schema the file has; `min_reader` in `meta` says the oldest schema a program
must know to use it. A program accepts a newer file whose `min_reader` it satisfies, and leaves it as it is.
`catalog.db` and `live.db` have the same schema.
"""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database, Migrations

from fieldcam.catalog.connect import Connection, catalog_errors, transaction
from fieldcam.core.errors import CatalogTooNewError, CatalogUnavailableError

SCHEMA_VERSION = 1

_steps = Migrations("fieldcam")

_ADD = """INSERT INTO totals VALUES (NEW.camera, 1, coalesce(NEW.file_size, 0))
            ON CONFLICT (camera) DO UPDATE SET images = images + 1, bytes = bytes + excluded.bytes;"""
_SUBTRACT = """UPDATE totals SET images = images - 1, bytes = bytes - coalesce(OLD.file_size, 0)
            WHERE camera = OLD.camera;"""


@_steps()
def m001_images_and_results(db: Database) -> None:
    """Images, results, and counts that cost nothing to read (contract section 6).

    user_id, job_id: text affinity keeps `007` apart from `7`; the reader gives plain numbers back as numbers.
    digest: over the row's own values, so that a flipped bit in a value is found, which SQLite does not promise.
    Partial indexes leave removed rows out: a page near the end does not wade through all that was ever removed.
    """
    for statement in (
        """CREATE TABLE images (
            id INTEGER PRIMARY KEY,
            job_id TEXT, user_id TEXT,
            filename TEXT NOT NULL,
            thumbnail_path TEXT,
            captured_at TEXT NOT NULL,
            x_position REAL, y_position REAL, z_position REAL,
            exposure_time REAL, gain REAL,
            file_size INTEGER, width INTEGER, height INTEGER,
            metadata TEXT,
            camera TEXT NOT NULL,
            kind TEXT NOT NULL,
            sha256 TEXT,
            sample_no TEXT, submission_no TEXT, description TEXT,
            backend TEXT, simulated INTEGER,
            boot_id TEXT, monotonic_ns INTEGER, sequence INTEGER,
            state TEXT NOT NULL DEFAULT 'present' CHECK (state IN ('present', 'removed')),
            digest TEXT,
            UNIQUE (camera, filename)
        )""",
        "CREATE INDEX images_job ON images (job_id, captured_at)",
        "CREATE INDEX images_user ON images (user_id, captured_at)",
        "CREATE INDEX images_time ON images (captured_at)",
        "CREATE INDEX present_time ON images (captured_at) WHERE state = 'present'",
        "CREATE INDEX present_camera ON images (camera, captured_at) WHERE state = 'present'",
        "CREATE INDEX present_newest ON images (camera) WHERE state = 'present'",
        """CREATE INDEX present_sample ON images (sample_no, captured_at)
            WHERE state = 'present' AND sample_no IS NOT NULL""",
        """CREATE INDEX present_submission ON images (submission_no, captured_at)
            WHERE state = 'present' AND submission_no IS NOT NULL""",
        "CREATE TABLE totals (camera TEXT PRIMARY KEY, images INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID",
        f"""CREATE TRIGGER images_added AFTER INSERT ON images WHEN NEW.state = 'present' BEGIN
            {_ADD}
        END""",
        f"""CREATE TRIGGER images_gone AFTER DELETE ON images WHEN OLD.state = 'present' BEGIN
            {_SUBTRACT}
        END""",
        f"""CREATE TRIGGER images_marked AFTER UPDATE OF state ON images
            WHEN OLD.state = 'present' AND NEW.state <> 'present' BEGIN
            {_SUBTRACT}
        END""",
        f"""CREATE TRIGGER images_back AFTER UPDATE OF state ON images
            WHEN OLD.state <> 'present' AND NEW.state = 'present' BEGIN
            {_ADD}
        END""",
        """CREATE TABLE results (
            id INTEGER PRIMARY KEY,
            image_id INTEGER, camera TEXT, service TEXT, at TEXT NOT NULL, data TEXT
        )""",
        "CREATE INDEX results_image ON results (image_id)",
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "INSERT INTO meta VALUES ('min_reader', '1')",
        "PRAGMA user_version = 1",
    ):
        db.conn.execute(statement)


def migrate(connection: Connection, path: Path) -> list[str]:
    """Bring a database to this release's schema in one transaction; return the names of the steps taken.

    Raises:
        CatalogTooNewError: the file belongs to a newer release that this one cannot work with.
        CatalogUnavailableError, CatalogError: nothing was changed.
    """
    if check_version(connection, path) >= SCHEMA_VERSION:
        return []
    with transaction(connection, path):
        # Asked again inside: another process may have migrated meanwhile.
        db = Database(connection, execute_plugins=False, recursive_triggers=False)
        names = [step.name for step in _steps.pending(db)]
        _steps.apply(db)
    return names


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


def require_schema(connection: Connection, path: Path) -> None:
    """Make sure that a reader can use a file.

    Raises:
        CatalogTooNewError: it needs a newer release.
        CatalogUnavailableError: the manager has not made its tables yet.
    """
    if check_version(connection, path) == 0:
        raise CatalogUnavailableError(f"{path.name} is being made", path=str(path), cause="missing")

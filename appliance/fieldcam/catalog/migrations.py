# SPDX-License-Identifier: MIT
"""The schema, told as a story: each step is additive, so that the release before still runs after a roll-back.

`catalog.db` and `live.db` have the same schema. Which file which program may use: `catalog.schema`.
"""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database, Migrations

from fieldcam.catalog.connect import Connection, transaction
from fieldcam.catalog.schema import SCHEMA_VERSION, check_version

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


@_steps()
def m002_results_once(db: Database) -> None:
    """What tells a result from every other, so that one that is found twice has one row; and lists of them.

    results_once: of one service, in time; the key at its end makes it unique. Lists of one camera go by results_time
    alone: cameras are few and results bounded, and every index is a page more that each new result writes to the card.
    results_image leaves out those about live frames, which are nearly all, for the same reason.
    min_reader stays 1: the release before neither reads results nor writes any.
    """
    for statement in (
        "ALTER TABLE results ADD COLUMN boot_id TEXT",
        "ALTER TABLE results ADD COLUMN monotonic_ns INTEGER",
        "ALTER TABLE results ADD COLUMN sequence INTEGER",
        "ALTER TABLE results ADD COLUMN filename TEXT",
        "ALTER TABLE results ADD COLUMN key TEXT",
        "CREATE UNIQUE INDEX results_once ON results (service, at, key)",
        "CREATE INDEX results_time ON results (at)",
        "DROP INDEX results_image",
        "CREATE INDEX results_image ON results (image_id) WHERE image_id IS NOT NULL",
        "PRAGMA user_version = 2",
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

# SPDX-License-Identifier: MIT
"""The record of events: crashes, restarts, recoveries, gaps, deletions (contract section 6).

A database of its own in state_dir, because it cannot be made again from anything and is backed up. The newest
`MAX_EVENTS` are kept. A damaged one is moved aside and a new one begun: the record must never stop the manager.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fieldcam.catalog.connect import Connection, catalog_errors, needs_rebuild, open_writer, transaction
from fieldcam.catalog.rebuild import move_aside
from fieldcam.core.clock import Clock, Instant, rfc3339
from fieldcam.core.durable import OWN_FILE_MODE, OWN_FOLDER_MODE, make_folder
from fieldcam.core.errors import CatalogError, CatalogTooNewError, RequestInvalidError, SharedVolumeError
from fieldcam.core.logs import StateLog, get_logger

_log = get_logger(__name__)
SCHEMA_VERSION = 1
MAX_EVENTS = 100_000
PRUNE_EVERY = 1000
MAX_TEXT = 200
MAX_DETAILS = 16_384
RETRY_SECONDS = 10.0

_SCHEMA = (
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL, boot_id TEXT NOT NULL, monotonic_ns INTEGER NOT NULL,
        camera TEXT, kind TEXT NOT NULL, cause TEXT, details TEXT NOT NULL
    )""",
    "CREATE INDEX events_at ON events (at)",
    "CREATE INDEX events_kind ON events (kind, at)",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; `monotonic_ns` is CLOCK_BOOTTIME."""

    at: str
    boot_id: str
    monotonic_ns: int
    kind: str
    cause: str
    camera: str | None = None
    details: Mapping[str, Any] | None = None

    @classmethod
    def now(cls, clock: Clock, kind: str, cause: str, details: Mapping[str, Any], camera: str | None = None) -> Self:
        """Return an event of this moment."""
        moment = Instant.now(clock)
        return cls(rfc3339(moment.wall_ns), moment.boot_id, moment.boottime_ns, kind, cause, camera, details)

    @classmethod
    def from_message(cls, data: Mapping[str, Any]) -> Self:
        """Read an event that another process announced.

        Raises:
            RequestInvalidError: it is not one.
        """
        camera, monotonic_ns = data.get("camera"), data.get("monotonic_ns")
        if not all(isinstance(data.get(key), str) and data[key] for key in ("at", "boot_id", "kind")):
            raise RequestInvalidError("an event has at, boot_id and kind")
        if type(monotonic_ns) is not int or not 0 <= monotonic_ns < 2**63:
            raise RequestInvalidError(f"monotonic_ns is {monotonic_ns!r}")
        details = data.get("details")
        return cls(
            at=str(data["at"])[:MAX_TEXT],
            boot_id=str(data["boot_id"])[:MAX_TEXT],
            monotonic_ns=monotonic_ns,
            kind=str(data["kind"])[:MAX_TEXT],
            cause=str(data.get("cause") or "")[:MAX_TEXT],
            camera=str(camera)[:MAX_TEXT] if camera is not None else None,
            details=details if isinstance(details, Mapping) else {},
        )


class EventStore:
    """The one writer of `events.db`.

    Args:
        path: the file; its folder is made when missing.
        clock: for retries, and the name of a damaged one.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._connection: Connection | None = None
        self._since_prune = 0
        self._retry_at = 0.0
        self._trouble = StateLog(_log, "EVENTS_UNAVAILABLE")

    def add(self, event: Event) -> bool:
        """Keep an event; return False when that failed (it is logged, once, and tried again with later ones)."""
        try:
            connection = self._open()
            if connection is None:
                return False
            self._insert(connection, event)
        except (CatalogError, SharedVolumeError) as error:
            self.close()
            self._retry_at = self._clock.boottime_ns() / 1e9 + RETRY_SECONDS
            self._trouble.broken(error.message)
            if isinstance(error, CatalogError) and needs_rebuild(error) and not isinstance(error, CatalogTooNewError):
                self._begin_anew()
            return False
        self._trouble.healed("events are kept again")
        return True

    def close(self) -> None:
        """Close the file. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _begin_anew(self) -> None:
        with suppress(SharedVolumeError, OSError):
            if (aside := move_aside(self._path, self._clock)) is not None:
                _log.event(logging.WARNING, "EVENTS_MOVED_ASIDE", "the record of events was damaged", aside=aside.name)
            self._retry_at = 0.0

    def _open(self) -> Connection | None:
        if self._connection is None and self._clock.boottime_ns() / 1e9 >= self._retry_at:
            make_folder(self._path.parent, OWN_FOLDER_MODE)
            connection = open_writer(self._path, durable=True, mode=OWN_FILE_MODE)
            try:
                _make_tables(connection, self._path)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _insert(self, connection: Connection, event: Event) -> None:
        details = json.dumps(dict(event.details or {}), default=str)
        if len(details) > MAX_DETAILS:
            details = json.dumps({"truncated": details[:1000]})
        values = (event.at, event.boot_id, event.monotonic_ns, event.camera, event.kind, event.cause, details)
        with transaction(connection, self._path):
            last = connection.execute(
                "INSERT INTO events (at, boot_id, monotonic_ns, camera, kind, cause, details) VALUES (?,?,?,?,?,?,?)",
                values,
            ).lastrowid
            if self._since_prune == 0 and last is not None:
                connection.execute("DELETE FROM events WHERE id <= ?", (last - MAX_EVENTS,))
        self._since_prune = (self._since_prune + 1) % PRUNE_EVERY


def _make_tables(connection: Connection, path: Path) -> None:
    with catalog_errors(path):
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        return  # steps are additive: a newer file has these columns, too
    if version < SCHEMA_VERSION:
        with transaction(connection, path):
            for statement in _SCHEMA:
                connection.execute(statement)

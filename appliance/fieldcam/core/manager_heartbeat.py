# SPDX-License-Identifier: MIT
"""What the manager last said of itself; beside `core.heartbeat`, because the API and the watchdog read it too."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fieldcam.core.clock import Instant
from fieldcam.core.durable import OWN_FILE_MODE, replace_file
from fieldcam.core.heartbeat import ErrorNote

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class ManagerHeartbeat:
    """What the manager says of itself, once a second.

    Attributes:
        boottime_ns: CLOCK_BOOTTIME of this beat.
        state: `starting`, `running` or `stopped`.
        capture_dir, archive_dir: the two places it looks after.
        catalog, live_catalog: `ok`, `rebuilding`, or why they cannot be used.
        archive, handoff: `ok`, or why the place cannot be used.
        disk: per place (`archive`, `handoff`) `total_bytes, used_bytes, free_bytes, percent, free_inodes`.
        alerts: what is wrong, in words.
        last_cleanup: answer of the last cleanup, with `refused`.
        silent_consumers: services that are expected and give no sign of life.
        results: of consumers, since the start: how many were taken, rejected, dropped, captures acknowledged.
    """

    pid: int
    boot_id: str
    boottime_ns: int
    started_boottime_ns: int
    state: str
    capture_dir: str
    archive_dir: str
    catalog: str
    live_catalog: str
    archive: str
    handoff: str
    disk: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    alerts: tuple[str, ...] = ()
    last_cleanup: Mapping[str, Any] | None = None
    last_error: ErrorNote | None = None
    silent_consumers: tuple[str, ...] = ()
    results: Mapping[str, int] = field(default_factory=dict)
    schema: int = SCHEMA

    def age_seconds(self, now: Instant) -> float:
        """Return how long ago this was said; infinite when it was in another boot."""
        return (now.boottime_ns - self.boottime_ns) / 1e9 if self.boot_id == now.boot_id else float("inf")


def write_manager_heartbeat(path: Path, beat: ManagerHeartbeat) -> None:
    """Replace the heartbeat file."""
    replace_file(path, json.dumps(dataclasses.asdict(beat)).encode(), durable=False, mode=OWN_FILE_MODE)


def read_manager_heartbeat(path: Path) -> ManagerHeartbeat | None:
    """Return the heartbeat, or None when there is none that can be read."""
    try:
        data = json.loads(path.read_bytes())
        known = {f.name for f in dataclasses.fields(ManagerHeartbeat)}
        values = {key: value for key, value in data.items() if key in known}
        values["last_error"] = ErrorNote(**values["last_error"]) if values.get("last_error") else None
        for key in ("alerts", "silent_consumers"):
            values[key] = tuple(values.get(key) or ())
        return ManagerHeartbeat(**values)
    except (OSError, ValueError, TypeError, AttributeError):
        return None

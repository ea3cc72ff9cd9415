# SPDX-License-Identifier: MIT
"""What a process last said of itself: a small JSON file in `run_dir`, rewritten every second.

A file, not a request: it can be read when the process hangs, and then it is the proof, because its boottime stands
still. It is replaced without fsync; on a Pi `run_dir` is a tmpfs.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fieldcam.core.clock import Instant
from fieldcam.core.durable import OWN_FILE_MODE, replace_file
from fieldcam.core.frame import FROZEN_AFTER

SCHEMA = 1
MAX_BEAT_AGE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class FrameNote:
    """A frame, as a heartbeat mentions it; `filename` is empty for a probe that was not stored.

    Attributes:
        identical_frames: how many frames directly before it were the same, as in its sidecar.
    """

    filename: str
    kind: str
    boottime_ns: int
    captured_at: str
    sequence: int
    width: int
    height: int
    identical_frames: int = 0

    @property
    def is_frozen(self) -> bool:
        """Whether the camera gave the same image too often to be believed."""
        return self.identical_frames >= FROZEN_AFTER


@dataclass(frozen=True, slots=True)
class ErrorNote:
    """The last error of a process."""

    code: str
    message: str
    at: str


@dataclass(frozen=True, slots=True)
class CaptureStats:
    """On-demand captures since the camera was first used; `total` is always `successful` + `failed`."""

    total: int = 0
    successful: int = 0
    failed: int = 0
    average_seconds: float = 0.0
    last_at: str | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a capture process says of itself.

    Attributes:
        boottime_ns: CLOCK_BOOTTIME of this beat.
        state: `starting`, `running`, `recovering` or `stopped`.
        camera_connected: a real camera delivers; a simulated one never counts.
        delivering: the last try gave a frame.
        is_capturing: an on-demand capture is under way.
        last_frame: newest frame, live, capture or probe.
        live_storage, archive: `ok`, or why it cannot be written.
        slots_skipped: how many frames of the loop were left out, by cause.
        ring: `ok`, `off: ` and why, or why decoded frames cannot be handed off.
        ring_required: the operator wants a ring, so that being without is a flaw.
        ring_counters: of the ring: frames published and dropped, slots, their bytes, bytes of slots given up.
    """

    camera: str
    pid: int
    boot_id: str
    boottime_ns: int
    started_boottime_ns: int
    state: str
    mode: str
    backend: str
    model: str
    simulated: bool
    camera_connected: bool
    delivering: bool
    is_capturing: bool
    images_captured: int
    error_count: int
    interval: float
    live_storage: str
    archive: str
    time_quality: str
    last_frame: FrameNote | None = None
    last_capture: FrameNote | None = None
    last_error: ErrorNote | None = None
    slots_skipped: Mapping[str, int] = field(default_factory=dict)
    capture_stats: CaptureStats = field(default_factory=CaptureStats)
    settings: Mapping[str, Any] = field(default_factory=dict)
    ring: str = "off: not said"
    ring_required: bool = False
    ring_counters: Mapping[str, int] = field(default_factory=dict)
    schema: int = SCHEMA

    def age_seconds(self, now: Instant) -> float:
        """Return how long ago this was said; infinite when it was in another boot."""
        return (now.boottime_ns - self.boottime_ns) / 1e9 if self.boot_id == now.boot_id else float("inf")

    def frame_age_seconds(self, now: Instant) -> float:
        """Return the age of the newest frame; infinite when there is none of this boot."""
        if self.last_frame is None or self.boot_id != now.boot_id:
            return float("inf")
        return (now.boottime_ns - self.last_frame.boottime_ns) / 1e9


def write_heartbeat(path: Path, beat: Heartbeat) -> None:
    """Replace the heartbeat file."""
    replace_file(path, json.dumps(dataclasses.asdict(beat)).encode(), durable=False, mode=OWN_FILE_MODE)


def read_heartbeat(path: Path) -> Heartbeat | None:
    """Return the heartbeat, or None when there is none that can be read."""
    try:
        data = json.loads(path.read_bytes())
        known = {f.name for f in dataclasses.fields(Heartbeat)}
        values = {key: value for key, value in data.items() if key in known}
        for key in ("last_frame", "last_capture"):
            values[key] = FrameNote(**values[key]) if values.get(key) else None
        values["last_error"] = ErrorNote(**values["last_error"]) if values.get("last_error") else None
        values["capture_stats"] = CaptureStats(**(values.get("capture_stats") or {}))
        return Heartbeat(**values)
    except (OSError, ValueError, TypeError, AttributeError):
        return None

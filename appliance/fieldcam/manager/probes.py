# SPDX-License-Identifier: MIT
"""What the manager sees when it looks around: heartbeats, files, disks; and the documented status made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fieldcam.core.clock import Clock, Instant
from fieldcam.core.config import Config
from fieldcam.core.errors import ImageNotFoundError, SharedVolumeError
from fieldcam.core.health import Health, Limits, Reason, assess
from fieldcam.core.heartbeat import Heartbeat, read_heartbeat
from fieldcam.manager.consumers import silent_consumers
from fieldcam.manager.sources import Sources, count_unacknowledged
from fieldcam.store.reader import newest_frame
from fieldcam.store.space import DiskUsage, disk_usage

# The reasons that mean that no frames come from a camera; everything else only degrades.
CAPTURE_FAILURES = frozenset({"CAPTURE_NOT_RUNNING", "FRAMES_STALE", "CAMERA_FROZEN", "CAMERA_NOT_DELIVERING"})


@dataclass(frozen=True, slots=True)
class SystemStatus:
    """The documented answer of `ImageSyncManager.get_system_status` (contract section 2).

    Attributes:
        host_capture_healthy: every configured camera delivers fresh frames.
        container_accessible: every consumer that is expected has a recent heartbeat; True when none is expected.
        latest_image_age: seconds; infinite when there is no frame of this boot.
        disk_usage_percent: of the archive, or of the hand-off area while the archive is away.
        images_in_queue: captures that no consumer has acknowledged.
        error_alerts: what is wrong, in words.
    """

    host_capture_healthy: bool
    container_accessible: bool
    latest_image_age: float
    disk_usage_percent: float
    images_in_queue: int
    error_alerts: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the status as plain data."""
        return {**asdict(self), "error_alerts": list(self.error_alerts)}


@dataclass(frozen=True, slots=True)
class View:
    """What was seen at one moment."""

    health: Health
    disks: Mapping[str, DiskUsage]
    latest_image_age: float


class Probes:
    """Looks around; reads only.

    Args:
        config: of the appliance.
        sources: its folders.
        clock: time.
    """

    def __init__(self, config: Config, sources: Sources, clock: Clock) -> None:
        self._config = config
        self._sources = sources
        self._clock = clock
        self._queue_cache: dict[Path, tuple[int, int]] = {}

    def look(self, extra: Sequence[Reason] = ()) -> View:
        """Return what there is to see; `extra` is what the manager knows to be wrong."""
        now = Instant.now(self._clock)
        beats = {name: read_heartbeat(self._sources.layout.camera(name).heartbeat) for name in self._config.all_cameras}
        disks = self.disks()
        limits = Limits(
            max_image_age=self._config.max_image_age,
            status_check_interval=self._config.status_check_interval,
            shot_timeout=self._config.shot_timeout,
        )
        health = assess(beats, limits, now, [*extra, *self._low_disks(disks), *self._silent()])
        return View(health, disks, min(health.latest_image_age, self._age_on_disk(beats, now)))

    def status(self, extra: Sequence[Reason] = ()) -> SystemStatus:
        """Return the documented status."""
        view = self.look(extra)
        disk = view.disks.get("archive") or view.disks.get("handoff")
        return SystemStatus(
            host_capture_healthy=not any(reason.code in CAPTURE_FAILURES for reason in view.health.reasons),
            container_accessible=not any(reason.code == "CONSUMER_SILENT" for reason in view.health.reasons),
            latest_image_age=view.latest_image_age,
            disk_usage_percent=disk.percent if disk is not None else 0.0,
            images_in_queue=self._images_in_queue(),
            error_alerts=tuple(in_words(reason) for reason in view.health.reasons),
        )

    def disks(self) -> dict[str, DiskUsage]:
        """Return how full each place is that is there."""
        found = {}
        for name, root in (("archive", self._config.archive_dir), ("handoff", self._config.capture_dir)):
            try:
                found[name] = disk_usage(root)
            except SharedVolumeError:
                continue  # told as a place that cannot be used
        return found

    def silent_consumers(self) -> tuple[str, ...]:
        """Return the consumers that are expected and give no sign of life."""
        config = self._config
        return silent_consumers(config.results_dir, config.consumers, config.consumer_max_silence, self._clock)

    def _silent(self) -> list[Reason]:
        return [
            Reason("CONSUMER_SILENT", f"{name} gave no sign of life for {self._config.consumer_max_silence:g} s")
            for name in self.silent_consumers()
        ]

    def _low_disks(self, disks: Mapping[str, DiskUsage]) -> list[Reason]:
        return [
            Reason("DISK_LOW", f"low disk space in the {name} area: {100 - disk.percent:.1f} % free")
            for name, disk in disks.items()
            # A hand-off area in RAM is full on purpose: capture rolls it by size.
            if disk.free_bytes < self._config.min_free_bytes and not (name == "handoff" and self._in_ram())
        ]

    def _in_ram(self) -> bool:
        return self._config.live_backing == "tmpfs"

    def _age_on_disk(self, beats: Mapping[str, Heartbeat | None], now: Instant) -> float:
        """Return the age of the newest live frame of cameras without a usable heartbeat."""
        ages = [math.inf]
        for name, beat in beats.items():
            if beat is not None and beat.frame_age_seconds(now) != math.inf:
                continue
            paths = self._sources.layout.camera(name)
            try:
                _, sidecar = newest_frame(paths.live, paths.metadata, boot_id=now.boot_id)
            except (ImageNotFoundError, OSError):
                continue
            age = now.seconds_since(sidecar.exposed_at)
            if age >= 0:
                ages.append(age)
        return min(ages)

    def _images_in_queue(self) -> int:
        total = 0
        for camera in self._sources.cameras("capture"):
            folder, _ = self._sources.folders(camera, "capture")
            try:
                changed = folder.stat().st_mtime_ns
            except OSError:
                continue
            # Counting a folder costs with its size; it is done again only when something in it changed.
            if self._queue_cache.get(folder, (None, 0))[0] != changed:
                self._queue_cache[folder] = (changed, count_unacknowledged(folder))
            total += self._queue_cache[folder][1]
        return total


def in_words(reason: Reason) -> str:
    """Return a reason as one line."""
    return f"{reason.code}{f' ({reason.camera})' if reason.camera else ''}: {reason.message}"

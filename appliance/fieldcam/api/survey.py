# SPDX-License-Identifier: MIT
"""How the appliance is, seen from outside: heartbeats and disks. Reads files only, so it answers when all else hangs.

The commands use it too, so nothing here needs a web framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fieldcam.core.clock import Clock, Instant
from fieldcam.core.config import Config
from fieldcam.core.errors import SharedVolumeError
from fieldcam.core.health import LATE_INTERVALS, Health, Limits, Reason, assess
from fieldcam.core.heartbeat import MAX_BEAT_AGE_SECONDS, Heartbeat, read_heartbeat
from fieldcam.core.manager_heartbeat import ManagerHeartbeat, read_manager_heartbeat
from fieldcam.store.space import disk_usage


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen at one moment.

    Attributes:
        heartbeats: every configured camera and what its process last said.
        health: the decision.
        now: when.
    """

    heartbeats: Mapping[str, Heartbeat | None]
    health: Health
    now: Instant


def take_survey(config: Config, clock: Clock) -> Survey:
    """Look around."""
    now = Instant.now(clock)
    beats = {name: read_heartbeat(config.layout.camera(name).heartbeat) for name in config.all_cameras}
    extra = [*manager_reasons(config, now), *disk_reasons(config)]
    return Survey(beats, assess(beats, limits_of(config), now, extra), now)


def limits_of(config: Config) -> Limits:
    """Return from when on a frame is too old."""
    return Limits(
        max_image_age=config.max_image_age,
        status_check_interval=config.status_check_interval,
        shot_timeout=config.shot_timeout,
    )


def live_age_allowed(config: Config, camera: str) -> float:
    """Return the age in seconds up to which a live frame of a camera is fresh."""
    return max(config.max_image_age, LATE_INTERVALS * config.all_cameras[camera].interval)


def manager_reasons(config: Config, now: Instant) -> list[Reason]:
    """Return what is wrong with the manager, its catalogs, and the consumers it looks after."""
    beat = read_manager(config, now)
    if beat is None:
        return [Reason("MANAGER_NOT_RUNNING", "the manager does not run or hangs; captures are stored, rows follow")]
    catalogs = (("catalog of captures", beat.catalog), ("catalog of live frames", beat.live_catalog))
    silent = [
        Reason("CONSUMER_SILENT", f"{name} gave no sign of life for {config.consumer_max_silence:g} s")
        for name in beat.silent_consumers
    ]
    return silent + [
        Reason("CATALOG_REBUILDING" if state == "rebuilding" else "CATALOG_UNAVAILABLE", f"{name}: {state}")
        for name, state in catalogs
        if state != "ok"
    ]


def read_manager(config: Config, now: Instant) -> ManagerHeartbeat | None:
    """Return what the manager said last; None when it does not run or hangs."""
    beat = read_manager_heartbeat(config.layout.manager_heartbeat)
    if beat is None or beat.state == "stopped" or beat.age_seconds(now) > MAX_BEAT_AGE_SECONDS:
        return None
    return beat


def disk_reasons(config: Config) -> list[Reason]:
    """Return which disks are low. A place that is not there is told by the capture processes."""
    reasons = []
    for name, root in (("archive", config.archive_dir), ("handoff", config.capture_dir)):
        if name == "handoff" and config.live_backing == "tmpfs":
            continue  # full on purpose: capture rolls it by size
        try:
            usage = disk_usage(root)
        except SharedVolumeError:
            continue
        if usage.free_bytes < config.min_free_bytes:
            reasons.append(Reason("DISK_LOW", f"low disk space in the {name} area: {100 - usage.percent:.1f} % free"))
    return reasons

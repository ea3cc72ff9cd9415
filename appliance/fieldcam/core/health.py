# SPDX-License-Identifier: MIT
"""Whether the appliance works: one pure decision for the API, the manager, the commands and the web page.

Nothing is healthy because a process runs (contract section 4): a camera with a loop is healthy while its newest frame
is fresh, one without a loop while its last capture or probe succeeded; frames that are all the same prove that the
sensor hangs, however fresh they are. Ages are by CLOCK_BOOTTIME.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fieldcam.core.clock import Instant, is_fresh
from fieldcam.core.heartbeat import MAX_BEAT_AGE_SECONDS, Heartbeat

Status = Literal["healthy", "degraded", "unhealthy"]

# A frame may be late by this many intervals before it counts as old: 1-3 s for a shot are normal at one a second.
LATE_INTERVALS = 3.0


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the answer is not `healthy`: a stable code, the camera where it concerns one, and words."""

    code: str
    message: str
    camera: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """The answer.

    Attributes:
        camera_connected: some real camera delivers; simulated ones do not count.
        simulated: some camera's pixels are generated.
        latest_image_age: age of the newest frame of any camera in seconds; infinite when there is none.
    """

    status: Status
    reasons: tuple[Reason, ...]
    camera_connected: bool
    simulated: bool
    latest_image_age: float


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on a frame is too old, in seconds."""

    max_image_age: float
    status_check_interval: float
    shot_timeout: float


def assess(
    heartbeats: Mapping[str, Heartbeat | None], limits: Limits, now: Instant, extra: Sequence[Reason] = ()
) -> Health:
    """Decide whether the appliance works.

    Args:
        heartbeats: every configured camera and what its process last said.
        limits: ages that are allowed.
        now: the present moment.
        extra: what else is wrong (disk low, catalog rebuilding …); it degrades, it does not make unhealthy.
    """
    broken: list[Reason] = []
    wrong: list[Reason] = list(extra)
    for camera, beat in heartbeats.items():
        failure = _failure(camera, beat, limits, now)
        if failure is not None:
            broken.append(failure)
        if beat is not None and failure is None:
            wrong += _flaws(camera, beat)
    alive = [beat for beat in heartbeats.values() if beat is not None and beat.age_seconds(now) <= MAX_BEAT_AGE_SECONDS]
    # One dead camera among several degrades; no camera with fresh frames is unhealthy.
    unhealthy = len(broken) == len(heartbeats)
    return Health(
        status="unhealthy" if unhealthy else "degraded" if broken or wrong else "healthy",
        reasons=(*broken, *wrong),
        camera_connected=any(beat.camera_connected for beat in alive),
        simulated=any(beat.simulated for beat in heartbeats.values() if beat is not None),
        latest_image_age=min(
            (age for beat in heartbeats.values() if beat and (age := beat.frame_age_seconds(now)) >= 0),
            default=float("inf"),
        ),
    )


def frame_age_allowed(beat: Heartbeat, limits: Limits) -> float:
    """Return the age in seconds up to which the camera's newest frame is fresh."""
    if beat.mode == "on_demand":
        return limits.status_check_interval + limits.shot_timeout + MAX_BEAT_AGE_SECONDS
    return max(limits.max_image_age, LATE_INTERVALS * beat.interval)


def _failure(camera: str, beat: Heartbeat | None, limits: Limits, now: Instant) -> Reason | None:
    if beat is None:
        return Reason("CAPTURE_NOT_RUNNING", "the capture process has said nothing yet", camera)
    if beat.age_seconds(now) > MAX_BEAT_AGE_SECONDS or beat.state == "stopped":
        return Reason("CAPTURE_NOT_RUNNING", "the capture process does not run or hangs", camera)
    age = beat.frame_age_seconds(now)
    if not is_fresh(age, frame_age_allowed(beat, limits)):
        said = f"; {beat.last_error.code}: {beat.last_error.message}" if beat.last_error else ""
        words = "there is no frame yet" if age == float("inf") else f"the newest frame is {age:.1f} s old"
        return Reason("FRAMES_STALE", words + said, camera)
    if beat.last_frame is not None and beat.last_frame.is_frozen:
        words = f"the last {beat.last_frame.identical_frames + 1} frames are identical: the sensor hangs"
        return Reason("CAMERA_FROZEN", words, camera)
    if beat.mode == "on_demand" and not beat.delivering:
        said = beat.last_error.message if beat.last_error else "the probe failed"
        return Reason("CAMERA_NOT_DELIVERING", said, camera)
    return None


def _flaws(camera: str, beat: Heartbeat) -> list[Reason]:
    flaws = []
    if beat.state == "recovering" or not beat.delivering:
        flaws.append(Reason("CAMERA_RECOVERING", beat.last_error.message if beat.last_error else "recovering", camera))
    if beat.archive != "ok":
        flaws.append(Reason("ARCHIVE_UNAVAILABLE", beat.archive, camera))
    if beat.live_storage != "ok":
        flaws.append(Reason("LIVE_STORAGE_UNAVAILABLE", beat.live_storage, camera))
    if beat.ring_required and beat.ring != "ok":
        flaws.append(Reason("RING_UNAVAILABLE", beat.ring, camera))
    if beat.time_quality == "unsynchronized":
        flaws.append(Reason("CLOCK_UNTRUSTED", "the clock has not been synchronised", camera))
    return flaws

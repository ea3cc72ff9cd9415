# SPDX-License-Identifier: MIT
"""core.health: nothing is healthy because a process runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from fieldcam.core.clock import Instant
from fieldcam.core.health import Limits, Reason, assess
from fieldcam.core.heartbeat import ErrorNote, FrameNote, Heartbeat

LIMITS = Limits(max_image_age=10.0, status_check_interval=5.0, shot_timeout=15.0)
NOW = Instant("boot", 1_000_000_000_000, 1_700_000_000_000_000_000)


def beat(
    *, frame_age: float | None = 0.5, beat_age: float = 0.2, identical_frames: int = 0, **changes: Any
) -> Heartbeat:
    frame = None
    if frame_age is not None:
        exposed_ns = NOW.boottime_ns - round(frame_age * 1e9)
        frame = FrameNote("capture_x.jpg", "live", exposed_ns, "…", 7, 640, 480, identical_frames)
    base = Heartbeat(
        camera="default", pid=1, boot_id="boot", boottime_ns=NOW.boottime_ns - round(beat_age * 1e9),
        started_boottime_ns=0, state="running", mode="continuous", backend="rpicam", model="imx500", simulated=False,
        camera_connected=True, delivering=True, is_capturing=False, images_captured=5, error_count=0, interval=1.0,
        live_storage="ok", archive="ok", time_quality="synchronized", last_frame=frame,
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def codes(health_reasons: tuple[Reason, ...]) -> list[str]:
    return [reason.code for reason in health_reasons]


def test_fresh_frames_of_a_real_camera_are_healthy() -> None:
    health = assess({"default": beat()}, LIMITS, NOW)

    assert (health.status, health.reasons, health.camera_connected, health.simulated) == ("healthy", (), True, False)
    assert health.latest_image_age == pytest.approx(0.5)


def test_configured_simulation_is_healthy_and_says_so() -> None:
    health = assess({"default": beat(simulated=True, camera_connected=False)}, LIMITS, NOW)

    assert (health.status, health.camera_connected, health.simulated) == ("healthy", False, True)


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (None, "CAPTURE_NOT_RUNNING"),
        (beat(beat_age=6.0), "CAPTURE_NOT_RUNNING"),
        (beat(boot_id="before"), "CAPTURE_NOT_RUNNING"),
        (beat(state="stopped"), "CAPTURE_NOT_RUNNING"),
        (beat(frame_age=None), "FRAMES_STALE"),
        (beat(frame_age=10.5), "FRAMES_STALE"),
        (beat(frame_age=-1.0), "FRAMES_STALE"),
        (beat(mode="on_demand", frame_age=1.0, delivering=False), "CAMERA_NOT_DELIVERING"),
        (beat(mode="on_demand", frame_age=60.0), "FRAMES_STALE"),
        (beat(identical_frames=3), "CAMERA_FROZEN"),
        (beat(mode="on_demand", identical_frames=3), "CAMERA_FROZEN"),
    ],
)
def test_without_fresh_frames_it_is_unhealthy_although_the_process_runs(last: Heartbeat | None, code: str) -> None:
    health = assess({"default": last}, LIMITS, NOW)

    assert health.status == "unhealthy"
    assert code in codes(health.reasons)


def test_two_frames_may_be_the_same_by_chance_and_a_frozen_camera_says_how_many() -> None:
    health = assess({"default": beat(identical_frames=7)}, LIMITS, NOW)

    assert assess({"default": beat(identical_frames=2)}, LIMITS, NOW).status == "healthy"
    assert health.reasons[0].message == "the last 8 frames are identical: the sensor hangs"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"ring": "is not in RAM", "ring_required": True}, "degraded"),
        ({"ring": "is not in RAM", "ring_required": False}, "healthy"),
        ({"ring": "off: as configured", "ring_required": False}, "healthy"),
        ({"ring": "ok", "ring_required": True}, "healthy"),
    ],
)
def test_only_a_ring_that_is_wanted_must_be_there(changes: dict[str, Any], status: str) -> None:
    health = assess({"default": beat(**changes)}, LIMITS, NOW)

    assert health.status == status
    assert codes(health.reasons) == (["RING_UNAVAILABLE"] if status == "degraded" else [])


def test_a_dead_process_is_not_a_connected_camera() -> None:
    health = assess({"default": beat(beat_age=30.0)}, LIMITS, NOW)

    assert not health.camera_connected


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"delivering": False, "last_error": ErrorNote("CAPTURE_FAILED", "no", "…")}, "CAMERA_RECOVERING"),
        ({"archive": "no marker"}, "ARCHIVE_UNAVAILABLE"),
        ({"live_storage": "no space"}, "LIVE_STORAGE_UNAVAILABLE"),
        ({"time_quality": "unsynchronized"}, "CLOCK_UNTRUSTED"),
    ],
)
def test_frames_that_come_while_something_is_wrong_are_degraded(changes: dict[str, Any], code: str) -> None:
    health = assess({"default": beat(**changes)}, LIMITS, NOW)

    assert (health.status, codes(health.reasons)) == ("degraded", [code])


def test_one_dead_camera_among_two_degrades() -> None:
    health = assess({"default": beat(), "north": None}, LIMITS, NOW)

    assert (health.status, codes(health.reasons)) == ("degraded", ["CAPTURE_NOT_RUNNING"])
    assert health.reasons[0].camera == "north"


def test_a_slow_loop_may_be_late_by_three_intervals() -> None:
    slow = beat(frame_age=25.0, interval=10.0)

    assert assess({"default": slow}, LIMITS, NOW).status == "healthy"


def test_other_reasons_degrade() -> None:
    health = assess({"default": beat()}, LIMITS, NOW, [Reason("DISK_LOW", "2 % free")])

    assert (health.status, codes(health.reasons)) == ("degraded", ["DISK_LOW"])

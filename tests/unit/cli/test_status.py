# SPDX-License-Identifier: MIT
"""cli.status: which frame proves that the processes of now deliver."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from fieldcam.cli.status import comes_from_running_process
from fieldcam.core.heartbeat import FrameNote, Heartbeat


def beat(*, pid: int, frame_ns: int | None, started_ns: int = 1000) -> Heartbeat:
    values: dict[str, Any] = {
        "camera": "default", "pid": pid, "boot_id": "b", "boottime_ns": 2000, "started_boottime_ns": started_ns,
        "state": "running", "mode": "continuous", "backend": "simulated", "model": "m", "simulated": True,
        "camera_connected": False, "delivering": True, "is_capturing": False, "images_captured": 1, "error_count": 0,
        "interval": 1.0, "live_storage": "ok", "archive": "ok", "time_quality": "assumed",
    }  # fmt: skip
    frame = FrameNote("capture_x.jpg", "live", frame_ns, "…", 1, 8, 8) if frame_ns is not None else None
    return Heartbeat(**values, last_frame=frame)


@pytest.mark.parametrize(("frame_ns", "expected"), [(1500, True), (1000, True), (999, False), (None, False)])
def test_only_a_frame_of_the_running_process_counts(frame_ns: int | None, *, expected: bool) -> None:
    assert comes_from_running_process(beat(pid=os.getpid(), frame_ns=frame_ns)) is expected


def test_the_last_word_of_a_killed_process_does_not_count() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()

    assert not comes_from_running_process(beat(pid=process.pid, frame_ns=1500))
    assert not comes_from_running_process(None)

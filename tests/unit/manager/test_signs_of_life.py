# SPDX-License-Identifier: MIT
"""Which consumers are silent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fieldcam.core.clock import Instant
from fieldcam.core.result import Beat
from fieldcam.manager.consumers import silent_consumers
from fieldcam.manager.result_folders import services_in
from tests.frames_on_disk import FakeClock
from tests.results_stage import Stage


def put_beat(stage: Stage, folder: str, **changes: Any) -> None:
    now = Instant.now(stage.clock)
    values = {"service": folder, "boot_id": now.boot_id, "boottime_ns": now.boottime_ns, "pid": 1, "detail": {}}
    beat = Beat(**{**values, "at": "2026-01-13T10:30:45.000Z", **changes})
    (stage.folder(folder) / "heartbeat.json").write_bytes(beat.to_json())


def silent(stage: Stage) -> tuple[str, ...]:
    return silent_consumers(stage.config.results_dir, ("sky", "cars"), 60.0, stage.clock)


def test_a_consumer_is_silent_until_it_speaks_and_again_when_it_stops(stage: Stage) -> None:
    found = [silent(stage)]
    put_beat(stage, "sky")
    found.append(silent(stage))
    put_beat(stage, "cars")
    found.append(silent(stage))
    stage.clock.advance(30)
    put_beat(stage, "sky")
    stage.clock.advance(31)
    found.append(silent(stage))

    assert found == [("sky", "cars"), ("cars",), (), ("cars",)]


@pytest.mark.parametrize(
    "change",
    [{"boot_id": "another"}, {"boottime_ns": 10**18}, {"service": "cars"}],
    ids=["another boot", "the future", "another's"],
)
def test_a_beat_that_cannot_be_true_is_none(stage: Stage, change: dict[str, Any]) -> None:
    put_beat(stage, "sky", **change)

    assert silent(stage) == ("sky", "cars")


def test_a_heartbeat_that_is_a_link_a_pipe_or_nonsense_is_none(stage: Stage) -> None:
    put_beat(stage, "cars")
    heartbeat = stage.folder("sky") / "heartbeat.json"
    for make in (
        lambda: heartbeat.symlink_to(stage.folder("cars") / "heartbeat.json"),
        lambda: os.mkfifo(heartbeat),
        lambda: heartbeat.write_text("{"),
        lambda: heartbeat.write_bytes(b"x" * 100_000),
    ):
        make()
        assert silent(stage) == ("sky",)
        heartbeat.unlink()


def test_the_folders_of_consumers_are_bounded_in_number(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"s{number:03d}").mkdir()

    assert services_in(tmp_path) == [f"s{number:03d}" for number in range(64)]
    assert services_in(tmp_path / "nothing") == []


def test_time_does_not_matter_for_what_is_taken(stage: Stage) -> None:
    stage.clock = FakeClock(wall_ms=0)
    stage.restart()
    stage.put("sky", 1)

    stage.pass_time(1)

    assert stage.numbers() == [1]

# SPDX-License-Identifier: MIT
from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
from services.consumer_loop import ConsumerLoop, LoopSettings

from fieldcam import ImageNotFoundError, ImageTooOldError
from fieldcam.core.errors import StorageUnavailableError
from fieldcam.provider import Frame, SharedVolumeImageProvider
from fieldcam.provider.results import ResultWriter
from tests.appliance_tree import wait_until


@dataclass
class Frames:
    """Gives frames, or raises what it is told to; waits as the provider does."""

    error: Exception | None = None
    waits: bool = True
    asked: int = 0
    given: int = 0
    asked_with: dict[str, Any] = field(default_factory=dict)

    def wait_for_frame(self, *, timeout: float, **more: Any) -> Frame:
        self.asked += 1
        self.asked_with = more
        error = self.error
        if error is not None:
            if self.waits:
                threading.Event().wait(timeout)
            raise error
        threading.Event().wait(0.01)
        self.given += 1
        metadata = {"camera": "default", "sequence": self.given, "filename": "capture_20260113_103045_123.jpg"}
        return Frame(np.zeros((4, 4, 3), np.uint8), metadata, self.given, "file")


@dataclass
class Counting:
    """Counts frames; one of them can break it."""

    taken: int = 0
    since: int = 0
    breaks: Callable[[int], bool] = field(default=lambda number: False)

    def take(self, picture: object, metadata: Mapping[str, Any]) -> None:
        self.taken += 1
        if self.breaks(self.taken):
            raise cv2.error("bad picture")
        self.since += 1

    def summary(self) -> dict[str, Any] | None:
        since, self.since = self.since, 0
        return {"frames": since} if since else None


@dataclass
class Running:
    frames: Frames
    analysis: Counting
    folder: Path

    def results(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("result_*.json"))]

    def beat(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads((self.folder / "heartbeat.json").read_text()))


@contextmanager
def running(folder: Path, frames: Frames, analysis: Counting | None = None, **settings: Any) -> Iterator[Running]:
    """Run a loop in a thread; it is stopped at the end, and must end at once."""
    analysis = analysis or Counting()
    stop = threading.Event()
    values = {"result_seconds": 0.2, "max_age_seconds": 0.6} | settings
    loop = ConsumerLoop(
        cast("SharedVolumeImageProvider", frames),
        ResultWriter("counting", folder, durable=False),
        analysis,
        LoopSettings(service="counting", **values),
        stop,
    )
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield Running(frames, analysis, folder)
    finally:
        stop.set()
        thread.join(3)
        assert not thread.is_alive(), "the loop did not end"


def test_results_come_at_their_pace_and_name_the_last_frame(tmp_path: Path) -> None:
    with running(tmp_path, Frames()) as run:
        wait_until(lambda: len(run.results()) >= 2, "two results")

    results = run.results()
    assert all(result["service"] == "counting" for result in results)
    assert sum(result["data"]["frames"] for result in results) == run.analysis.taken
    assert results[-1]["sequence"] == run.frames.given
    assert run.frames.asked_with["stream"] == "lores"


def test_what_was_found_is_written_when_it_is_stopped(tmp_path: Path) -> None:
    with running(tmp_path, Frames(), result_seconds=1000) as run:
        wait_until(lambda: run.analysis.taken > 3, "some frames")
        assert run.results() == []

    assert [result["data"]["frames"] for result in run.results()] == [run.analysis.taken]


def test_a_long_step_between_frames_does_not_delay_the_end(tmp_path: Path) -> None:
    with running(tmp_path, Frames(), step_seconds=1000) as run:
        wait_until(lambda: run.analysis.taken == 1, "the first frame")
        began = time.monotonic()

    assert time.monotonic() - began < 1
    assert run.analysis.taken == 1


def test_silence_is_said_once_and_its_end_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    frames = Frames(error=ImageTooOldError("the newest image is 9 s old"))
    with running(tmp_path, frames) as run:
        wait_until(lambda: frames.asked > 4, "some waits")
        # On a disk a heartbeat is written every ten seconds only, but at once when it says something new.
        wait_until(lambda: run.beat()["detail"]["waiting_for"] == "no frame: the newest image is 9 s old", "a word")
        frames.error = None
        wait_until(lambda: run.analysis.taken > 1 and run.beat()["detail"]["waiting_for"] is None, "frames again")

    said = [record.message for record in caplog.records]
    assert said == ["no frame: the newest image is 9 s old", "frames come again"]


def test_frames_that_come_slowly_are_no_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = Frames(error=ImageNotFoundError("none yet"))
    with running(tmp_path, frames, max_age_seconds=100):
        wait_until(lambda: frames.asked > 3, "some waits")

    assert caplog.records == []


def test_a_missing_area_is_not_asked_for_in_a_spin(tmp_path: Path) -> None:
    frames = Frames(error=StorageUnavailableError("not mounted"), waits=False)
    with running(tmp_path, frames) as run:
        wait_until(lambda: frames.asked >= 2, "a second try")
        began, asked = time.monotonic(), frames.asked
        wait_until(lambda: time.monotonic() - began > 1.2, "a second")
        assert frames.asked - asked <= 2
        assert run.results() == []


def test_results_that_cannot_be_written_are_kept_until_they_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "results"
    with running(folder, Frames()) as run:
        wait_until(lambda: any("kept" in record.message for record in caplog.records), "trouble")
        folder.mkdir()
        wait_until(lambda: len(run.results()) >= 2, "the results")

    assert sum("kept" in record.message for record in caplog.records) == 1
    assert sum(result["data"]["frames"] for result in run.results()) == run.analysis.taken


def test_a_frame_that_breaks_the_analysis_does_not_end_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(tmp_path, Frames(), Counting(breaks=lambda number: number in {2, 3})) as run:
        wait_until(lambda: run.analysis.taken > 5, "frames after it")

    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "frame 2 cannot be analysed" in warnings[0]

# SPDX-License-Identifier: MIT
"""What every camera promises (fieldcam.camera.base), asked of all of them."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from fieldcam.camera.base import Camera, CameraSettings
from fieldcam.camera.jpeg import encode, inspect_jpeg
from fieldcam.camera.registry import make_camera
from fieldcam.core.clock import SystemClock
from fieldcam.core.config import CameraConfig
from fieldcam.core.errors import CameraNotAvailableError, CameraNotInitializedError, CaptureTimeoutError
from fieldcam.core.frame import Shot
from fieldcam.core.jpeg import decode
from tests.fakes.rpicam_home import RpicamHome

CLOCK = SystemClock()
SMALL = CameraSettings(width=640, height=480)


@dataclass
class Bench:
    """A camera under test.

    Attributes:
        camera: not yet open.
        lost: the same kind of camera, set up to find nothing; None when it always finds itself.
        reports_exposure: whether it says what exposure and gain it used.
    """

    camera: Camera
    lost: Camera | None
    reports_exposure: bool


def in_seconds(seconds: float) -> int:
    """Return the deadline so far ahead."""
    return CLOCK.boottime_ns() + int(seconds * 1e9)


def take(camera: Camera, settings: CameraSettings = SMALL) -> Shot:
    """Take a frame with plenty of time."""
    return camera.capture(settings, deadline_ns=in_seconds(20))


def pixels_of(shot: Shot) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return the picture, decoded from what was delivered."""
    return decode(shot.jpeg) if shot.jpeg is not None else np.asarray(shot.pixels)


def write_video(path: Path, frames: int = 25) -> None:
    """Make a video of 640x480 whose frames get brighter."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (640, 480))
    assert video.isOpened()
    for number in range(frames):
        video.write(np.full((480, 640, 3), 10 + number * 8, np.uint8))
    video.release()


@pytest.fixture(params=["simulated", "replay-photos", "replay-video", "rpicam"])
def bench(
    request: pytest.FixtureRequest, tmp_path: Path, photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    scratch = tmp_path / "scratch"
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    config = {
        "simulated": CameraConfig(backend="simulated"),
        "replay-photos": CameraConfig(backend="replay", media=str(tmp_path / "photos")),
        "replay-video": CameraConfig(backend="replay", media=str(tmp_path / "video.avi")),
        "rpicam": CameraConfig(backend="rpicam"),
    }[request.param]
    lost = {
        "simulated": None,
        "rpicam": CameraConfig(backend="rpicam", rpicam_still=str(nothing / "rpicam-still")),
    }.get(request.param, CameraConfig(backend="replay", media=str(nothing)))
    if request.param == "replay-photos":
        (tmp_path / "photos").mkdir()
        for photograph in photographs:
            shutil.copy(photograph, tmp_path / "photos")
        (tmp_path / "photos" / "small.png").write_bytes(
            cv2.imencode(".png", np.zeros((480, 640, 3), np.uint8))[1].tobytes()
        )
    elif request.param == "replay-video":
        write_video(tmp_path / "video.avi")
    elif request.param == "rpicam":
        RpicamHome(tmp_path / "home", monkeypatch)
    camera = make_camera("north", config, CLOCK, scratch)
    yield Bench(
        camera,
        make_camera("north", lost, CLOCK, scratch) if lost else None,
        reports_exposure=not request.param.startswith("replay"),
    )
    camera.close()


class TestEveryCamera:
    def test_knows_what_it_is_once_open(self, bench: Bench) -> None:
        bench.camera.open()

        info = bench.camera.info

        assert info.backend in {"simulated", "replay", "rpicam"}
        assert info.model
        assert info.simulated == (info.backend == "simulated")
        assert info.repeats == (info.backend == "replay")
        areas = [width * height for width, height in info.resolutions]
        assert areas
        assert areas == sorted(areas, reverse=True)

    def test_may_be_opened_twice(self, bench: Bench) -> None:
        bench.camera.open()
        bench.camera.open()

        assert take(bench.camera).width == 640

    def test_says_what_is_missing_when_it_is_not_there(self, bench: Bench) -> None:
        bench.camera.open()
        if bench.lost is None:
            assert bench.camera.info.simulated
            return

        with pytest.raises(CameraNotAvailableError) as caught:
            bench.lost.open()

        assert "nothing" in caught.value.message

    def test_takes_nothing_before_it_is_open(self, bench: Bench) -> None:
        with pytest.raises(CameraNotInitializedError):
            take(bench.camera)

    def test_delivers_one_whole_picture_of_the_size_it_reports(self, bench: Bench) -> None:
        bench.camera.open()

        shot = bench.camera.capture(CameraSettings(), deadline_ns=in_seconds(20))

        assert (shot.jpeg is None) != (shot.pixels is None)
        assert pixels_of(shot).shape == (shot.height, shot.width, 3)
        assert pixels_of(shot).dtype == np.uint8
        if shot.jpeg is not None:
            info = inspect_jpeg(shot.jpeg)
            assert (info.width, info.height) == (shot.width, shot.height)
        else:
            assert inspect_jpeg(encode(pixels_of(shot), 95)).width == shot.width

    def test_begins_the_exposure_after_the_call(self, bench: Bench) -> None:
        bench.camera.open()
        moments = []
        for _ in range(3):
            before = CLOCK.boottime_ns()
            shot = take(bench.camera)

            moments.append(before <= shot.exposed_at_ns <= CLOCK.boottime_ns())

        assert moments == [True, True, True]

    def test_delivers_every_size_it_offers(self, bench: Bench) -> None:
        bench.camera.open()
        offered = bench.camera.info.resolutions

        sizes = []
        for width, height in offered:
            shot = take(bench.camera, CameraSettings(width=width, height=height))
            sizes.append((shot.width, shot.height))

        assert tuple(sizes) == offered

    def test_honours_and_reports_exposure_and_gain_where_it_has_them(self, bench: Bench) -> None:
        bench.camera.open()

        dark = take(bench.camera, CameraSettings(exposure_ms=20.0, gain=1.0, width=640, height=480))
        bright = take(bench.camera, CameraSettings(exposure_ms=60.0, gain=2.0, width=640, height=480))

        if bench.reports_exposure:
            assert (dark.exposure_ms, bright.exposure_ms) == (20.0, 60.0)
            assert dark.gain == pytest.approx(1.0, abs=0.01)
            assert bright.gain == pytest.approx(2.0, abs=0.01)
            assert pixels_of(bright).mean() > pixels_of(dark).mean() + 10
        else:
            assert (dark.exposure_ms, dark.gain) == (None, None)

    def test_gives_up_at_a_deadline_that_has_passed(self, bench: Bench) -> None:
        bench.camera.open()

        with pytest.raises(CaptureTimeoutError):
            bench.camera.capture(SMALL, deadline_ns=CLOCK.boottime_ns() - 1)

        assert take(bench.camera).width == 640

    def test_never_changes_a_picture_it_has_handed_over(self, bench: Bench) -> None:
        bench.camera.open()
        first = take(bench.camera)
        kept = pixels_of(first).copy()

        for _ in range(3):
            take(bench.camera)

        assert np.array_equal(pixels_of(first), kept)

    def test_is_closed_as_often_as_one_likes_and_opened_again(self, bench: Bench) -> None:
        bench.camera.close()
        bench.camera.open()
        bench.camera.close()
        bench.camera.close()

        with pytest.raises(CameraNotInitializedError):
            take(bench.camera)
        bench.camera.open()
        assert take(bench.camera).width == 640

    def test_leaves_nothing_behind_after_many_captures(self, bench: Bench, tmp_path: Path) -> None:
        bench.camera.open()
        for _ in range(3):
            take(bench.camera)
        before = open_things()

        for _ in range(15):
            take(bench.camera)

        assert grown_since(before) == []
        assert children() == []
        assert list((tmp_path / "scratch").glob("*")) == []

    def test_previews_in_small_frames_at_the_pace_asked_for(self, bench: Bench) -> None:
        bench.camera.open()
        frames = bench.camera.preview(CameraSettings(), width=320, fps=20.0)
        first = next(frames)
        started = time.monotonic()

        more = [next(frames) for _ in range(8)]
        seconds = time.monotonic() - started
        frames.close()

        assert seconds >= 7 / 20.0 * 0.8
        for frame in (first, *more):
            info = inspect_jpeg(frame.jpeg)
            assert info.width == frame.width == 320
            assert info.height == frame.height
        moments = [frame.exposed_at_ns for frame in (first, *more)]
        assert moments == sorted(moments)
        assert moments[-1] <= CLOCK.boottime_ns()

    def test_leaves_nothing_behind_after_previews(self, bench: Bench) -> None:
        bench.camera.open()
        # The first takes of a decoder start threads that stay.
        for _ in range(2):
            watch(bench.camera)
        before = open_things()

        for _ in range(4):
            watch(bench.camera)

        assert grown_since(before) == []
        assert children() == []

    def test_ends_a_preview_in_another_thread_when_it_is_closed(self, bench: Bench) -> None:
        bench.camera.open()
        frames = bench.camera.preview(CameraSettings(), width=320, fps=2.0)
        running = threading.Event()

        def watch_on() -> None:
            for _ in frames:
                running.set()

        watcher = threading.Thread(target=watch_on)
        watcher.start()
        assert running.wait(10)

        bench.camera.close()
        watcher.join(5)

        assert not watcher.is_alive()
        assert children() == []

    def test_takes_stills_while_it_previews_or_else_ends_the_preview_for_them(self, bench: Bench) -> None:
        bench.camera.open()
        frames = bench.camera.preview(CameraSettings(), width=320, fps=50.0)
        next(frames)

        shots = [take(bench.camera) for _ in range(3)]
        after = next(frames, None)
        frames.close()

        assert [shot.width for shot in shots] == [640, 640, 640]
        if bench.camera.info.previews_beside_stills:
            assert after is not None
            assert after.exposed_at_ns >= shots[-1].exposed_at_ns
        else:
            assert after is None


def watch(camera: Camera) -> None:
    """Watch a preview for three frames."""
    frames = camera.preview(CameraSettings(), width=320, fps=50.0)
    for _ in range(3):
        next(frames)
    frames.close()


def open_things() -> dict[str, int]:
    """Return how many files this process has open, and how many threads it has."""
    return {name: len(list(Path("/proc/self", name).iterdir())) for name in ("fd", "task")}


def grown_since(before: dict[str, int]) -> list[str]:
    """Return of what there is more than before. A thread that was joined may take a moment to be gone."""
    give_up = time.monotonic() + 5
    while True:
        grown = [f"{name}: {before[name]} to {now}" for name, now in open_things().items() if now > before[name]]
        if not grown or time.monotonic() > give_up:
            return grown
        time.sleep(0.01)


def children() -> list[str]:
    """Return the command names of this process's children, zombies included."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name, _, rest = (entry / "stat").read_text(encoding="utf-8").partition("(")[2].rpartition(")")
            except OSError:
                continue
            if int(rest.split()[1]) == os.getpid():
                found.append(name)
    return found

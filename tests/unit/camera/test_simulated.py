# SPDX-License-Identifier: MIT
"""The simulated camera: reproducible, plausible, and never to be taken for a real one."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from fieldcam.camera.base import CameraSettings
from fieldcam.camera.scene import FONT, MARK, MARK_BAND, STATUS_BAND
from fieldcam.camera.simulated import SimulatedCamera
from fieldcam.core.clock import SystemClock
from fieldcam.core.config import CameraConfig
from fieldcam.core.errors import CameraNotInitializedError, CaptureTimeoutError

NO_DEADLINE = 1 << 62
SMALL = CameraSettings(width=640, height=480)
CONFIG = CameraConfig(backend="simulated")


@dataclass
class StoppedClock:
    """Time that moves when a test moves it."""

    now_ns: int = 1_000_000_000_000

    def boottime_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return 1_768_300_000_000_000_000 + self.now_ns

    def boot_id(self) -> str:
        return "boot"


def make(name: str = "default", clock: StoppedClock | None = None, config: CameraConfig = CONFIG) -> SimulatedCamera:
    camera = SimulatedCamera(name, config, clock or StoppedClock())
    camera.open()
    return camera


def shoot(camera: SimulatedCamera, settings: CameraSettings = SMALL) -> npt.NDArray[np.uint8]:
    pixels = camera.capture(settings, deadline_ns=NO_DEADLINE).pixels
    assert pixels is not None
    return pixels


def scene_of(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the part between the mark and the status line."""
    height = len(pixels)
    return pixels[round(height * MARK_BAND[1]) + 1 : round(height * STATUS_BAND[0]) - 1]


def test_the_same_camera_at_the_same_moment_gives_the_same_pixels() -> None:
    assert np.array_equal(shoot(make()), shoot(make()))


def test_cameras_of_other_names_see_other_scenes() -> None:
    assert not np.array_equal(scene_of(shoot(make("north"))), scene_of(shoot(make("south"))))


def test_each_frame_has_its_number_drawn_in() -> None:
    camera = make()

    first, second = shoot(camera), shoot(camera)

    assert np.array_equal(scene_of(first), scene_of(second))
    assert not np.array_equal(first, second)


def test_the_traffic_moves_with_time() -> None:
    clock = StoppedClock()
    camera = make(clock=clock)
    first = shoot(camera)
    clock.now_ns += 1_000_000_000

    second = shoot(camera)

    changed = np.any(scene_of(first) != scene_of(second), axis=2).mean()
    assert 0.001 < changed < 0.2


@pytest.mark.parametrize("size", [(4056, 3040), (1920, 1080), (640, 480)])
@pytest.mark.parametrize("exposure_ms", [0.01, 100.0, 1_000_000.0])
def test_the_mark_can_be_read_in_a_thumbnail_of_any_frame(size: tuple[int, int], exposure_ms: float) -> None:
    pixels = shoot(make(), CameraSettings(exposure_ms=exposure_ms, width=size[0], height=size[1]))

    thumbnail = cv2.resize(pixels, (320, 320 * size[1] // size[0]), interpolation=cv2.INTER_AREA)

    band = thumbnail[: round(len(thumbnail) * 0.25)]
    # Written here anew, as a reader would expect to see it, and looked for.
    (width, height), _ = cv2.getTextSize(MARK, FONT, 1.0, 3)
    letters = np.zeros((height + 6, width + 6), np.uint8)
    cv2.putText(letters, MARK, (3, height + 2), FONT, 1.0, 255, 3, cv2.LINE_AA)
    scores = [
        float(cv2.matchTemplate(band[:, :, 2], part, cv2.TM_CCOEFF_NORMED).max())
        for scale in np.arange(0.5, 2.0, 0.05)
        if (part := cv2.resize(letters, None, fx=scale, fy=scale)).shape[0] <= len(band) and part.shape[1] <= 320
    ]
    assert max(scores) > 0.6


def test_brightness_follows_exposure_times_gain() -> None:
    camera = make()

    def brightness(exposure_ms: float, gain: float) -> float:
        settings = CameraSettings(exposure_ms=exposure_ms, gain=gain, width=640, height=480)
        return float(scene_of(shoot(camera, settings)).mean())

    steps = [brightness(*pair) for pair in ((1, 1), (20, 1), (50, 1), (100, 1), (100, 2), (200, 2))]

    assert steps == sorted(steps)
    assert len(set(steps)) == len(steps)
    assert brightness(50, 2) == brightness(100, 1) == brightness(200, 0.5)


@pytest.mark.parametrize(("exposure_ms", "gain"), [(0.001, 0.001), (1_000_000, 1000)])
def test_extremes_still_show_a_scene(exposure_ms: float, gain: float) -> None:
    settings = CameraSettings(exposure_ms=exposure_ms, gain=gain, width=640, height=480)

    assert scene_of(shoot(make(), settings)).std() > 5


def test_what_is_reported_is_what_was_used() -> None:
    camera = make()

    asked = camera.capture(CameraSettings(exposure_ms=12.5, gain=1.5, width=640, height=480), deadline_ns=NO_DEADLINE)
    usual = camera.capture(SMALL, deadline_ns=NO_DEADLINE)

    assert (asked.exposure_ms, asked.gain) == (12.5, 1.5)
    assert (usual.exposure_ms, usual.gain) == (100.0, 1.0)


def test_the_configured_size_is_offered_and_is_the_native_one() -> None:
    camera = make(config=CameraConfig(backend="simulated", width=1300, height=700))

    shot = camera.capture(CameraSettings(), deadline_ns=NO_DEADLINE)

    assert (1300, 700) in camera.info.resolutions
    assert (shot.width, shot.height) == (1300, 700)


@pytest.mark.parametrize("size", [(16, 16), (16384, 16), (16, 4000), (641, 479)])
def test_any_size_can_be_drawn(size: tuple[int, int]) -> None:
    pixels = shoot(make(), CameraSettings(width=size[0], height=size[1]))

    assert pixels.shape == (size[1], size[0], 3)


def test_an_exposure_lasts_only_when_that_is_wanted() -> None:
    camera = SimulatedCamera("default", CONFIG, SystemClock(), exposure_takes_time=True)
    camera.open()
    settings = CameraSettings(exposure_ms=120.0, width=640, height=480)
    started = time.monotonic()

    camera.capture(settings, deadline_ns=NO_DEADLINE)

    assert time.monotonic() - started >= 0.12


def test_an_exposure_longer_than_the_deadline_is_given_up_at_the_deadline() -> None:
    clock = SystemClock()
    camera = SimulatedCamera("default", CONFIG, clock, exposure_takes_time=True)
    camera.open()
    started = time.monotonic()

    with pytest.raises(CaptureTimeoutError):
        camera.capture(CameraSettings(exposure_ms=60_000), deadline_ns=clock.boottime_ns() + 100_000_000)

    assert 0.1 <= time.monotonic() - started < 5


def test_closing_interrupts_an_exposure() -> None:
    clock = SystemClock()
    camera = SimulatedCamera("default", CONFIG, clock, exposure_takes_time=True)
    camera.open()
    closer = threading.Timer(0.1, camera.close)
    closer.start()

    with pytest.raises(CameraNotInitializedError):
        camera.capture(CameraSettings(exposure_ms=60_000), deadline_ns=NO_DEADLINE)

    closer.join()


def test_a_full_size_frame_is_not_drawn_from_scratch_each_time() -> None:
    camera = make()
    durations = []
    for _ in range(10):
        started = time.perf_counter()
        shoot(camera, CameraSettings())
        durations.append(time.perf_counter() - started)

    # 20 ms against 300 ms on one idle core; compared, because how busy this machine is nobody knows.
    assert min(durations[1:]) < durations[0] / 3

# SPDX-License-Identifier: MIT
"""What the drop-in is made of: sizes, frame rates, errors that are OpenCV's as well, and a device of one's own."""

from __future__ import annotations

import pickle
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fieldcam.core.errors import (
    CameraNotAvailableError,
    CaptureServiceError,
    ConfigError,
    ImageTooOldError,
    SharedVolumeError,
    all_errors,
)
from fieldcam.core.jpeg import DIVISORS
from fieldcam.provider.camera_interface import ContainerCameraInterface
from fieldcam.provider.frame_rate import frame_rate
from fieldcam.provider.opencv_errors import for_opencv
from fieldcam.provider.scaled_sizes import nearest_divisor, scaled

SENSOR = (4056, 3040)


class TestSizes:
    def test_sides_are_rounded_up(self) -> None:
        assert [scaled((4056, 3039), divisor) for divisor in DIVISORS] == [
            (4056, 3039),
            (2028, 1520),
            (1014, 760),
            (507, 380),
        ]

    @pytest.mark.parametrize(
        ("wish", "divisor"),
        [
            ((None, None), 1),
            ((0, 0), 1),
            ((-1, None), 1),
            ((4056, 3040), 1),
            ((9999, 9999), 1),
            ((1920, 1080), 2),
            ((1280, 720), 4),
            ((640, 480), 8),
            ((None, 700), 4),
            ((1, 1), 8),
        ],
    )
    def test_the_nearest_is_chosen_by_ratio(self, wish: tuple[float | None, float | None], divisor: int) -> None:
        assert nearest_divisor(SENSOR, *wish) == divisor

    def test_the_wish_made_last_decides_between_equals(self) -> None:
        assert nearest_divisor(SENSOR, 2028, 3040) == 2
        assert nearest_divisor(SENSOR, 2028, 3040, height_decides=True) == 1
        assert nearest_divisor(SENSOR, 2868, None) == 1

    @pytest.mark.parametrize("size", [SENSOR, (1920, 1080), (641, 479), (3, 2)])
    def test_every_size_is_its_own_nearest(self, size: tuple[int, int]) -> None:
        for divisor in DIVISORS:
            assert scaled(size, nearest_divisor(size, *scaled(size, divisor))) == scaled(size, divisor)


class TestFrameRate:
    def names(self, folder: Path, *milliseconds: int) -> None:
        (folder / "live").mkdir(exist_ok=True)
        for moment in milliseconds:
            (folder / "live" / f"capture_20260113_1030{moment // 1000:02d}_{moment % 1000:03d}.jpg").touch()

    def test_it_is_that_of_the_last_frames_without_their_pauses(self, tmp_path: Path) -> None:
        self.names(tmp_path, 0, 250, 500, 750, 20_000, 20_250, 20_500)

        assert frame_rate(tmp_path) == 4.0

    def test_what_was_long_ago_does_not_count(self, tmp_path: Path) -> None:
        self.names(tmp_path, *range(0, 2000, 100), *range(20_000, 40_000, 1000))

        assert frame_rate(tmp_path) == 1.0

    def test_one_frame_has_no_rate(self, tmp_path: Path) -> None:
        assert frame_rate(tmp_path) == 0.0
        self.names(tmp_path, 0)
        assert frame_rate(tmp_path) == 0.0

    def test_a_folder_that_is_none_has_no_rate(self, tmp_path: Path) -> None:
        (tmp_path / "live").touch()

        assert frame_rate(tmp_path) == 0.0


class TestErrors:
    def test_they_are_ours_and_opencvs(self) -> None:
        cause = OSError("disk")
        error = ImageTooOldError("9 s old", age=9.0)
        error.__cause__ = cause

        both = for_opencv(error)

        for kind in (cv2.error, ImageTooOldError, SharedVolumeError):
            with pytest.raises(kind, match="9 s old"):
                raise both
        assert (both.code, both.message, both.details) == ("IMAGE_TOO_OLD", "9 s old", {"age": 9.0})
        assert both.__cause__ is cause
        assert type(both).__name__ == "ImageTooOldError"
        assert type(for_opencv(ImageTooOldError("again"))) is type(both)
        assert not isinstance(both, CaptureServiceError)

    def test_the_documented_tree_stays_as_it_is(self) -> None:
        before = all_errors()

        for_opencv(CameraNotAvailableError("x"))

        assert all_errors() == before

    def test_they_travel_as_ours(self) -> None:
        received = pickle.loads(pickle.dumps(for_opencv(ImageTooOldError("9 s old", age=9.0))))

        assert type(received) is ImageTooOldError
        assert (received.message, received.details) == ("9 s old", {"age": 9.0})

    def test_without_opencv_they_are_as_they_were(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cv2", None)
        error = ImageTooOldError("9 s old")

        assert for_opencv(error) is error


class TestDevice:
    @pytest.fixture
    def video(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        file = tmp_path / "video.avi"
        writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (640, 480))
        for number in range(6):
            image = np.full((480, 640, 3), 20 + number * 30, np.uint8)
            image[:100] = (40, 90, 160)
            writer.write(image)
        writer.release()
        monkeypatch.setenv("USE_SHARED_VOLUME_IMAGES", "false")
        monkeypatch.setenv("CAMERA_DEVICE_ID", str(file))
        return file

    def test_it_answers_as_the_device_does(self, video: Path) -> None:
        camera, real = ContainerCameraInterface("/nowhere"), cv2.VideoCapture(str(video))

        assert camera.isOpened() is True
        assert camera.getBackendName() == real.getBackendName()
        for _ in range(2):
            (_, image), (_, expected) = camera.read(), real.read()
            assert np.array_equal(np.asarray(image), np.asarray(expected))
        assert camera.grab() is True
        assert camera.retrieve()[0] is True
        assert camera.get(cv2.CAP_PROP_POS_FRAMES) == 3
        assert camera.get(cv2.CAP_PROP_FPS) == 25
        assert camera.set(cv2.CAP_PROP_POS_FRAMES, 5) is True
        target = np.zeros((480, 640, 3), np.uint8)
        assert camera.read(target)[1] is target
        assert camera.read() == (False, None)
        camera.setExceptionMode(True)
        assert camera.getExceptionMode() is True
        with pytest.raises(cv2.error):
            camera.read()
        assert camera.capture_array() is None
        camera.release()
        assert camera.isOpened() is False

    def test_it_opens_again(self, video: Path, tmp_path: Path) -> None:
        camera = ContainerCameraInterface()
        camera.read()
        camera.release()

        assert camera.open() is True
        assert camera.get(cv2.CAP_PROP_POS_FRAMES) == 0
        assert camera.open(str(tmp_path / "none.avi")) is False
        assert camera.open(filename=str(video), apiPreference=cv2.CAP_FFMPEG) is True
        assert camera.open(str(video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_HW_ACCELERATION, 0]) is True
        camera.close()

    def test_the_other_half_works_as_well(self, video: Path, tmp_path: Path) -> None:
        with ContainerCameraInterface() as camera:
            assert camera.camera_properties == {}
            assert camera.sensor_resolution == (640, 480)
            camera.configure(camera.create_preview_configuration(main={"size": (320, 240)}))
            camera.start()
            array, small = camera.capture_array(), camera.capture_array("lores")
            metadata = camera.capture_file(tmp_path / "photo.jpg")
            camera.stop()

            assert array is not None
            assert array.shape == (240, 320, 3)
            assert np.abs(np.subtract(array[10, 10], (160, 90, 40), dtype=int)).max() <= 8
            assert small is not None
            assert small.shape == (240, 320, 3)
            assert metadata["SensorTimestamp"] <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            assert metadata["camera"] == str(video)
            assert 0 <= metadata["age"] < 10
            photo: Any = cv2.imread(str(tmp_path / "photo.jpg"))
            assert photo.shape == (240, 320, 3)
            assert camera.camera_properties["PixelArraySize"] == (640, 480)
        assert camera.capture_array() is None
        camera.start()
        assert camera.capture_array() is not None
        camera.close()

    def test_without_opencv_it_says_what_to_do(self, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cv2", None)

        with pytest.raises(CameraNotAvailableError, match="install opencv-python-headless"):
            ContainerCameraInterface()

    def test_release_waits_for_a_read_in_another_thread(self, video: Path) -> None:
        camera = ContainerCameraInterface()
        lock: Any = camera._video._lock
        done = threading.Event()

        def release() -> None:
            camera.release()
            done.set()

        with lock:
            releasing = threading.Thread(target=release)
            releasing.start()
            assert not done.wait(0.1)
        releasing.join(timeout=2)

        assert done.is_set()

    @pytest.mark.parametrize(("value", "device"), [("", 0), ("2", 2), (" 1 ", 1), ("rtsp://cam/1", "rtsp://cam/1")])
    def test_the_device_is_a_number_a_path_or_a_url(
        self, value: str, device: int | str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened: list[Any] = []
        monkeypatch.setattr(cv2, "VideoCapture", opened.append)
        monkeypatch.setenv("USE_SHARED_VOLUME_IMAGES", "False")
        monkeypatch.setenv("CAMERA_DEVICE_ID", value)

        ContainerCameraInterface()

        assert opened == [device]

    def test_a_switch_that_is_neither_on_nor_off_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("USE_SHARED_VOLUME_IMAGES", "flase")

        with pytest.raises(ConfigError, match="USE_SHARED_VOLUME_IMAGES='flase'"):
            ContainerCameraInterface()

    @pytest.mark.parametrize("value", ["", "true", "TRUE", "1", "yes", "on"])
    def test_the_shared_volume_is_what_is_used_otherwise(
        self, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("USE_SHARED_VOLUME_IMAGES", value)

        assert ContainerCameraInterface(tmp_path, ring_dir="").getBackendName() == "FIELDCAM"

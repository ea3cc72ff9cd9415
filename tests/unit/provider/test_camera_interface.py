# SPDX-License-Identifier: MIT
"""provider.camera_interface over the hand-off area: waiting, age, sizes, threads, and nothing that leaks."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fieldcam.core.errors import CameraNotAvailableError, ImageTooOldError, SharedVolumeError, StorageUnavailableError
from fieldcam.provider.camera_interface import ContainerCameraInterface
from fieldcam.provider.shared_frames import SharedFrames
from tests.appliance_tree import wait_until
from tests.shared_camera import SIZE, SharedCamera, brightness


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USE_SHARED_VOLUME_IMAGES", "CAMERA_DEVICE_ID", "CAMERA_CAPTURE_DIR", "CAMERA_RING_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["files", "ring"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SharedCamera]:
    camera = SharedCamera(tmp_path, with_ring=request.param == "ring")
    yield camera
    camera.close()


@pytest.fixture
def camera(source: SharedCamera) -> Iterator[ContainerCameraInterface]:
    ours = ContainerCameraInterface(**source.options, max_age_seconds=2.0)
    yield ours
    ours.release()


def timed(ask: Any) -> tuple[Any, float]:
    """Return an answer and the seconds it took."""
    began = time.monotonic()
    return ask(), time.monotonic() - began


def leased_slots() -> set[str]:
    """Return the ring's files that this process holds a shared lock on; it keeps more of them open."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
            locks = Path(f"/proc/self/fdinfo/{entry.name}").read_text().splitlines()
        except OSError:
            continue
        if ".slot" in target and any("FLOCK" in line and "READ" in line for line in locks):
            found.add(target)
    return found


def resources() -> tuple[int, int]:
    """Return how many descriptors and threads this process has."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir()), threading.active_count()


class TestWaiting:
    def test_the_first_read_gives_the_newest_frame_at_once(
        self, camera: ContainerCameraInterface, source: SharedCamera
    ) -> None:
        for _ in range(3):
            source.publish()

        (succeeded, image), took = timed(camera.read)

        assert succeeded
        assert image is not None
        assert int(image[-1, -1, 0]) == pytest.approx(brightness(2), abs=2)
        assert took < 0.5

    def test_the_next_read_waits_for_a_new_frame(self, camera: ContainerCameraInterface, source: SharedCamera) -> None:
        source.publish()
        camera.read()
        late = threading.Timer(0.4, source.publish)
        late.start()

        (succeeded, image), took = timed(camera.read)
        late.join()

        assert succeeded
        assert image is not None
        assert int(image[-1, -1, 0]) == pytest.approx(brightness(1), abs=2)
        assert 0.35 < took < 1.5

    def test_a_frame_that_was_given_is_not_given_again(
        self, camera: ContainerCameraInterface, source: SharedCamera
    ) -> None:
        source.publish()
        camera.set(cv2.CAP_PROP_READ_TIMEOUT_MSEC, 300)
        camera.read()

        answer, took = timed(camera.read)

        assert answer == (False, None)
        assert 0.25 < took < 1.0

    def test_it_waits_as_long_as_a_frame_may_be_old(self, source: SharedCamera) -> None:
        camera = ContainerCameraInterface(**source.options, max_age_seconds=0.4)

        answer, took = timed(camera.read)

        assert camera.get(cv2.CAP_PROP_READ_TIMEOUT_MSEC) == 400
        assert answer == (False, None)
        assert 0.35 < took < 1.2

    def test_a_time_of_nothing_polls(self, camera: ContainerCameraInterface, source: SharedCamera) -> None:
        assert camera.set(cv2.CAP_PROP_READ_TIMEOUT_MSEC, 0)

        assert timed(camera.grab)[1] < 0.2
        source.publish()
        assert camera.grab()
        assert not camera.grab()

    @pytest.mark.parametrize("value", [-1, float("inf"), float("nan")])
    def test_a_time_to_wait_is_a_time(self, camera: ContainerCameraInterface, value: float) -> None:
        assert not camera.set(cv2.CAP_PROP_READ_TIMEOUT_MSEC, value)
        assert camera.get(cv2.CAP_PROP_READ_TIMEOUT_MSEC) == 2000

    @pytest.mark.parametrize("state", ["stale", "missing"])
    def test_a_loop_over_a_dead_volume_does_not_spin(self, tmp_path: Path, state: str) -> None:
        source = SharedCamera(tmp_path)
        if state == "stale":
            source.publish(seconds_ago=60)
        folder = source.folder if state == "stale" else tmp_path / "not mounted"
        camera = ContainerCameraInterface(folder, max_age_seconds=0.5, ring_dir="")
        camera.read()  # what is loaded on first use
        began, used = time.monotonic(), time.process_time()
        reads = 0

        while time.monotonic() - began < 1.5:
            assert camera.read() == (False, None)
            assert not camera.isOpened()
            reads += 1

        assert reads <= 4
        assert time.process_time() - used < 0.3

    def test_an_area_that_is_mounted_later_is_found(self, tmp_path: Path) -> None:
        camera = ContainerCameraInterface(tmp_path / "later" / "handoff", max_age_seconds=10.0, ring_dir="")
        assert not camera.isOpened()

        mounting = threading.Timer(0.3, lambda: SharedCamera(tmp_path / "later").publish())
        mounting.start()
        succeeded, image = camera.read()
        mounting.join()

        assert succeeded
        assert image is not None
        assert camera.isOpened()

    def test_opening_finds_what_is_there_or_waits_for_it(
        self, camera: ContainerCameraInterface, source: SharedCamera
    ) -> None:
        assert camera.open(0) is False
        source.publish()
        assert camera.read()[0]
        assert camera.open() is True
        assert camera.read()[0]


class TestAge:
    def test_it_is_open_while_recent_images_exist(self, camera: ContainerCameraInterface, source: SharedCamera) -> None:
        assert not camera.isOpened()
        source.publish(seconds_ago=30)
        assert not camera.isOpened()
        source.publish(seconds_ago=1.7)
        assert camera.isOpened()
        camera.grab()
        assert camera.isOpened()
        wait_until(lambda: not camera.isOpened(), "the frame that was grabbed gets old")
        source.publish()
        assert camera.isOpened()

    def test_an_old_frame_is_not_given(self, source: SharedCamera) -> None:
        camera = ContainerCameraInterface(**source.options, max_age_seconds=0.5)
        source.publish(seconds_ago=0.6)

        assert camera.read() == (False, None)

    def test_a_frozen_camera_gives_nothing(self, camera: ContainerCameraInterface, source: SharedCamera) -> None:
        camera.set(cv2.CAP_PROP_READ_TIMEOUT_MSEC, 200)
        source.publish(identical_frames=3)

        assert camera.read() == (False, None)
        assert not camera.isOpened()

    def test_properties_tell_of_an_old_frame_as_well(
        self, camera: ContainerCameraInterface, source: SharedCamera
    ) -> None:
        assert camera.get(cv2.CAP_PROP_FRAME_WIDTH) == 0
        source.publish(seconds_ago=60)  # older than any that is given, and younger than this boot

        assert camera.get(cv2.CAP_PROP_FRAME_WIDTH) == SIZE[0]
        assert camera.get(cv2.CAP_PROP_EXPOSURE) == 12.5
        assert camera.get(cv2.CAP_PROP_GAIN) == 2.0
        assert camera.get(cv2.CAP_PROP_POS_MSEC) == 0

    def test_positions_are_the_time_of_exposure(self, camera: ContainerCameraInterface, source: SharedCamera) -> None:
        sidecar = source.publish()
        camera.grab()

        assert camera.get(cv2.CAP_PROP_POS_MSEC) == pytest.approx(sidecar.monotonic_ns / 1e6)

    def test_the_frame_rate_is_the_cameras(self, camera: ContainerCameraInterface, source: SharedCamera) -> None:
        assert camera.get(cv2.CAP_PROP_FPS) == 0
        source.publish(seconds_ago=4)
        assert camera.get(cv2.CAP_PROP_FPS) == 0
        for seconds in (3.5, 3.0, 1.0, 0.5, 0.0):
            source.publish(seconds_ago=seconds)

        assert camera.get(cv2.CAP_PROP_FPS) == pytest.approx(2.0, rel=0.05)

    def test_in_exception_mode_the_reason_is_raised(
        self, camera: ContainerCameraInterface, source: SharedCamera, tmp_path: Path
    ) -> None:
        camera.setExceptionMode(True)
        camera.set(cv2.CAP_PROP_READ_TIMEOUT_MSEC, 100)
        source.publish(seconds_ago=60)

        with pytest.raises(ImageTooOldError, match="60"):
            camera.read()
        with pytest.raises(SharedVolumeError):
            camera.grab()
        with pytest.raises(CameraNotAvailableError, match="no folder"):
            camera.open(str(tmp_path / "none"))
        gone = ContainerCameraInterface(tmp_path / "none", max_age_seconds=0.1)
        gone.setExceptionMode(True)
        with pytest.raises(StorageUnavailableError):
            gone.read()


class TestSizes:
    @pytest.mark.parametrize(
        ("wishes", "real"),
        [
            ([("WIDTH", 320)], (320, 240)),
            ([("HEIGHT", 240)], (320, 240)),
            ([("HEIGHT", 420)], (640, 480)),
            ([("WIDTH", 420)], (320, 240)),
            ([("WIDTH", 200)], (160, 120)),
            ([("WIDTH", 1)], (80, 60)),
            ([("WIDTH", 4056), ("HEIGHT", 3040)], (640, 480)),
            ([("WIDTH", 160), ("HEIGHT", 120)], (160, 120)),
            ([("WIDTH", 160), ("HEIGHT", 120), ("WIDTH", 640)], (640, 480)),
            ([("WIDTH", 160), ("HEIGHT", 120), ("WIDTH", 640), ("HEIGHT", 480)], (640, 480)),
            ([("WIDTH", 640), ("HEIGHT", 480), ("HEIGHT", 120)], (160, 120)),
        ],
    )
    def test_the_nearest_size_is_read_and_told(
        self,
        camera: ContainerCameraInterface,
        source: SharedCamera,
        wishes: list[tuple[str, int]],
        real: tuple[int, int],
    ) -> None:
        source.publish()
        for side, value in wishes:
            assert camera.set(getattr(cv2, f"CAP_PROP_FRAME_{side}"), value)

        _, image = camera.read()

        assert image is not None
        assert (image.shape[1], image.shape[0]) == real
        assert camera.get(cv2.CAP_PROP_FRAME_WIDTH) == real[0]
        assert camera.get(cv2.CAP_PROP_FRAME_HEIGHT) == real[1]
        assert abs(int(image[2, 2, 2]) - 160) <= 6

    @pytest.mark.parametrize("value", [0, -640])
    def test_a_size_is_positive(self, camera: ContainerCameraInterface, source: SharedCamera, value: int) -> None:
        source.publish()

        assert not camera.set(cv2.CAP_PROP_FRAME_WIDTH, value)
        assert camera.get(cv2.CAP_PROP_FRAME_WIDTH) == SIZE[0]

    def test_an_array_of_the_chosen_size_is_filled(
        self, camera: ContainerCameraInterface, source: SharedCamera
    ) -> None:
        source.publish()
        camera.set(cv2.CAP_PROP_FRAME_WIDTH, 320)
        target = np.zeros((240, 320, 3), np.uint8)

        assert camera.read(target)[1] is target
        assert target[-1, -1, 0] > 0
        target[:] = 0
        assert camera.retrieve(target)[1] is target
        assert target[-1, -1, 0] > 0

    def test_what_is_so_already_is_accepted(self, camera: ContainerCameraInterface) -> None:
        assert camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        assert camera.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        assert not camera.set(cv2.CAP_PROP_BUFFERSIZE, 4)
        assert not camera.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        assert camera.get(cv2.CAP_PROP_CONVERT_RGB) == 1
        assert camera.getBackendName() == "FIELDCAM"


class TestPlaces:
    def test_the_environment_stands_for_the_default_only(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        one, other = SharedCamera(tmp_path / "one"), SharedCamera(tmp_path / "other", size=(320, 240))
        one.publish()
        other.publish()
        monkeypatch.setenv("CAMERA_CAPTURE_DIR", str(one.folder))
        monkeypatch.setenv("CAMERA_RING_DIR", "")

        assert ContainerCameraInterface().sensor_resolution == (640, 480)
        assert ContainerCameraInterface(str(other.folder)).sensor_resolution == (320, 240)
        monkeypatch.delenv("CAMERA_CAPTURE_DIR")
        assert str(ContainerCameraInterface()._frames.folder) == "/mnt/storage/camera_capture"  # type: ignore[attr-defined]

    def test_opening_a_path_reads_another_area(self, tmp_path: Path) -> None:
        one, other = SharedCamera(tmp_path / "one"), SharedCamera(tmp_path / "other", size=(320, 240))
        one.publish()
        other.publish()
        camera = ContainerCameraInterface(one.folder, ring_dir="")
        camera.read()

        assert camera.open(other.folder)

        image = camera.read()[1]
        assert image is not None
        assert image.shape == (240, 320, 3)
        assert camera.open(0)
        image = camera.read()[1]
        assert image is not None
        assert image.shape == (240, 320, 3)


class TestRing:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Iterator[SharedCamera]:
        camera = SharedCamera(tmp_path, with_ring=True, size=(1280, 960))
        yield camera
        camera.close()

    @pytest.fixture
    def camera(self, source: SharedCamera) -> Iterator[ContainerCameraInterface]:
        """The ring knows already that there is a reader."""
        ours = ContainerCameraInterface(**source.options)
        assert not ours.isOpened()
        yield ours
        ours.release()

    def test_a_grabbed_frame_keeps_its_slot_until_the_next_call(
        self, camera: ContainerCameraInterface, source: SharedCamera
    ) -> None:
        source.publish(only_ring=True)
        assert camera.grab()
        assert len(leased_slots()) == 1

        waiting = threading.Thread(target=camera.grab)
        waiting.start()
        wait_until(lambda: not leased_slots(), "the slot is given back before the wait")
        assert waiting.is_alive()
        source.publish(only_ring=True)
        waiting.join()

        assert len(leased_slots()) == 1

    def test_a_read_gives_the_slot_back_and_the_picture_is_there_once_more(
        self, camera: ContainerCameraInterface, source: SharedCamera
    ) -> None:
        source.publish(only_ring=True)

        _, image = camera.read()

        assert leased_slots() == set()
        succeeded, again = camera.retrieve()
        assert succeeded
        assert again is not image
        assert np.array_equal(np.asarray(image), np.asarray(again))
        target = np.zeros_like(np.asarray(image))
        assert camera.retrieve(target)[1] is target
        assert np.array_equal(np.asarray(image), target)
        assert image is not None
        kept = weakref.ref(image)
        del image
        assert camera.retrieve()[0]
        camera.set(cv2.CAP_PROP_READ_TIMEOUT_MSEC, 0)
        assert not camera.grab()
        assert kept() is None
        assert camera.retrieve() == (False, None)

    @pytest.mark.parametrize("how", ["stop", "release", "close"])
    def test_a_slot_is_given_back(self, camera: ContainerCameraInterface, source: SharedCamera, how: str) -> None:
        source.publish(only_ring=True)
        assert camera.grab()
        assert leased_slots()

        getattr(camera, how)()

        assert leased_slots() == set()
        assert camera.retrieve() == (False, None)

    def test_a_frame_that_comes_after_a_release_is_given_back(
        self, camera: ContainerCameraInterface, source: SharedCamera, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        frames: Any = camera._frames
        provider, hold, take = frames._session.provider, frames._session.provider.hold, frames.take

        def hold_and_release(**options: Any) -> Any:
            held = hold(**options)
            camera.release()
            return held

        monkeypatch.setattr(provider, "hold", hold_and_release)
        source.publish(only_ring=True)
        assert camera.grab() is False
        assert leased_slots() == set()

        camera.open()

        def take_and_release() -> Any:
            held = take()
            camera.release()
            return held

        monkeypatch.setattr(frames, "take", take_and_release)
        camera.grab()
        assert leased_slots() == set()
        assert camera.retrieve() == (False, None)

    def test_small_pictures_are_made_of_the_small_stream(
        self, camera: ContainerCameraInterface, source: SharedCamera
    ) -> None:
        camera.capture_metadata()
        with source.running():
            wait_until(
                lambda: camera.capture_array("lores") is not None and self._streams(source) >= {"lores"}, "lores"
            )
            array = camera.capture_array("lores")

        assert array is not None
        assert array.shape == (480, 640, 3)

    def test_pictures_larger_than_the_small_stream_are_made_of_the_main_one(self, source: SharedCamera) -> None:
        camera = ContainerCameraInterface(**source.options)
        camera.configure(camera.create_video_configuration(lores={"size": (1000, 750)}))
        with source.running():
            wait_until(
                lambda: camera.capture_array("lores") is not None and self._streams(source), "a frame in the ring"
            )
            array = camera.capture_array("lores")
        camera.release()

        assert array is not None
        assert array.shape == (750, 1000, 3)
        assert self._streams(source) == {"main"}

    def test_a_file_is_not_made_of_the_ring(
        self, camera: ContainerCameraInterface, source: SharedCamera, tmp_path: Path
    ) -> None:
        sidecar = source.publish()
        source.publish(only_ring=True)

        metadata = camera.capture_file(tmp_path / "photo.jpg")

        assert (tmp_path / "photo.jpg").read_bytes() == source.bytes_of(sidecar)
        assert metadata["sha256"] == sidecar.sha256

    def _streams(self, source: SharedCamera) -> set[str]:
        return {path.name.partition("-")[0] for path in source.ring.glob("*.slot")}


class TestThreads:
    @pytest.mark.parametrize("how", ["release", "close"])
    def test_a_read_that_waits_ends_when_another_thread_releases(self, source: SharedCamera, how: str) -> None:
        camera = ContainerCameraInterface(**source.options, max_age_seconds=60.0)
        answers: list[Any] = []
        reader = threading.Thread(target=lambda: answers.append(camera.read()))
        reader.start()
        wait_until(lambda: camera._frames._session._users == 1, "the read waits")  # type: ignore[attr-defined]

        getattr(camera, how)()
        reader.join(timeout=2)

        assert answers == [(False, None)]
        assert not camera.isOpened()

    def test_releasing_while_frames_are_decoded_does_no_harm(self, source: SharedCamera) -> None:
        with source.running():
            for _ in range(15):
                self._read_and_release(ContainerCameraInterface(**source.options))
        assert not leased_slots()

    def _read_and_release(self, camera: ContainerCameraInterface) -> None:
        seen: list[int] = []

        def read() -> None:
            while camera.grab():
                succeeded, image = camera.retrieve()
                if succeeded and image is not None:
                    seen.append(int(image.mean()))

        reader = threading.Thread(target=read)
        reader.start()
        wait_until(lambda: seen, "a frame is read")
        camera.release()
        reader.join(timeout=3)
        assert not reader.is_alive()
        assert not camera.retrieve()[0]

    def test_a_provider_is_closed_once_the_last_one_left_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        frames = SharedFrames(tmp_path, 30.0, ring_dir="")
        session = frames._session
        assert session is not None
        closed: list[str] = []
        monkeypatch.setattr(session.provider, "close", lambda: closed.append("closed"))
        session.enter()
        frames.close()
        assert closed == []

        session.leave()

        assert closed == ["closed"]
        with pytest.raises(CameraNotAvailableError):
            frames.take()


class TestNothingLeaks:
    def test_a_thousand_cameras_leave_nothing(self, tmp_path: Path) -> None:
        source = SharedCamera(tmp_path, with_ring=True)
        source.publish()

        def make(number: int) -> None:
            camera = ContainerCameraInterface(**source.options, max_age_seconds=600)  # one frame does for all
            if number % 4 < 2:
                assert camera.read()[0]
            if number % 4 == 1:
                camera.set(cv2.CAP_PROP_READ_TIMEOUT_MSEC, 1)
                assert camera.grab() is False
            if number % 2:
                camera.release()

        for number in range(8):
            make(number)
        gc.collect()
        before = resources()

        for number in range(1000):
            make(number)
        gc.collect()

        assert resources() == before
        source.close()

    @pytest.mark.parametrize("how", ["stop", "release", "close"])
    def test_what_a_wait_needs_is_given_back(self, tmp_path: Path, how: str) -> None:
        source = SharedCamera(tmp_path)
        before = resources()
        camera = ContainerCameraInterface(**source.options, max_age_seconds=20.0)
        camera.set(cv2.CAP_PROP_READ_TIMEOUT_MSEC, 50)
        assert not camera.grab()
        assert resources() > before

        getattr(camera, how)()

        assert resources() == before
        source.publish()
        assert (camera.capture_array() is not None) == (how == "stop")
        camera.start()
        source.publish()
        assert camera.capture_array() is not None
        camera.close()

    def test_one_that_is_never_read_opens_nothing(self, tmp_path: Path) -> None:
        source = SharedCamera(tmp_path, with_ring=True)
        before = resources()

        cameras = [ContainerCameraInterface(**source.options) for _ in range(10)]

        assert resources() == before
        assert len(cameras) == 10
        source.close()


def test_it_needs_no_opencv(tmp_path: Path) -> None:
    source = SharedCamera(tmp_path)
    source.publish()
    program = f"""
import sys
sys.modules["cv2"] = None
from fieldcam.provider.camera_interface import ContainerCameraInterface
from fieldcam.core.errors import CameraNotAvailableError
camera = ContainerCameraInterface({str(source.folder)!r}, ring_dir="", max_age_seconds=30)
assert camera.read()[1].shape == (480, 640, 3)
camera.release()
camera.setExceptionMode(True)
try:
    camera.read()
except CameraNotAvailableError as error:
    print(type(error) is CameraNotAvailableError, error.code)
assert not any(name in sys.modules for name in ("flask", "pydantic", "sqlite3", "zmq", "click", "PIL"))
"""
    environ = {name: value for name, value in os.environ.items() if name != "USE_SHARED_VOLUME_IMAGES"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environ, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "True CAMERA_NOT_AVAILABLE\n", "")

# SPDX-License-Identifier: MIT
"""What cv2.VideoCapture does, asked of the real one with a video file, and of ours over files and over the ring."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fieldcam.provider import opencv_properties as properties
from fieldcam.provider.camera_interface import ContainerCameraInterface
from tests.shared_camera import INTERVAL, SIZE, SharedCamera, brightness, picture

FRAMES = 12
SHAPE = (SIZE[1], SIZE[0], 3)


@dataclass
class Bench:
    """A capture under test.

    Attributes:
        capture: open, nothing read yet.
        target: what `open` opens it with.
        missing: what `open` finds nothing at.
        make_closed: makes one that is not open.
    """

    capture: Any
    target: str
    missing: str
    make_closed: Callable[[], Any]


def write_video(path: Path) -> None:
    """Make a video file of the frames the shared camera gives."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 1 / INTERVAL, SIZE)
    assert video.isOpened()
    for number in range(FRAMES):
        video.write(picture(number))
    video.release()


def light_of(image: Any) -> int:
    """Return the brightness of the lower part."""
    return int(image[-100:].mean().round())


@pytest.fixture(params=["cv2", "files", "ring"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.delenv("USE_SHARED_VOLUME_IMAGES", raising=False)
    if request.param == "cv2":
        file = tmp_path / "video.avi"
        write_video(file)
        capture = cv2.VideoCapture(str(file))
        yield Bench(capture, str(file), str(tmp_path / "none.avi"), cv2.VideoCapture)
        capture.release()
        return
    with ExitStack() as stack:
        camera = SharedCamera(tmp_path, with_ring=request.param == "ring")
        stack.callback(camera.close)

        def make_closed() -> ContainerCameraInterface:
            closed = ContainerCameraInterface(**camera.options)
            closed.release()
            return closed

        ours = ContainerCameraInterface(**camera.options, max_age_seconds=20.0)
        ours.set(cv2.CAP_PROP_READ_TIMEOUT_MSEC, 800)
        stack.callback(ours.release)
        ours.isOpened()  # so that the ring knows of a reader: the first frame comes out of it already
        stack.enter_context(camera.running(FRAMES))
        yield Bench(ours, str(camera.folder), str(tmp_path / "none"), make_closed)


class TestVideoCapture:
    def test_it_is_open_until_it_is_released(self, bench: Bench) -> None:
        assert bench.capture.isOpened() is True

        assert bench.capture.release() is None
        assert bench.capture.isOpened() is False
        assert bench.capture.release() is None

    def test_a_frame_is_blue_green_red_bytes_of_ones_own(self, bench: Bench) -> None:
        succeeded, image = bench.capture.read()

        assert succeeded is True
        assert (image.shape, image.dtype) == (SHAPE, np.uint8)
        assert image.flags.writeable
        assert image.flags.c_contiguous
        assert np.abs(image[50, 300].astype(int) - (40, 90, 160)).max() <= 8
        image[:] = 255
        assert light_of(bench.capture.read()[1]) < 250

    def test_every_frame_comes_once_and_in_order(self, bench: Bench) -> None:
        lights: list[int] = []
        while len(lights) < 5:
            succeeded, image = bench.capture.read()
            assert succeeded
            lights.append(light_of(image))

        assert lights == sorted(set(lights))
        expected = {brightness(number) for number in range(FRAMES)}
        assert all(min(abs(light - known) for known in expected) <= 3 for light in lights)

    def test_a_loop_ends_when_no_frame_comes_any_more(self, bench: Bench) -> None:
        count = 0
        while True:
            succeeded, image = bench.capture.read()
            if not succeeded:
                break
            count += 1

        assert 3 <= count <= FRAMES
        assert image is None
        assert bench.capture.read(np.zeros(SHAPE, np.uint8)) == (False, None)
        assert bench.capture.grab() is False
        assert bench.capture.retrieve() == (False, None)
        assert bench.capture.isOpened() is True

    def test_retrieve_gives_the_frame_that_was_grabbed_as_often_as_asked(self, bench: Bench) -> None:
        assert bench.capture.grab() is True
        assert bench.capture.grab() is True
        position = bench.capture.get(cv2.CAP_PROP_POS_FRAMES)

        first, again = bench.capture.retrieve(), bench.capture.retrieve(flag=0)

        assert first[0] is again[0] is True
        assert first[1] is not again[1]
        assert np.array_equal(first[1], again[1])
        assert position == bench.capture.get(cv2.CAP_PROP_POS_FRAMES) == 2

    def test_retrieve_without_grab_gives_nothing(self, bench: Bench) -> None:
        assert bench.capture.retrieve() == (False, None)

    def test_retrieve_after_read_gives_the_same_picture(self, bench: Bench) -> None:
        _, image = bench.capture.read()

        succeeded, again = bench.capture.retrieve()

        assert succeeded is True
        assert again is not image
        assert np.array_equal(image, again)

    @pytest.mark.parametrize("ask", ["read", "retrieve"])
    def test_an_array_that_fits_is_filled(self, bench: Bench, ask: str) -> None:
        target = np.zeros(SHAPE, np.uint8)
        if ask == "retrieve":
            bench.capture.grab()

        succeeded, image = getattr(bench.capture, ask)(target)

        assert succeeded is True
        assert image is target
        assert light_of(target) >= 8

    def test_rows_of_a_larger_array_are_filled(self, bench: Bench) -> None:
        larger = np.zeros((SIZE[1] + 20, SIZE[0] + 60, 3), np.uint8)

        succeeded, image = bench.capture.read(larger[: SIZE[1], : SIZE[0]])

        assert succeeded is True
        assert image.shape == SHAPE
        assert light_of(larger[: SIZE[1], : SIZE[0]]) >= 8
        assert larger[SIZE[1] :].max() == larger[:, SIZE[0] :].max() == 0

    @pytest.mark.parametrize(
        "target",
        [np.zeros((10, 10, 3), np.uint8), np.zeros(SHAPE[:2], np.uint8), np.zeros(SHAPE, np.float32)],
        ids=["small", "grey", "float"],
    )
    def test_an_array_that_does_not_fit_is_left_alone(self, bench: Bench, target: Any) -> None:
        succeeded, image = bench.capture.read(target)

        assert succeeded is True
        assert (image.shape, image.dtype) == (SHAPE, np.uint8)
        assert target.max() == 0

    def test_what_cannot_be_written_to_is_an_error(self, bench: Bench) -> None:
        locked = np.zeros(SHAPE, np.uint8)
        locked.flags.writeable = False

        for target in ([1, 2], "image", locked):
            with pytest.raises(cv2.error):
                bench.capture.read(target)
            with pytest.raises(cv2.error):
                bench.capture.retrieve(target)

    def test_arguments_have_opencvs_names(self, bench: Bench) -> None:
        assert bench.capture.read(image=None)[0] is True
        assert bench.capture.retrieve(image=None, flag=0)[0] is True
        assert bench.capture.get(propId=cv2.CAP_PROP_FRAME_WIDTH) == SIZE[0]
        assert bench.capture.set(propId=99999, value=1.0) is False
        bench.capture.setExceptionMode(enable=False)
        assert bench.capture.open(filename=bench.target, apiPreference=cv2.CAP_ANY) is True

    @pytest.mark.parametrize("state", ["released", "never opened"])
    def test_one_that_is_not_open_answers_at_once(self, bench: Bench, state: str) -> None:
        if state == "released":
            bench.capture.grab()
            bench.capture.release()
        capture = bench.capture if state == "released" else bench.make_closed()
        began = time.monotonic()

        assert capture.isOpened() is False
        assert capture.read() == (False, None)
        assert capture.read(np.zeros(SHAPE, np.uint8)) == (False, None)
        assert capture.grab() is False
        assert capture.retrieve() == (False, None)
        assert capture.get(cv2.CAP_PROP_FRAME_WIDTH) == 0.0
        assert capture.get(cv2.CAP_PROP_BACKEND) == -1.0
        assert capture.set(cv2.CAP_PROP_FRAME_WIDTH, 320) is False
        with pytest.raises(cv2.error):
            capture.getBackendName()
        assert time.monotonic() - began < 0.5

    def test_it_opens_again(self, bench: Bench) -> None:
        bench.capture.read()
        bench.capture.release()

        assert bench.capture.open(bench.target) is True

        assert bench.capture.isOpened() is True
        assert bench.capture.get(cv2.CAP_PROP_POS_FRAMES) == 0
        assert bench.capture.read()[0] is True
        assert bench.capture.get(cv2.CAP_PROP_POS_FRAMES) == 1

    def test_opening_what_is_not_there_leaves_it_closed(self, bench: Bench) -> None:
        assert bench.capture.open(bench.missing) is False

        assert bench.capture.isOpened() is False
        assert bench.capture.read() == (False, None)
        assert bench.capture.open(bench.target) is True

    @pytest.mark.parametrize("name", ["x", 3.0, np.float64(3), True], ids=str)
    def test_the_number_of_a_property_is_an_integer(self, bench: Bench, name: Any) -> None:
        with pytest.raises(TypeError):
            bench.capture.get(name)
        with pytest.raises(TypeError):
            bench.capture.set(name, 1.0)

    @pytest.mark.parametrize("value", ["x", True, np.True_], ids=repr)
    def test_the_value_of_a_property_is_a_number(self, bench: Bench, value: Any) -> None:
        with pytest.raises(TypeError):
            bench.capture.set(cv2.CAP_PROP_FRAME_WIDTH, value)

    def test_numbers_of_numpy_do(self, bench: Bench) -> None:
        assert bench.capture.get(np.int64(cv2.CAP_PROP_FRAME_WIDTH)) == SIZE[0]
        assert bench.capture.set(cv2.CAP_PROP_CONVERT_RGB, np.int32(1)) is True

    def test_a_number_that_is_no_c_int_is_an_error(self, bench: Bench) -> None:
        with pytest.raises(ValueError, match="C int"):
            bench.capture.get(2**40)

    @pytest.mark.parametrize("number", [99999, -5, cv2.CAP_PROP_XI_TIMEOUT])
    def test_an_unknown_property_is_zero_and_cannot_be_set(self, bench: Bench, number: int) -> None:
        assert bench.capture.get(number) == 0.0
        assert type(bench.capture.get(number)) is float
        assert bench.capture.set(number, 1.0) is False

    def test_properties_tell_of_the_frames(self, bench: Bench) -> None:
        assert bench.capture.get(cv2.CAP_PROP_POS_FRAMES) == 0
        shape = bench.capture.read()[1].shape
        bench.capture.read()
        positions = [bench.capture.get(cv2.CAP_PROP_POS_MSEC)]
        bench.capture.read()
        positions.append(bench.capture.get(cv2.CAP_PROP_POS_MSEC))

        assert bench.capture.get(cv2.CAP_PROP_FRAME_WIDTH) == shape[1] == SIZE[0]
        assert bench.capture.get(cv2.CAP_PROP_FRAME_HEIGHT) == shape[0] == SIZE[1]
        assert bench.capture.get(cv2.CAP_PROP_FORMAT) == cv2.CV_8UC3
        assert bench.capture.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter.fourcc(*"MJPG")
        assert bench.capture.get(cv2.CAP_PROP_CONVERT_RGB) == 1.0
        assert bench.capture.get(cv2.CAP_PROP_FPS) == pytest.approx(1 / INTERVAL, rel=0.1)
        assert bench.capture.get(cv2.CAP_PROP_POS_FRAMES) == 3
        assert positions[1] - positions[0] >= 1000 * INTERVAL * 0.9

    def test_the_backend_has_a_name_and_cannot_be_set(self, bench: Bench) -> None:
        assert isinstance(bench.capture.getBackendName(), str)
        assert bench.capture.getBackendName()
        with pytest.raises(cv2.error):
            bench.capture.set(cv2.CAP_PROP_BACKEND, 1)

    @pytest.mark.parametrize("number", [cv2.CAP_PROP_EXPOSURE, cv2.CAP_PROP_GAIN, cv2.CAP_PROP_FPS])
    def test_what_belongs_to_the_source_cannot_be_set(self, bench: Bench, number: int) -> None:
        before = bench.capture.get(number)

        assert bench.capture.set(number, 7.0) is False
        assert bench.capture.get(number) == pytest.approx(before, rel=0.1)

    def test_a_value_that_is_no_number_is_refused(self, bench: Bench) -> None:
        assert bench.capture.set(cv2.CAP_PROP_FRAME_WIDTH, float("nan")) is False
        assert bench.capture.get(cv2.CAP_PROP_FRAME_WIDTH) == SIZE[0]


class TestExceptionMode:
    def test_it_is_off_at_first_and_outlives_a_release(self, bench: Bench) -> None:
        assert bench.capture.getExceptionMode() is False
        bench.capture.setExceptionMode(True)
        bench.capture.release()
        assert bench.capture.getExceptionMode() is True
        bench.capture.setExceptionMode(0)
        assert bench.capture.getExceptionMode() is False
        with pytest.raises(TypeError):
            bench.capture.setExceptionMode("yes")

    def test_what_works_does_not_raise(self, bench: Bench) -> None:
        bench.capture.setExceptionMode(True)

        assert bench.capture.read()[0] is True
        assert bench.capture.grab() is True
        assert bench.capture.retrieve()[0] is True
        assert bench.capture.get(99999) == 0.0
        assert bench.capture.set(cv2.CAP_PROP_CONVERT_RGB, 1) is True

    def test_the_end_of_the_frames_raises(self, bench: Bench) -> None:
        bench.capture.setExceptionMode(True)

        with pytest.raises(cv2.error):  # noqa: PT012 - the loop of a user
            while True:
                bench.capture.read()
        with pytest.raises(cv2.error):
            bench.capture.grab()
        with pytest.raises(cv2.error):
            bench.capture.retrieve()

    def test_retrieve_without_grab_raises(self, bench: Bench) -> None:
        bench.capture.setExceptionMode(True)

        with pytest.raises(cv2.error):
            bench.capture.retrieve()

    def test_one_that_is_not_open_raises(self, bench: Bench) -> None:
        capture = bench.make_closed()
        capture.setExceptionMode(True)

        for ask in (capture.read, capture.grab, capture.retrieve, capture.getBackendName):
            with pytest.raises(cv2.error):
                ask()
        with pytest.raises(cv2.error):
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, 320)
        assert capture.get(cv2.CAP_PROP_FRAME_WIDTH) == 0.0
        assert capture.isOpened() is False
        assert capture.release() is None

    def test_opening_what_is_not_there_raises(self, bench: Bench) -> None:
        bench.capture.setExceptionMode(True)

        with pytest.raises(cv2.error):
            bench.capture.open(bench.missing)
        assert bench.capture.open(bench.target) is True

    def test_a_property_that_cannot_be_set_raises(self, bench: Bench) -> None:
        bench.capture.setExceptionMode(True)

        with pytest.raises(cv2.error):
            bench.capture.set(99999, 1.0)


def test_the_numbers_are_opencvs() -> None:
    ours = {name: value for name, value in vars(properties).items() if name.isupper() and isinstance(value, int)}
    named = {
        name: getattr(cv2, f"CAP_PROP_{name}", getattr(cv2, name, None))
        for name in ours
        if name not in {"FOURCC_MJPG", "_INT_MAX"}
    }

    assert {name: ours[name] for name in named} == named
    assert cv2.VideoWriter.fourcc(*"MJPG") == properties.FOURCC_MJPG
    of_the_camera = {value for name, value in vars(cv2).items() if name in _CONTROLS}
    assert of_the_camera == properties.CONTROLS_OF_THE_HOST


def test_every_method_of_opencv_is_there() -> None:
    public = {name for name in dir(cv2.VideoCapture) if not name.startswith("_")}

    assert public - {"waitAny"} <= set(dir(ContainerCameraInterface))


_CONTROLS = {
    f"CAP_PROP_{name}"
    for name in (
        *("FPS", "GAIN", "EXPOSURE", "BRIGHTNESS", "CONTRAST", "SATURATION", "HUE", "SHARPNESS", "GAMMA"),
        *("WHITE_BALANCE_BLUE_U", "WHITE_BALANCE_RED_V", "TEMPERATURE", "AUTO_WB", "WB_TEMPERATURE"),
        *("AUTO_EXPOSURE", "ZOOM", "FOCUS", "ISO_SPEED", "BACKLIGHT", "PAN", "TILT", "IRIS", "AUTOFOCUS"),
    )
}

# SPDX-License-Identifier: MIT
"""What Picamera2's manual says, asked of ours over files and over the ring.

Picamera2 itself needs libcamera and a sensor. The numbers of chapters are those of "The Picamera2 Library".
"""

from __future__ import annotations

import io
import sys
import types
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fieldcam.core.clock import SystemClock
from fieldcam.core.errors import (
    CameraNotAvailableError,
    ImageTooOldError,
    RequestInvalidError,
    SharedVolumeError,
    StorageUnavailableError,
)
from fieldcam.provider.camera_interface import ContainerCameraInterface
from fieldcam.provider.picamera2_configuration import Configuration
from tests.shared_camera import SIZE, SharedCamera

FULL = (SIZE[1], SIZE[0], 3)
RED_GREEN_BLUE = (160, 90, 40)  # of the upper part of the picture


@dataclass
class Bench:
    """A camera under test, and what feeds it."""

    camera: ContainerCameraInterface
    source: SharedCamera


@pytest.fixture(params=["files", "ring"])
def still_bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Nothing is published but what the test publishes."""
    monkeypatch.delenv("USE_SHARED_VOLUME_IMAGES", raising=False)
    with ExitStack() as stack:
        source = SharedCamera(tmp_path, with_ring=request.param == "ring")
        stack.callback(source.close)
        camera = ContainerCameraInterface(**source.options, max_age_seconds=20.0)
        stack.callback(camera.close)
        camera.set(cv2.CAP_PROP_READ_TIMEOUT_MSEC, 300)
        camera.isOpened()  # so that the ring knows of a reader: the first frame comes out of it already
        yield Bench(camera, source)


@pytest.fixture
def bench(still_bench: Bench) -> Iterator[Bench]:
    """Frames come all the time."""
    still_bench.camera.set(cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5000)
    with still_bench.source.running():
        yield still_bench


def read_image(file: Path) -> Any:
    """Return an image file as OpenCV reads it."""
    return cv2.imread(str(file))


def colour_of(array: Any) -> list[int]:
    """Return the first colours of the upper part."""
    return [int(value) for value in array[array.shape[0] // 10, array.shape[1] // 2]]


class TestRunning:
    def test_the_example_of_chapter_2_runs(self, bench: Bench, tmp_path: Path) -> None:
        camera = bench.camera
        camera.configure(camera.create_preview_configuration())
        camera.start_preview()
        camera.start()
        metadata = camera.capture_file(str(tmp_path / "test.jpg"))
        camera.stop_preview()
        camera.close()

        assert read_image(tmp_path / "test.jpg").shape == FULL
        assert metadata["SensorTimestamp"] > 0

    def test_it_starts_with_a_configuration(self, bench: Bench) -> None:
        bench.camera.start(bench.camera.create_still_configuration(main={"size": (320, 240)}), show_preview=False)

        assert bench.camera.started is True
        array = bench.camera.capture_array()
        assert array is not None
        assert array.shape == (240, 320, 3)

    def test_it_captures_without_start_and_after_stop(self, bench: Bench) -> None:
        assert bench.camera.capture_array() is not None
        bench.camera.start()
        bench.camera.stop()
        bench.camera.stop()

        assert bench.camera.started is False
        assert bench.camera.capture_array() is not None

    def test_a_block_closes_it(self, bench: Bench, tmp_path: Path) -> None:
        with bench.camera as camera:
            camera.start()
            states = [camera.is_open]
            assert camera.capture_array() is not None

        states.append(camera.is_open)
        assert states == [True, False]
        assert camera.capture_array() is None
        assert camera.capture_metadata() == {}
        with pytest.raises(CameraNotAvailableError):
            camera.capture_file(tmp_path / "none.jpg")
        camera.start()
        assert camera.capture_array() is not None


class TestArrays:
    def test_an_array_is_red_green_blue_and_ones_own(self, bench: Bench) -> None:
        array = bench.camera.capture_array()

        assert array is not None
        assert array.shape == FULL
        assert array.dtype == np.uint8
        assert np.abs(np.subtract(colour_of(array), RED_GREEN_BLUE)).max() <= 8
        assert array.flags.writeable
        assert array.flags.c_contiguous

    def test_every_array_is_of_another_frame(self, bench: Bench) -> None:
        lights = []
        for _ in range(4):
            array = bench.camera.capture_array()
            assert array is not None
            lights.append(int(array[-1, -1, 0]))

        assert len(set(lights)) == 4

    def test_both_halves_take_from_one_row(self, bench: Bench) -> None:
        first = bench.camera.capture_metadata()["sequence"]
        assert bench.camera.read()[0]
        assert bench.camera.capture_metadata()["sequence"] >= first + 2

    @pytest.mark.parametrize("name", ["main", "raw", "video", ""])
    def test_any_other_name_means_main(self, bench: Bench, name: str) -> None:
        array = bench.camera.capture_array(name)

        assert array is not None
        assert array.shape == FULL
        assert bench.camera.stream_configuration(name)["size"] == SIZE

    def test_lores_is_small_and_red_green_blue(self, bench: Bench) -> None:
        array = bench.camera.capture_array("lores")

        assert array is not None
        assert array.shape == (240, 320, 3)
        assert np.abs(np.subtract(colour_of(array), RED_GREEN_BLUE)).max() <= 8
        assert bench.camera.stream_configuration("lores")["size"] == (320, 240)

    @pytest.mark.parametrize("size", [(320, 240), (300, 300), (64, 48)])
    def test_lores_has_exactly_the_size_that_was_configured(self, bench: Bench, size: tuple[int, int]) -> None:
        camera = bench.camera
        camera.configure(camera.create_video_configuration(lores={"size": size}))

        array, several = camera.capture_array("lores"), camera.capture_arrays(["lores"])[0][0]

        assert array is not None
        assert array.shape == several.shape == (size[1], size[0], 3)
        assert camera.stream_configuration("lores")["size"] == size

    def test_lores_is_never_larger_than_the_frame(self, bench: Bench) -> None:
        bench.camera.configure(bench.camera.create_video_configuration(lores={"size": (1280, 960)}))

        array = bench.camera.capture_array("lores")

        assert array is not None
        assert array.shape == FULL

    def test_several_arrays_are_of_one_frame(self, bench: Bench) -> None:
        (main, lores), metadata = bench.camera.capture_arrays(["main", "lores"])

        assert (main.shape, lores.shape) == (FULL, (240, 320, 3))
        assert abs(int(main[-1, -1, 0]) - int(lores[-1, -1, 0])) <= 2
        assert metadata["sequence"] > 0

    def test_a_buffer_is_flat(self, bench: Bench) -> None:
        buffer = bench.camera.capture_buffer()

        assert buffer is not None
        assert buffer.shape == (SIZE[0] * SIZE[1] * 3,)

    @pytest.mark.parametrize(
        ("name", "colour"),
        [
            ("BGR888", (160, 90, 40)),
            ("RGB888", (40, 90, 160)),
            ("XBGR8888", (160, 90, 40, 255)),
            ("XRGB8888", (40, 90, 160, 255)),
        ],
    )
    def test_formats_are_libcameras(self, bench: Bench, name: str, colour: tuple[int, ...]) -> None:
        """Chapter 4.2.2.2: the names read backwards."""
        bench.camera.configure(bench.camera.create_preview_configuration(main={"format": name}))

        array = bench.camera.capture_array()

        assert array is not None
        assert array.shape == (*FULL[:2], len(colour))
        assert np.abs(np.subtract(colour_of(array), colour)).max() <= 8
        stream = bench.camera.stream_configuration()
        assert (stream["format"], stream["stride"]) == (name, SIZE[0] * len(colour))
        assert stream["framesize"] == array.nbytes

    def test_yuv420_has_half_as_many_rows_again(self, bench: Bench) -> None:
        """Chapter 5.3: `cv2.COLOR_YUV420p2RGB` and the brightness in the first rows."""
        bench.camera.configure(
            bench.camera.create_preview_configuration(lores={"size": (320, 240), "format": "YUV420"})
        )

        array = bench.camera.capture_array("lores")

        assert array is not None
        assert array.shape == (360, 320)
        assert bench.camera.stream_configuration("lores")["framesize"] == array.nbytes
        luma, blue, red = array[24, 160], array[240:300].reshape(-1)[160 * 12 + 80], array[300:].reshape(-1)[160 * 12]
        expected = (105, 128 + (40 - 105) / 1.772, 128 + (160 - 105) / 1.402)
        assert [int(luma), int(blue), int(red)] == pytest.approx(expected, abs=6)

    def test_an_unknown_format_is_red_green_blue(self, bench: Bench) -> None:
        bench.camera.configure(bench.camera.create_preview_configuration(main={"format": "NV12"}))

        array = bench.camera.capture_array()

        assert array is not None
        assert np.abs(np.subtract(colour_of(array), RED_GREEN_BLUE)).max() <= 8
        assert bench.camera.stream_configuration()["format"] == "BGR888"

    def test_without_a_frame_there_is_no_array(self, still_bench: Bench, tmp_path: Path) -> None:
        camera = still_bench.camera

        assert camera.capture_array() is None
        assert camera.capture_array("lores") is None
        assert camera.capture_buffer() is None
        assert camera.capture_image() is None
        assert camera.capture_metadata() == {}
        with pytest.raises(SharedVolumeError):
            camera.capture_arrays()
        with pytest.raises(SharedVolumeError):
            camera.capture_file(tmp_path / "none.jpg")
        assert list(tmp_path.glob("*none*")) == []


class TestMetadata:
    def test_it_has_libcameras_names_and_units(self, still_bench: Bench) -> None:
        """Appendix C: microseconds, nanoseconds of CLOCK_BOOTTIME, tuples."""
        sidecar = still_bench.source.publish()

        metadata = still_bench.camera.capture_metadata()

        assert metadata["ExposureTime"] == 12_500
        assert type(metadata["ExposureTime"]) is int
        assert metadata["AnalogueGain"] == 2.0
        assert metadata["DigitalGain"] == 1.0
        assert metadata["SensorTimestamp"] == sidecar.monotonic_ns
        assert 0 <= SystemClock().boottime_ns() - metadata["SensorTimestamp"] < 20e9
        assert (metadata["Lux"], metadata["ColourGains"]) == (400.5, (1.5, 2.0))

    def test_it_has_ours_as_well(self, still_bench: Bench) -> None:
        sidecar = still_bench.source.publish()

        metadata = still_bench.camera.capture_metadata()

        assert metadata["filename"] == sidecar.filename
        assert metadata["captured_at"] == sidecar.captured_at
        assert 0 <= metadata["age"] < 20

    def test_what_the_camera_reported_is_not_replaced(self, still_bench: Bench) -> None:
        still_bench.source.publish(settings={"ExposureTime": 12_497, "AnalogueGain": 1.9, "DigitalGain": 1.05})

        metadata = still_bench.camera.capture_metadata()

        assert (metadata["ExposureTime"], metadata["AnalogueGain"], metadata["DigitalGain"]) == (12_497, 1.9, 1.05)

    def test_what_the_camera_does_not_say_is_left_out(self, still_bench: Bench) -> None:
        still_bench.source.publish(exposure=None, gain=None, settings={})

        assert {"ExposureTime", "AnalogueGain", "DigitalGain"}.isdisjoint(still_bench.camera.capture_metadata())


class TestFiles:
    @pytest.mark.parametrize("name", ["photo.jpg", "photo.JPEG"])
    def test_a_jpeg_is_the_very_file_the_camera_made(self, still_bench: Bench, tmp_path: Path, name: str) -> None:
        sidecar = still_bench.source.publish()

        metadata = still_bench.camera.capture_file(tmp_path / name)

        assert (tmp_path / name).read_bytes() == still_bench.source.bytes_of(sidecar)
        assert metadata["filename"] == sidecar.filename

    def test_an_open_file_gets_the_bytes(self, still_bench: Bench) -> None:
        sidecar = still_bench.source.publish()
        stream = io.BytesIO()

        still_bench.camera.capture_file(stream, format="jpeg")

        assert stream.getvalue() == still_bench.source.bytes_of(sidecar)

    def test_a_file_that_is_there_is_replaced_whole(self, bench: Bench, tmp_path: Path) -> None:
        target = tmp_path / "photo.jpg"
        target.write_bytes(b"before")
        with target.open("rb") as reader:
            bench.camera.capture_file(target)
            assert reader.read() == b"before"

        assert target.read_bytes().startswith(b"\xff\xd8")
        assert [path.name for path in tmp_path.iterdir() if "photo" in path.name] == ["photo.jpg"]

    def test_a_file_that_cannot_be_written_is_an_error(self, bench: Bench, tmp_path: Path) -> None:
        with pytest.raises(StorageUnavailableError):
            bench.camera.capture_file(tmp_path / "missing" / "photo.jpg")

    def test_a_smaller_size_is_encoded_anew(self, bench: Bench, tmp_path: Path) -> None:
        bench.camera.configure(bench.camera.create_still_configuration(main={"size": (320, 240)}))
        sizes = []
        for quality in (95, 20):
            bench.camera.options["quality"] = quality
            bench.camera.capture_file(tmp_path / "photo.jpg")
            sizes.append((tmp_path / "photo.jpg").stat().st_size)

        image = read_image(tmp_path / "photo.jpg")
        assert image.shape == (240, 320, 3)
        assert np.abs(np.subtract(colour_of(image), RED_GREEN_BLUE[::-1])).max() <= 20
        assert sizes[1] < sizes[0]

    def test_lores_is_written_small(self, bench: Bench, tmp_path: Path) -> None:
        bench.camera.capture_file(tmp_path / "photo.jpg", name="lores")

        assert read_image(tmp_path / "photo.jpg").shape == (240, 320, 3)

    @pytest.mark.parametrize("asked", [("photo.png", None), ("photo", "png")])
    def test_other_formats_keep_their_colours(
        self, bench: Bench, tmp_path: Path, asked: tuple[str, str | None]
    ) -> None:
        bench.camera.capture_file(str(tmp_path / asked[0]), format=asked[1])

        data = (tmp_path / asked[0]).read_bytes()
        assert data.startswith(b"\x89PNG")
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        assert image.shape == FULL
        assert np.abs(np.subtract(colour_of(image), RED_GREEN_BLUE[::-1])).max() <= 8

    def test_without_pillow_and_opencv_other_formats_say_so(
        self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "PIL", None)
        monkeypatch.setitem(sys.modules, "PIL.Image", None)
        monkeypatch.setitem(sys.modules, "cv2", None)

        with pytest.raises(ImportError, match="neither is installed"):
            bench.camera.capture_file(tmp_path / "photo.png")
        bench.camera.capture_file(tmp_path / "photo.jpg")
        assert (tmp_path / "photo.jpg").exists()
        assert not (tmp_path / "photo.png").exists()

    @pytest.mark.parametrize(("name", "file_format"), [("photo", None), ("photo.xyz", None), ("photo.jpg", "doc")])
    def test_a_format_that_cannot_be_written_is_an_error(
        self, bench: Bench, tmp_path: Path, name: str, file_format: str | None
    ) -> None:
        with pytest.raises(RequestInvalidError):
            bench.camera.capture_file(tmp_path / name, format=file_format)

        assert not (tmp_path / name).exists()


class TestImages:
    def test_without_pillow_it_says_what_to_install(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "PIL", None)
        monkeypatch.setitem(sys.modules, "PIL.Image", None)

        with pytest.raises(ImportError, match="pip install pillow"):
            bench.camera.capture_image()

    def test_with_pillow_it_is_an_image_of_red_green_blue(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pillow is no dependency, not even of the tests, so what it is given is looked at."""
        pillow = types.ModuleType("PIL.Image")
        pillow.fromarray = lambda array: ("image", array)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "PIL", types.ModuleType("PIL"))
        monkeypatch.setitem(sys.modules, "PIL.Image", pillow)
        bench.camera.configure(bench.camera.create_preview_configuration(main={"format": "XRGB8888"}))

        kind, array = bench.camera.capture_image()

        assert kind == "image"
        assert array.shape == FULL
        assert np.abs(np.subtract(colour_of(array), RED_GREEN_BLUE)).max() <= 8


class TestConfigurations:
    def test_they_have_the_keys_of_the_manual(self, bench: Bench) -> None:
        """Chapter 4.2: one dict, each stream a dict in it."""
        config = bench.camera.create_preview_configuration()

        assert {"use_case", "transform", "colour_space", "buffer_count", "queue", "sensor"} <= config.keys()
        assert {"main", "lores", "raw", "controls", "display", "encode"} <= config.keys()
        assert isinstance(config, dict)
        assert config["main"] == {"size": (640, 480), "format": "BGR888"}
        assert (config["lores"], config["raw"], config["buffer_count"]) == (None, None, 4)
        assert (config["display"], config["encode"]) == ("main", "main")

    def test_a_still_has_the_full_size_and_a_video_has_not(self, bench: Bench) -> None:
        still, video = bench.camera.create_still_configuration(), bench.camera.create_video_configuration()

        assert (still["main"]["size"], still["buffer_count"], still["display"]) == (SIZE, 1, None)
        assert (video["main"]["size"], video["buffer_count"], video["encode"]) == ((1280, 720), 6, "main")
        assert bench.camera.sensor_resolution == SIZE

    def test_what_else_picamera2_takes_is_kept(self, bench: Bench) -> None:
        config = bench.camera.create_video_configuration(
            {"size": (801, 601)},
            {},
            raw={"size": (4056, 3040)},
            buffer_count=3,
            queue=False,
            controls={},
            encode="lores",
        )

        assert config["main"]["size"] == (800, 600)
        assert config["lores"] == {"size": (800, 600), "format": "BGR888"}
        assert (config["raw"], config["buffer_count"], config["queue"]) == (None, 3, False)

    def test_mistakes_are_picamera2s_errors(self, bench: Bench) -> None:
        camera = bench.camera

        with pytest.raises(ValueError, match="Bad key 'siez'"):
            camera.create_still_configuration(main={"siez": (640, 480)})
        with pytest.raises(ValueError, match="size"):
            camera.create_still_configuration(main={"size": 640})
        with pytest.raises(TypeError, match="bufer_count"):
            camera.create_still_configuration(bufer_count=2)
        with pytest.raises(RuntimeError, match="lores was not defined"):
            camera.create_preview_configuration(display="lores")
        with pytest.raises(RuntimeError, match="'main' key expected"):
            camera.configure({"lores": None})
        with pytest.raises(RuntimeError, match="size"):
            camera.configure({"main": {"size": "large"}})

    @pytest.mark.parametrize(
        ("asked", "real"),
        [((640, 480), (640, 480)), ((4056, 3040), (640, 480)), ((300, 220), (320, 240)), ((10, 10), (80, 60))],
    )
    def test_the_nearest_size_is_used(self, bench: Bench, asked: tuple[int, int], real: tuple[int, int]) -> None:
        bench.camera.configure(bench.camera.create_preview_configuration(main={"size": asked}))

        array = bench.camera.capture_array()

        assert array is not None
        assert (array.shape[1], array.shape[0]) == real
        assert bench.camera.camera_configuration()["main"]["size"] == real
        assert bench.camera.stream_configuration("main")["size"] == real

    @pytest.mark.parametrize("how", [None, "preview", {"main": {"size": (640, 480)}}], ids=str)
    def test_configure_takes_names_and_plain_dicts(self, bench: Bench, how: Any) -> None:
        bench.camera.configure(bench.camera.create_preview_configuration(main={"size": (160, 120)}))

        bench.camera.configure(how)

        assert bench.camera.camera_configuration()["main"]["size"] == (640, 480)
        bench.camera.configure()
        assert bench.camera.camera_configuration().use_case == "preview"

    def test_the_configuration_objects_of_chapter_4_work(self, bench: Bench) -> None:
        camera = bench.camera
        camera.preview_configuration.main.size = (161, 121)
        camera.preview_configuration.main.format = "RGB888"
        camera.preview_configuration.enable_lores()
        camera.preview_configuration.enable_raw()
        camera.preview_configuration.align()
        camera.configure("preview")
        camera.start()

        array = camera.capture_array()

        assert array is not None
        assert array.shape == (120, 160, 3)
        assert np.abs(np.subtract(colour_of(array), RED_GREEN_BLUE[::-1])).max() <= 8
        assert camera.preview_configuration.size == (160, 120)
        assert camera.still_configuration.size == (0, 0)
        camera.video_configuration.size = (320, 240)
        assert camera.video_configuration["main"]["size"] == (320, 240)
        camera.preview_configuration.enable_lores(False)
        assert camera.preview_configuration.lores is None
        with pytest.raises(RuntimeError, match="siez"):
            camera.video_configuration.siez = (1, 1)
        with pytest.raises(AttributeError, match="siez"):
            _ = camera.video_configuration.siez

    def test_a_mode_is_switched_for_one_capture(self, bench: Bench, tmp_path: Path) -> None:
        camera = bench.camera
        camera.configure(camera.create_preview_configuration(main={"size": (160, 120)}))
        still = camera.create_still_configuration()

        array = camera.switch_mode_and_capture_array(still, "main")
        metadata = camera.switch_mode_and_capture_file(still, tmp_path / "photo.jpg")

        assert array is not None
        assert array.shape == FULL
        assert metadata["width"] == SIZE[0]
        assert read_image(tmp_path / "photo.jpg").shape == FULL
        assert camera.camera_configuration()["main"]["size"] == (160, 120)

    def test_a_configuration_is_copied(self, bench: Bench) -> None:
        config = bench.camera.create_preview_configuration(main={"size": (160, 120)})
        bench.camera.configure(config)
        config["main"]["size"] = (640, 480)

        assert bench.camera.camera_configuration()["main"]["size"] == (160, 120)
        assert isinstance(bench.camera.camera_configuration(), Configuration)

    def test_before_a_frame_nothing_is_made_up(self, still_bench: Bench) -> None:
        camera = still_bench.camera

        assert camera.sensor_resolution == (0, 0)
        assert camera.camera_properties == {}
        assert camera.create_still_configuration()["main"]["size"] == (0, 0)
        assert camera.camera_configuration()["main"]["size"] == (0, 0)
        camera.configure("still")
        still_bench.source.publish()
        assert camera.camera_configuration()["main"]["size"] == SIZE


class TestWhatTheHostOwns:
    def test_controls_are_taken_and_said_once(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        camera = bench.camera
        with caplog.at_level("WARNING"):
            camera.set_controls({"ExposureTime": 10_000, "AeEnable": False})
            camera.controls.ExposureTime = 20_000
            with camera.controls as controls:
                controls.AnalogueGain = 2.0
            assert camera.set(cv2.CAP_PROP_EXPOSURE, 3) is False

        lines = [record.getMessage() for record in caplog.records if "CAMERA_CONTROL_IGNORED" in record.getMessage()]
        assert len(lines) == 1
        assert "AeEnable, ExposureTime" in lines[0]
        assert camera.camera_controls == {}

    def test_no_controls_are_no_reason_to_say_anything(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level("WARNING"):
            bench.camera.set_controls({})
            bench.camera.configure(bench.camera.create_preview_configuration())

        assert "CAMERA_CONTROL_IGNORED" not in caplog.text

    def test_controls_of_a_configuration_are_said_as_well(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level("WARNING"):
            bench.camera.configure(bench.camera.create_preview_configuration(controls={"FrameRate": 5}))

        assert "CAMERA_CONTROL_IGNORED: FrameRate was not changed" in caplog.text

    def test_properties_say_what_the_frames_say(self, still_bench: Bench) -> None:
        still_bench.source.publish()

        properties = still_bench.camera.camera_properties

        assert (properties["Model"], properties["PixelArraySize"]) == ("imx500", SIZE)
        assert properties["Simulated"] is True

    def test_an_old_frame_is_none(self, still_bench: Bench, tmp_path: Path) -> None:
        still_bench.source.publish(seconds_ago=30)

        assert still_bench.camera.capture_array() is None
        with pytest.raises(ImageTooOldError):
            still_bench.camera.capture_file(tmp_path / "old.jpg")
        assert not (tmp_path / "old.jpg").exists()
        assert still_bench.camera.sensor_resolution == SIZE

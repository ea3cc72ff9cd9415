# SPDX-License-Identifier: MIT
"""The Pi camera against a tool that does what notes on the real one say, its silent failures included."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from pathlib import Path

import pytest

from fieldcam.camera.base import CameraSettings
from fieldcam.camera.jpeg import inspect_jpeg
from fieldcam.camera.rpicam import RpicamCamera
from fieldcam.core.clock import SystemClock
from fieldcam.core.config import CameraConfig
from fieldcam.core.errors import (
    CameraInUseError,
    CameraNotAvailableError,
    CaptureFailedError,
    CaptureTimeoutError,
    ImageInvalidError,
)
from fieldcam.core.frame import Shot
from tests.fakes.rpicam_home import BIN, RpicamHome
from tests.photos import enlarged

CLOCK = SystemClock()
HALF = CameraSettings(width=2028, height=1520)


class Stand:
    """A Pi camera on its stand: the stand-in, the camera and its scratch folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = RpicamHome(folder / "home", monkeypatch)
        self.scratch = folder / "100% scratch"
        self.monkeypatch = monkeypatch
        self.camera = self.make()

    def make(self, **config: object) -> RpicamCamera:
        return RpicamCamera(CameraConfig.model_validate({"backend": "rpicam", **config}), CLOCK, self.scratch)

    def shoot(self, settings: CameraSettings = HALF, seconds: float = 20) -> Shot:
        self.camera.open()
        return self.camera.capture(settings, deadline_ns=CLOCK.boottime_ns() + int(seconds * 1e9))


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    return Stand(tmp_path, monkeypatch)


class TestOpening:
    def test_learns_the_model_and_its_sizes(self, stand: Stand) -> None:
        stand.camera.open()

        info = stand.camera.info
        assert info.model == "imx477"
        assert info.resolutions == ((4056, 3040), (2028, 1520), (1332, 990))
        assert info.serial_number == "/base/soc/i2c0mux/i2c@1/imx477@1a"
        assert not info.simulated
        assert not info.previews_beside_stills

    @pytest.mark.parametrize("fault", ["no-camera", "not-a-pi"])
    def test_without_a_camera_is_said_so(self, stand: Stand, fault: str) -> None:
        stand.home.break_with(fault)

        with pytest.raises(CameraNotAvailableError, match=r"no camera found|not a Raspberry Pi"):
            stand.camera.open()

    def test_succeeds_as_soon_as_a_camera_is_there(self, stand: Stand) -> None:
        stand.home.break_with("no-camera")
        with pytest.raises(CameraNotAvailableError):
            stand.camera.open()
        stand.home.break_with()

        stand.camera.open()

        assert stand.camera.info.model == "imx477"

    def test_with_a_tool_that_hangs_ends(self, stand: Stand, tmp_path: Path) -> None:
        script = tmp_path / "rpicam-still"
        script.write_text("#!/bin/sh\nexec sleep 300\n", encoding="utf-8")
        script.chmod(0o755)
        config = CameraConfig(backend="rpicam", rpicam_still=str(script))
        camera = RpicamCamera(config, CLOCK, stand.scratch, connection_timeout_seconds=0.5)

        with pytest.raises(CameraNotAvailableError, match="cannot be listed"):
            camera.open()

        assert stand.home.left_over() == []

    def test_with_a_tool_that_cannot_run_says_so(self, stand: Stand, tmp_path: Path) -> None:
        script = tmp_path / "rpicam-still"
        script.write_bytes(b"\x7fELF of another machine")
        script.chmod(0o755)

        with pytest.raises(CameraNotAvailableError):
            stand.make(rpicam_still=str(script)).open()

    def test_takes_the_camera_of_the_configured_id(self, stand: Stand) -> None:
        stand.make(serial_number="/base/soc/i2c0mux/i2c@1/imx477@1a").open()

        with pytest.raises(CameraNotAvailableError, match="serial_number elsewhere; there are: 0 = imx477"):
            stand.make(serial_number="elsewhere").open()
        with pytest.raises(CameraNotAvailableError, match="device_id 3"):
            stand.make(device_id=3).open()

    def test_does_not_believe_the_modes_of_a_camera_in_use_and_learns_them_later(self, stand: Stand) -> None:
        stand.home.break_with("busy")
        stand.camera.open()
        sizes_while_busy = stand.camera.info.resolutions
        stand.home.break_with()

        stand.shoot()

        assert sizes_while_busy == ((4056, 3040),)
        assert stand.camera.info.resolutions == ((4056, 3040), (2028, 1520), (1332, 990))

    def test_sweeps_what_a_killed_predecessor_left(self, stand: Stand) -> None:
        stand.scratch.mkdir()
        (stand.scratch / "shot-17-1.jpg").write_bytes(b"old")

        stand.camera.open()

        assert list(stand.scratch.iterdir()) == []

    def test_where_no_scratch_folder_can_be_made_is_said(self, stand: Stand) -> None:
        stand.scratch.write_text("a file", encoding="utf-8")

        with pytest.raises(CaptureFailedError, match="scratch"):
            stand.camera.open()


class TestAShot:
    def test_has_what_the_metadata_say(self, stand: Stand) -> None:
        before = CLOCK.boottime_ns()

        shot = stand.shoot(CameraSettings(exposure_ms=12.5, gain=1.5, quality=90, width=2028, height=1520))

        assert (shot.width, shot.height, shot.quality) == (2028, 1520, 90)
        assert shot.exposure_ms == 12.5
        assert shot.gain == pytest.approx(1.5, abs=0.001)
        assert before <= shot.exposed_at_ns <= CLOCK.boottime_ns()
        assert shot.settings["ColourTemperature"] == 4850
        assert shot.exposed_at_ns == shot.settings["SensorTimestamp"]

    def test_leaves_exposure_to_the_automatic_and_reports_what_it_chose(self, stand: Stand) -> None:
        shot = stand.shoot()

        assert shot.exposure_ms == pytest.approx(19.998)
        assert shot.gain == pytest.approx(2.0, abs=0.001)

    def test_keeps_the_bytes_of_the_tool(self, stand: Stand, tmp_path: Path, photographs: list[Path]) -> None:
        photo = tmp_path / "photo.jpg"
        photo.write_bytes(enlarged(photographs[0]))
        stand.monkeypatch.setenv("FAKE_RPICAM_PHOTO", str(photo))

        shot = stand.shoot(CameraSettings(width=4056, height=3040))

        assert shot.jpeg == photo.read_bytes()

    def test_has_the_full_size_of_the_sensor_when_nobody_chose_one(self, stand: Stand) -> None:
        shot = stand.shoot(CameraSettings())

        assert (shot.width, shot.height) == (4056, 3040)

    def test_leaves_no_file_and_no_process(self, stand: Stand) -> None:
        stand.shoot()

        assert list(stand.scratch.iterdir()) == []
        assert stand.home.left_over() == []

    def test_is_possible_after_the_scratch_folder_was_removed(self, stand: Stand) -> None:
        stand.shoot()
        stand.scratch.rmdir()

        assert stand.shoot().width == 2028

    def test_with_harmless_warnings_is_good(self, stand: Stand) -> None:
        stand.home.break_with("noisy")

        assert stand.shoot().width == 2028

    @pytest.mark.parametrize("fault", ["bad-metadata", "no-metadata"])
    def test_without_readable_metadata_is_good_but_says_less(self, stand: Stand, fault: str) -> None:
        stand.home.break_with(fault)
        before = CLOCK.boottime_ns()

        shot = stand.shoot()

        assert (shot.exposure_ms, shot.gain, dict(shot.settings)) == (None, None, {})
        assert before <= shot.exposed_at_ns <= CLOCK.boottime_ns()

    def test_with_numbers_that_are_none_keeps_the_others(self, stand: Stand) -> None:
        stand.home.break_with("nan-metadata")

        shot = stand.shoot()

        assert shot.settings["Lux"] is None
        assert shot.settings["ColourTemperature"] == 4850
        assert json.loads(json.dumps(dict(shot.settings), allow_nan=False))

    @pytest.mark.parametrize("fault", ["old-time", "future-time"])
    def test_with_an_impossible_sensor_time_is_dated_to_the_call(self, stand: Stand, fault: str) -> None:
        stand.home.break_with(fault)
        stand.camera.open()
        before = CLOCK.boottime_ns()

        shot = stand.shoot()

        assert before <= shot.exposed_at_ns < before + 1_000_000_000

    def test_survives_100_megabytes_on_stderr(self, stand: Stand) -> None:
        stand.home.break_with("flood")

        assert stand.shoot().width == 2028

    def test_does_not_wait_for_a_grandchild_that_holds_its_pipes(self, stand: Stand) -> None:
        stand.home.break_with("grandchild")
        started = time.monotonic()

        assert stand.shoot().width == 2028
        assert time.monotonic() - started < 5
        assert stand.home.left_over() == []


class TestASizeTheToolAdjusts:
    def test_is_reported_as_it_is_when_no_listed_mode_was_asked_for(
        self, stand: Stand, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            shots = [stand.shoot(CameraSettings(width=1281, height=721)) for _ in range(2)]

        assert [(shot.width, shot.height) for shot in shots] == [(1280, 720)] * 2
        assert len([record for record in caplog.records if "RPICAM_SIZE_ADJUSTED" in record.getMessage()]) == 1

    def test_is_an_error_when_a_listed_mode_was_asked_for(self, stand: Stand) -> None:
        stand.home.break_with("wrong-size")

        with pytest.raises(ImageInvalidError, match="1014x1520, not 2028x1520"):
            stand.shoot()


class TestAShotThatFails:
    @pytest.mark.parametrize(
        ("fault", "error", "reason"),
        [
            ("no-file", CaptureFailedError, "status 0 without a picture"),
            ("empty", ImageInvalidError, "empty"),
            ("half", ImageInvalidError, "cut off"),
            ("no-end", ImageInvalidError, "cut off"),
            ("write-error", CaptureFailedError, "output probably corrupt"),
            ("crash", CaptureFailedError, "was killed by SIGKILL"),
            ("start-refused", CaptureFailedError, "status 255: failed to start camera"),
            ("busy", CameraInUseError, "another process"),
            ("no-camera", CameraNotAvailableError, "no cameras available"),
            ("not-a-pi", CameraNotAvailableError, "not a Raspberry Pi"),
        ],
    )
    def test_says_why_and_the_next_one_is_good(
        self, stand: Stand, fault: str, error: type[Exception], reason: str
    ) -> None:
        stand.shoot()
        stand.home.break_with(fault)

        with pytest.raises(error, match=reason) as caught:
            stand.shoot()

        assert type(caught.value) is error
        assert list(stand.scratch.iterdir()) == []
        assert stand.home.left_over() == []
        stand.home.break_with()
        assert stand.shoot().width == 2028

    @pytest.mark.parametrize("fault", ["hang", "ignore-term", "stopped", "timeout-loop", "flood-forever"])
    def test_by_never_ending_is_ended_at_the_deadline(self, stand: Stand, fault: str) -> None:
        stand.camera.open()
        stand.home.break_with(fault)
        started = time.monotonic()

        with pytest.raises(CaptureTimeoutError):
            stand.shoot(seconds=1.5)

        assert time.monotonic() - started < 3
        assert stand.home.left_over() == []
        stand.home.break_with()
        assert stand.shoot().width == 2028

    def test_by_a_hanging_sensor_gives_the_words_of_the_tool(self, stand: Stand) -> None:
        stand.camera.open()
        stand.home.break_with("timeout-loop")

        with pytest.raises(CaptureTimeoutError, match="Device timeout detected"):
            stand.shoot(seconds=1.5)

    def test_never_hands_out_a_picture_that_was_there_before(self, stand: Stand) -> None:
        good = stand.shoot().jpeg
        assert good is not None
        # Every name the next shots could have.
        for number in range(1, 10):
            (stand.scratch / f"shot-{os.getpid()}-{number}.jpg").write_bytes(good)
        stand.home.break_with("no-file")

        with pytest.raises(CaptureFailedError, match="without a picture"):
            stand.shoot()

    def test_because_the_tool_is_gone_says_so(self, stand: Stand, tmp_path: Path) -> None:
        link = tmp_path / "rpicam-still"
        link.symlink_to(BIN / "rpicam-still")
        stand.camera = stand.make(rpicam_still=str(link))
        stand.shoot()
        link.unlink()

        with pytest.raises(CameraNotAvailableError):
            stand.shoot()


class TestThePreview:
    def test_has_the_proportions_of_the_sensor(self, stand: Stand) -> None:
        stand.camera.open()
        frames = stand.camera.preview(CameraSettings(), width=1280, fps=15)

        frame = next(frames)
        frames.close()

        info = inspect_jpeg(frame.jpeg)
        assert (info.width, info.height) == (frame.width, frame.height) == (1280, 958)
        assert stand.home.left_over() == []

    def test_gives_the_newest_frame_to_one_who_comes_late(self, stand: Stand) -> None:
        stand.camera.open()
        frames = stand.camera.preview(CameraSettings(), width=320, fps=50)
        next(frames)
        time.sleep(1.5)  # the watcher is what is slow here

        asked_ns = CLOCK.boottime_ns()
        frame = next(frames)
        frames.close()

        assert frame.exposed_at_ns > asked_ns - 1_000_000_000

    def test_gives_a_frame_when_it_is_made_and_not_with_the_next_one(self, stand: Stand) -> None:
        stand.camera.open()
        frames = stand.camera.preview(CameraSettings(), width=320, fps=0.1)
        started = time.monotonic()

        next(frames)
        seconds = time.monotonic() - started
        frames.close()

        assert seconds < 9

    def test_that_ends_by_itself_says_why(self, stand: Stand) -> None:
        stand.camera.open()
        stand.home.break_with("short-vid")

        with pytest.raises(CaptureFailedError, match="rpicam-vid"):
            list(stand.camera.preview(CameraSettings(), width=320, fps=50))

    def test_of_a_camera_in_use_says_so(self, stand: Stand) -> None:
        stand.camera.open()
        stand.home.break_with("busy")

        with pytest.raises(CameraInUseError):
            next(stand.camera.preview(CameraSettings(), width=320, fps=50))

    def test_without_frames_gives_up(self, stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fieldcam.camera.rpicam_preview.FIRST_FRAME_SECONDS", 0.5)
        stand.camera.open()
        stand.home.break_with("silent-vid")

        with pytest.raises(CaptureTimeoutError, match="no preview frame"):
            next(stand.camera.preview(CameraSettings(), width=320, fps=50))

        assert stand.home.left_over() == []

    def test_without_the_tool_names_it(self, stand: Stand) -> None:
        camera = stand.make(rpicam_vid="/nowhere/rpicam-vid")
        camera.open()

        with pytest.raises(CameraNotAvailableError, match="rpicam-vid"):
            next(camera.preview(CameraSettings(), width=320, fps=50))


def test_the_stand_in_takes_its_camera_for_itself_as_the_tool_does(stand: Stand, tmp_path: Path) -> None:
    stand.camera.open()
    frames = stand.camera.preview(CameraSettings(), width=320, fps=15)
    next(frames)

    second = subprocess.run(
        ["rpicam-still", "--immediate", "-o", str(tmp_path / "x.jpg")], check=False, capture_output=True
    )
    frames.close()

    assert second.returncode == 255
    assert second.stderr.splitlines()[-1].startswith(b"ERROR: *** failed to acquire camera")

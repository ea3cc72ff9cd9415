# SPDX-License-Identifier: MIT
"""The replay camera: the media as they are, or a clear word about what they are."""

from __future__ import annotations

import logging
import os
import shutil
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from fieldcam.camera.base import CameraSettings
from fieldcam.camera.jpeg import encode, inspect_jpeg
from fieldcam.camera.replay import ReplayCamera
from fieldcam.core.config import CameraConfig
from fieldcam.core.errors import CameraNotAvailableError, CaptureTimeoutError
from fieldcam.core.frame import Shot
from fieldcam.core.jpeg import decode

NO_DEADLINE = 1 << 62


@dataclass
class SteppedClock:
    """Time that moves when a test moves it."""

    now_ns: int = 1_000_000_000_000

    def boottime_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self.now_ns

    def boot_id(self) -> str:
        return "boot"


def replay(media: Path, clock: SteppedClock | None = None, size: tuple[int, int] | None = None) -> ReplayCamera:
    width, height = size or (None, None)
    config = CameraConfig(backend="replay", media=str(media), width=width, height=height)
    camera = ReplayCamera(config, clock or SteppedClock())
    camera.open()
    return camera


def shoot(camera: ReplayCamera, settings: CameraSettings | None = None) -> Shot:
    return camera.capture(settings or CameraSettings(), deadline_ns=NO_DEADLINE)


def plain_jpeg(value: int, width: int = 64, height: int = 48) -> bytes:
    return encode(np.full((height, width, 3), value, np.uint8), 90)


@pytest.fixture
def folder(tmp_path: Path, photographs: list[Path]) -> Path:
    made = tmp_path / "photos"
    made.mkdir()
    for photograph in photographs:
        shutil.copy(photograph, made)
    return made


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Two seconds at 10 frames a second, each brighter than the one before."""
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (320, 240))
    assert writer.isOpened()
    for number in range(20):
        writer.write(np.full((240, 320, 3), 20 + number * 10, np.uint8))
    writer.release()
    return path


def frame_number(shot: Shot) -> int:
    """Return which frame of `video` this is, by its brightness."""
    assert shot.pixels is not None
    return round((float(shot.pixels.mean()) - 20) / 10)


class TestPhotos:
    def test_come_by_name_byte_for_byte_and_again(self, folder: Path, photographs: list[Path]) -> None:
        camera = replay(folder)

        shots = [shoot(camera) for _ in range(2 * len(photographs))]

        assert [shot.jpeg for shot in shots] == [photo.read_bytes() for photo in photographs] * 2
        assert [shot.settings["source"] for shot in shots[:2]] == ["china.jpg", "flower.jpg"]

    def test_are_handed_on_unchanged_when_they_have_the_size_asked_for(
        self, folder: Path, photographs: list[Path]
    ) -> None:
        shot = shoot(replay(folder), CameraSettings(width=640, height=427))

        assert shot.jpeg == photographs[0].read_bytes()

    def test_are_scaled_without_distortion_when_another_size_is_asked_for(self, tmp_path: Path) -> None:
        circle = np.zeros((300, 600, 3), np.uint8)
        cv2.circle(circle, (300, 150), 100, (255, 255, 255), cv2.FILLED)
        (tmp_path / "circle.jpg").write_bytes(encode(circle, 95))

        shot = shoot(replay(tmp_path), CameraSettings(width=150, height=150))

        assert shot.pixels is not None
        assert shot.pixels.shape == (150, 150, 3)
        white = shot.pixels[:, :, 0] > 128
        assert abs(int(white[75].sum()) - int(white[:, 75].sum())) <= 2

    def test_follow_the_configured_size(self, folder: Path) -> None:
        camera = replay(folder, size=(1280, 960))

        shot = shoot(camera)

        assert (1280, 960) in camera.info.resolutions
        assert shot.pixels is not None
        assert shot.pixels.shape == (960, 1280, 3)

    def test_of_other_formats_come_as_pixels(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(1).integers(0, 255, (30, 40, 3), dtype=np.uint8)
        (tmp_path / "a.PNG").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())

        shot = shoot(replay(tmp_path))

        assert (shot.width, shot.height) == (40, 30)
        assert np.array_equal(np.asarray(shot.pixels), pixels)

    def test_keep_their_bytes_and_their_matrix_when_exif_says_to_turn_them(self, tmp_path: Path) -> None:
        tiff = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1)
        tiff += struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<I", 0)
        content = b"Exif\0\0" + tiff
        jpeg = plain_jpeg(100)
        turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]
        (tmp_path / "turned.jpg").write_bytes(turned)

        shot = shoot(replay(tmp_path))

        assert shot.jpeg == turned
        assert (shot.width, shot.height) == (64, 48)

    def test_of_other_formats_are_not_turned_either(self, tmp_path: Path) -> None:
        tiff = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1)
        tiff += struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<I", 0)
        chunk = b"eXIf" + tiff
        png = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
        at = png.index(b"IDAT") - 4
        turned = png[:at] + struct.pack(">I", len(tiff)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[at:]
        (tmp_path / "turned.png").write_bytes(turned)

        shot = shoot(replay(tmp_path))

        assert (shot.width, shot.height) == (64, 48)

    def test_with_something_appended_are_cut_to_the_image(self, tmp_path: Path) -> None:
        jpeg = plain_jpeg(100)
        (tmp_path / "phone.jpg").write_bytes(jpeg + b"motion video" * 100)

        assert shoot(replay(tmp_path)).jpeg == jpeg

    def test_that_are_broken_are_skipped_and_named_once(
        self, folder: Path, photographs: list[Path], caplog: pytest.LogCaptureFixture
    ) -> None:
        (folder / "broken.jpg").write_bytes(photographs[0].read_bytes()[:5000])
        (folder / "empty.png").write_bytes(b"")
        with caplog.at_level(logging.WARNING):
            camera = replay(folder)

            sources = [shoot(camera).settings["source"] for _ in range(6)]

        assert sources == ["china.jpg", "flower.jpg"] * 3
        skipped = [record.getMessage() for record in caplog.records if "REPLAY_PHOTO_SKIPPED" in record.getMessage()]
        assert len(skipped) == 2
        assert "broken.jpg" in skipped[0]
        assert "cut off" in skipped[0]

    def test_leave_out_sub_folders_hidden_and_other_files(self, folder: Path, photographs: list[Path]) -> None:
        (folder / "below").mkdir()
        shutil.copy(photographs[0], folder / "below" / "deep.jpg")
        shutil.copy(photographs[0], folder / ".hidden.jpg")
        (folder / "notes.txt").write_text("no photo", encoding="utf-8")
        os.mkfifo(folder / "pipe.jpg")
        camera = replay(folder)

        sources = {shoot(camera).settings["source"] for _ in range(5)}

        assert sources == {"china.jpg", "flower.jpg"}

    def test_may_come_and_go_while_they_are_replayed(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(plain_jpeg(50))
        (tmp_path / "b.jpg").write_bytes(plain_jpeg(100))
        camera = replay(tmp_path)
        shoot(camera)
        (tmp_path / "b.jpg").unlink()
        (tmp_path / "c.jpg").write_bytes(plain_jpeg(150))

        sources = [shoot(camera).settings["source"] for _ in range(3)]

        assert sources == ["a.jpg", "c.jpg", "a.jpg"]

    def test_that_are_all_gone_make_the_camera_unavailable(self, folder: Path) -> None:
        camera = replay(folder)
        shutil.rmtree(folder)

        with pytest.raises(CameraNotAvailableError):
            shoot(camera)

    def test_may_be_a_single_file(self, photographs: list[Path]) -> None:
        camera = replay(photographs[0])

        assert [shoot(camera).jpeg for _ in range(2)] == [photographs[0].read_bytes()] * 2


class TestMediaThatCannotBeReplayed:
    def test_do_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(CameraNotAvailableError, match=r"none-here does not exist"):
            replay(tmp_path / "none-here")

    def test_are_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(CameraNotAvailableError, match="it is empty"):
            replay(tmp_path)

    def test_are_a_folder_without_photos_whose_files_are_named(self, tmp_path: Path) -> None:
        for name in ("a.txt", "b.pdf", "c.csv", "d.doc", "e.xls", "f.zip", "g.tar"):
            (tmp_path / name).write_text("no photo", encoding="utf-8")

        with pytest.raises(CameraNotAvailableError) as caught:
            replay(tmp_path)

        assert "a.txt, b.pdf, c.csv, d.doc, e.xls and 2 more" in caught.value.message

    def test_are_a_folder_of_broken_photos(self, tmp_path: Path) -> None:
        (tmp_path / "half.jpg").write_bytes(plain_jpeg(100)[:300])

        with pytest.raises(CameraNotAvailableError, match=r"half\.jpg"):
            replay(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"no video at all\n" * 100])
    def test_are_a_file_that_is_no_video(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "notes.mp4").write_bytes(content)

        with pytest.raises(CameraNotAvailableError, match="neither a photo nor a video"):
            replay(tmp_path / "notes.mp4")

    def test_are_a_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")

        with pytest.raises(CameraNotAvailableError, match="neither a folder nor a file"):
            replay(tmp_path / "pipe")


class TestVideo:
    def test_goes_on_by_one_frame_when_no_time_passes(self, video: Path) -> None:
        camera = replay(video)

        assert [frame_number(shoot(camera)) for _ in range(5)] == [0, 1, 2, 3, 4]

    def test_runs_at_its_own_speed(self, video: Path) -> None:
        clock = SteppedClock()
        camera = replay(video, clock)
        numbers = [frame_number(shoot(camera))]

        for _ in range(3):
            clock.now_ns += 500_000_000
            numbers.append(frame_number(shoot(camera)))

        assert numbers == [0, 5, 10, 15]

    def test_begins_again_at_its_end(self, video: Path) -> None:
        camera = replay(video)

        numbers = [frame_number(shoot(camera)) for _ in range(43)]

        assert numbers == [*range(20), *range(20), 0, 1, 2]

    def test_is_where_it_would_be_after_a_long_pause(self, video: Path) -> None:
        clock = SteppedClock()
        camera = replay(video, clock)
        shoot(camera)
        clock.now_ns += 3_600_700_000_000  # 1800 rounds and 0.7 s

        numbers = [frame_number(shoot(camera)) for _ in range(2)]

        assert numbers == [7, 8]

    def test_is_scaled_when_another_size_is_asked_for(self, video: Path) -> None:
        shot = shoot(replay(video), CameraSettings(width=160, height=120))

        assert shot.pixels is not None
        assert shot.pixels.shape == (120, 160, 3)

    def test_frames_are_the_callers_own(self, video: Path) -> None:
        camera = replay(video)
        first = shoot(camera)
        kept = np.asarray(first.pixels).copy()

        shoot(camera)

        assert np.array_equal(np.asarray(first.pixels), kept)


def test_the_moment_of_a_replayed_exposure_is_the_call(folder: Path) -> None:
    clock = SteppedClock()
    camera = replay(folder, clock)
    clock.now_ns += 5_000_000_000

    assert shoot(camera).exposed_at_ns == clock.now_ns


def test_a_deadline_that_passed_is_heeded(folder: Path) -> None:
    clock = SteppedClock()
    camera = replay(folder, clock)

    with pytest.raises(CaptureTimeoutError):
        camera.capture(CameraSettings(), deadline_ns=clock.now_ns)


def test_a_preview_does_not_take_pictures_away_from_stills(folder: Path) -> None:
    camera = replay(folder)
    shoot(camera)
    frames = camera.preview(CameraSettings(), width=320, fps=100.0)

    previews = [next(frames) for _ in range(3)]
    frames.close()

    assert {inspect_jpeg(frame.jpeg).width for frame in previews} == {320}
    assert decode(previews[0].jpeg).shape == (214, 320, 3)
    assert shoot(camera).settings["source"] == "flower.jpg"

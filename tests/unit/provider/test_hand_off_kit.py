# SPDX-License-Identifier: MIT
"""fieldcam.testing: what our users' tests are built on must itself be as real as it says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import simplejpeg

from fieldcam import ContainerCameraInterface, SharedVolumeImageProvider
from fieldcam.core.errors import ImageInvalidError, ImageNotFoundError, ImageTooOldError, StorageUnavailableError
from fieldcam.store.reader import iter_frames
from fieldcam.testing import Damage, HandOff, picture


@pytest.fixture(params=[False, True], ids=["file", "ring"])
def with_ring(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def hand_off(tmp_path: Path, with_ring: bool) -> Any:
    with HandOff(tmp_path, ring=with_ring) as made:
        yield made


def test_an_array_and_a_jpeg_come_out_as_they_went_in(hand_off: HandOff, with_ring: bool) -> None:
    pixels = picture(33, (64, 48))
    pixels[:24] = (200, 100, 50)
    jpeg = simplejpeg.encode_jpeg(pixels, 90, "BGR", "444")
    with hand_off.provider() as provider:
        hand_off.publish(pixels)
        from_array = provider.latest_frame()
        hand_off.publish(jpeg)
        from_jpeg = provider.latest_frame()

    assert from_array.source == ("ring" if with_ring else "file")
    assert np.abs(from_array.image.astype(int) - pixels).mean() < 3
    assert np.array_equal(from_jpeg.image, simplejpeg.decode_jpeg(jpeg, "BGR"))
    assert (from_jpeg.metadata["file_size"], from_jpeg.metadata["width"]) == (len(jpeg), 64)


def test_age_sequence_and_settings_are_as_said(hand_off: HandOff) -> None:
    published = hand_off.publish(age=2.0, sequence=77, gain=4.0, settings={"Lux": 1.5}, camera="default")

    with hand_off.provider() as provider:
        metadata = provider.latest_frame().metadata

    assert 2.0 <= metadata.pop("age") < 3.0
    assert metadata == published
    assert (metadata["sequence"], metadata["gain"], metadata["settings"]) == (77, 4.0, {"Lux": 1.5})
    assert hand_off.publish()["sequence"] == 78


def test_a_stale_a_frozen_and_an_empty_area(hand_off: HandOff) -> None:
    hand_off.publish()
    with hand_off.provider() as provider:
        assert provider.get_latest_image()[0] is True

        hand_off.make_stale(60)
        with pytest.raises(ImageTooOldError, match=r"60\.\d s old"):
            provider.latest_frame()
        hand_off.publish()
        assert provider.get_latest_image()[0] is True
        hand_off.make_frozen()
        with pytest.raises(ImageTooOldError, match="frozen"):
            provider.latest_frame()
        hand_off.clear()
        with pytest.raises(ImageNotFoundError):
            provider.latest_frame()
        hand_off.publish()
        assert provider.get_latest_image()[0] is True


@pytest.mark.parametrize("damage", get_args(Damage))
def test_a_damaged_frame_is_the_newest_and_no_good(tmp_path: Path, damage: Damage) -> None:
    with HandOff(tmp_path) as hand_off, hand_off.provider() as provider:
        whole = hand_off.publish(picture(9))
        name = hand_off.make_damaged(damage)

        assert max(frame.image.name for frame in iter_frames(hand_off.folder / "live", hand_off.folder)) == name
        assert provider.latest_frame().sequence == whole["sequence"]
        hand_off.publish()
        assert provider.latest_frame().sequence > whole["sequence"]


def test_an_area_can_be_away_for_a_while(hand_off: HandOff) -> None:
    hand_off.publish()
    with hand_off.provider() as provider:
        hand_off.unmount()
        with pytest.raises(StorageUnavailableError):
            provider.latest_frame()
        hand_off.mount()
        assert provider.get_latest_image()[0] is True


def test_a_program_that_names_no_folder_reads_here(
    hand_off: HandOff, monkeypatch: pytest.MonkeyPatch, with_ring: bool
) -> None:
    hand_off.publish(picture(9, (64, 48)))
    for name, value in hand_off.environment.items():
        monkeypatch.setenv(name, value)

    camera = ContainerCameraInterface()
    succeeded, image = camera.read()
    camera.release()
    with SharedVolumeImageProvider() as provider:
        source = provider.latest_frame().source

    assert succeeded is True
    assert image is not None
    assert image.shape == (48, 64, 3)
    assert source == ("ring" if with_ring else "file")


def test_the_oldest_frames_go(tmp_path: Path) -> None:
    with HandOff(tmp_path, max_images=3) as hand_off:
        for _ in range(5):
            hand_off.publish()

        assert len(os.listdir(hand_off.folder / "live")) == 3  # noqa: PTH208
        assert len(os.listdir(hand_off.folder / "metadata")) == 3  # noqa: PTH208


@pytest.mark.parametrize("image", [b"", b"no jpeg", np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float64)])
def test_what_is_no_image_is_refused_and_nothing_is_stored(tmp_path: Path, image: Any) -> None:
    with HandOff(tmp_path) as hand_off:
        with pytest.raises(ImageInvalidError):
            hand_off.publish(image)

        assert list(iter_frames(hand_off.folder / "live", hand_off.folder)) == []


def test_the_end_gives_the_ring_back_and_may_be_said_twice(tmp_path: Path) -> None:
    hand_off = HandOff(tmp_path, ring=True)
    hand_off.publish()
    assert list(Path(hand_off.ring_dir).glob("*.slot"))

    hand_off.close()
    hand_off.close()

    assert list(Path(hand_off.ring_dir).glob("*.slot")) == []

# SPDX-License-Identifier: MIT
"""`fieldcam.testing`, as the author of a consumer would use it: against the real classes, over files and the ring."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fieldcam import (
    ContainerCameraInterface,
    ImageTooOldError,
    SharedVolumeError,
    SharedVolumeImageProvider,
)
from fieldcam.core.errors import RequestInvalidError, StorageUnavailableError
from fieldcam.testing import SharedVolume


@pytest.fixture(params=["files", "ring"])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SharedVolume]:
    with SharedVolume(tmp_path, ring=request.param == "ring") as made:
        yield made


def test_a_published_picture_is_read(volume: SharedVolume) -> None:
    picture = np.full((120, 160, 3), (10, 120, 240), np.uint8)
    with ContainerCameraInterface(**volume.arguments) as camera:
        volume.publish(picture)

        ok, frame = camera.read()

    assert ok
    assert frame is not None
    assert np.abs(frame.astype(int) - picture).max() <= 3  # JPEG


def test_what_is_said_of_a_frame_is_in_its_metadata(volume: SharedVolume) -> None:
    volume.publish(exposure=8.0, gain=2.5, settings={"Lux": 7}, age_seconds=0.5)
    with SharedVolumeImageProvider(**volume.arguments) as provider:
        ok, _, metadata = provider.get_latest_image()

    assert ok
    assert metadata is not None
    assert (metadata["exposure"], metadata["gain"], metadata["settings"]) == (8.0, 2.5, {"Lux": 7})
    assert 0.5 <= metadata["age"] < 5
    assert metadata["simulated"] is True


def test_an_old_frame_is_too_old(volume: SharedVolume) -> None:
    volume.publish(age_seconds=60)
    with SharedVolumeImageProvider(**volume.arguments) as provider, pytest.raises(ImageTooOldError):
        provider.latest_frame()


def test_a_frozen_camera_is_not_fresh(volume: SharedVolume) -> None:
    volume.freeze()
    with SharedVolumeImageProvider(**volume.arguments) as provider:
        with pytest.raises(ImageTooOldError, match="frozen"):
            provider.latest_frame()
        volume.publish()

        assert provider.latest_frame().sequence == 2


def test_a_damaged_image_is_passed_over(volume: SharedVolume) -> None:
    first = volume.publish()
    volume.publish()
    volume.damage()
    with SharedVolumeImageProvider(**volume.arguments) as provider:
        assert provider.latest_frame().sequence == first.sequence


def test_an_unmounted_area_is_told_and_comes_back(volume: SharedVolume) -> None:
    with SharedVolumeImageProvider(**volume.arguments) as provider:
        volume.publish()
        volume.unmount()
        with pytest.raises(StorageUnavailableError):
            provider.latest_frame()
        with pytest.raises(SharedVolumeError):
            volume.publish()
        volume.mount()

        assert provider.latest_frame().sequence == 1


def test_a_further_camera_has_a_folder_of_its_own(tmp_path: Path) -> None:
    with SharedVolume(tmp_path, camera="north") as volume:
        volume.publish()
        with SharedVolumeImageProvider(**volume.arguments) as provider:
            frame = provider.latest_frame()

    assert volume.folder.parts[-2:] == ("cameras", "north")
    assert frame.metadata["camera"] == "north"


def test_what_cannot_be_published_is_refused(volume: SharedVolume) -> None:
    with pytest.raises(RequestInvalidError, match="BGR"):
        volume.publish(np.zeros((4, 4), np.uint8))
    with pytest.raises(RequestInvalidError, match="colour"):
        volume.publish(colour="red")


def test_it_needs_nothing_but_the_base_dependencies() -> None:
    program = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"flask", "pydantic", "sqlite3", "sqlite_utils", "zmq", "click", "cv2", "tenacity"}:
            raise ImportError(f"{name} is not there")
sys.meta_path.insert(0, Blocker())
import tempfile
import shared_volume_image_provider as documented
from fieldcam.testing import SharedVolume
for name in documented.__all__:
    getattr(documented, name)
with tempfile.TemporaryDirectory() as folder, SharedVolume(folder) as volume:
    volume.publish()
    with documented.ContainerCameraInterface(**volume.arguments) as camera:
        ok, frame = camera.read()
        assert ok and frame.shape == (240, 320, 3)
        volume.publish()
        assert camera.capture_array("lores") is not None
    with documented.SharedVolumeImageProvider(**volume.arguments) as provider:
        assert provider.latest_frame(gray=True, divisor=2).image.ndim == 2
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr

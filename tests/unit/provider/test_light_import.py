# SPDX-License-Identifier: MIT
"""A consumer container has numpy, simplejpeg and inotify-simple, and nothing else of what the appliance needs."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import fieldcam
import shared_volume_image_provider
from fieldcam.testing import HandOff

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("numpy", "simplejpeg", "inotify_simple")
BLOCKED = ("flask", "flask_openapi3", "pydantic", "sqlite3", "_sqlite3", "sqlite_utils", "zmq", "click", "cv2")

# -I: neither the working folder nor the user's packages nor PYTHONPATH; the path holds ours and the three packages.
PROGRAM = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is not in a consumer container", name=name)
sys.meta_path.insert(0, Blocker())
sys.path[:] = [path for path in sys.path if "site-packages" not in path] + {paths!r}
sys.argv = ["program", {folder!r}, {ring!r}]
{program}
loaded = {{name.partition(".")[0] for name in sys.modules}} & set({blocked!r})
assert not loaded, loaded
"""

READING = """
import shared_volume_image_provider as documented
import fieldcam
from shared_volume_image_provider import *
assert set(fieldcam.__all__) <= set(globals())
assert fieldcam.SharedVolumeImageProvider is SharedVolumeImageProvider
with SharedVolumeImageProvider(sys.argv[1], ring_dir=sys.argv[2]) as provider:
    success, image, metadata = provider.get_latest_image(3600)
    assert success and image.shape == (480, 640, 3), metadata
    assert provider.latest_frame(3600, gray=True, divisor=2).image.shape == (240, 320)
    assert provider.latest_frame(3600, stream="lores").image.shape == (480, 640, 3)
    with provider.latest_view(3600) as view:
        assert view.image.shape == (480, 640, 3)
for read in (lambda camera: camera.read()[1], lambda camera: camera.capture_array("lores")):
    camera = ContainerCameraInterface(sys.argv[1], 3600, ring_dir=sys.argv[2])
    assert camera.isOpened()
    picture = read(camera)
    assert picture is not None and picture.ndim == 3, picture
    camera.release()
for name in ("HostCameraCaptureService", "CaptureServiceConfig", "ImageSyncManager"):
    assert name in dir(documented)
    assert getattr(documented, name).__name__ == name  # they load their parts on use
"""

TESTING = """
import pathlib, tempfile
from fieldcam.testing import HandOff
with tempfile.TemporaryDirectory() as folder, HandOff(pathlib.Path(folder), ring=True) as hand_off:
    hand_off.publish()
    with hand_off.provider() as provider:
        assert provider.get_latest_image()[0]
"""


def run(program: str, packages: Path, folder: str = "", ring: str = "") -> subprocess.CompletedProcess[str]:
    text = PROGRAM.format(
        blocked=BLOCKED, paths=[str(ROOT / "appliance"), str(packages)], folder=folder, ring=ring, program=program
    )
    return subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", text], check=False, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Make a folder with the packages of a consumer container and no others."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in PACKAGES:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (folder / source.name).symlink_to(source)
        for beside in source.parent.glob(f"{name}.libs"):
            (folder / beside.name).symlink_to(beside)
    return folder


@pytest.mark.parametrize("ring", [False, True], ids=["file", "ring"])
def test_frames_are_read_without_anything_of_the_host(tmp_path: Path, packages: Path, ring: bool) -> None:
    with HandOff(tmp_path / "camera", ring=ring) as hand_off:
        hand_off.publish()

        done = run(READING, packages, str(hand_off.folder), hand_off.ring_dir)

    assert done.returncode == 0, done.stderr


def test_the_kit_for_tests_needs_no_more(packages: Path) -> None:
    done = run(TESTING, packages)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["zmq", "cv2"])
def test_the_blocker_blocks(packages: Path, module: str) -> None:
    done = run(f"import {module}", packages)

    assert "is not in a consumer container" in done.stderr


def test_both_imports_give_the_same() -> None:
    for name in fieldcam.__all__:
        assert getattr(shared_volume_image_provider, name) is getattr(fieldcam, name), name
        assert name in dir(shared_volume_image_provider)
        assert name in dir(fieldcam)
    assert sorted(shared_volume_image_provider.__all__) == sorted(fieldcam.__all__)
    for module in (fieldcam, shared_volume_image_provider):
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            getattr(module, "nothing")  # noqa: B009 - as a user's import does


def test_the_documented_config_has_the_documented_defaults() -> None:
    config = fieldcam.ImageProviderConfig()

    assert vars(config) == {
        "shared_volume_dir": "/mnt/storage/camera_capture",
        "cache_size": 10,
        "background_monitoring": True,
        "monitor_interval": 0.1,
        "max_age_seconds": 5.0,
        "enable_performance_monitoring": False,
    }
    assert os.fspath(config.shared_volume_dir)

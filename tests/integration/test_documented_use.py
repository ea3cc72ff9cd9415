# SPDX-License-Identifier: MIT
"""Programs written for the documented library run as they are, beside a capture process, through files and the ring."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance_tree import deployed_tree
from tests.requirements import require

PROGRAM = Path(__file__).parents[1] / "docker" / "programs" / "documented_use.py"
SHM = Path("/dev/shm")
CAMERAS = {"default": {"backend": "simulated", "interval": 0.2, "width": 640, "height": 480}}


@pytest.fixture(params=["files", "ring"])
def ring_dir(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "files":
        yield ""
        return
    require(SHM.is_dir() and os.access(SHM, os.W_OK), "needs /dev/shm")
    folder = tempfile.mkdtemp(prefix="fc-ring-", dir=SHM)
    yield folder
    shutil.rmtree(folder)


def test_every_documented_way_of_reading_works_unchanged(ring_dir: str) -> None:
    settings = {"ring": "on", "ring_dir": ring_dir} if ring_dir else {"ring": "off"}
    with deployed_tree(CAMERAS, **settings) as tree, tree.capture_process():
        environment = os.environ | {
            "CAMERA_CAPTURE_DIR": str(tree.config.capture_dir),
            "CAMERA_RING_DIR": ring_dir,
        }
        done = subprocess.run(
            [sys.executable, str(PROGRAM)], env=environment, capture_output=True, text=True, check=False
        )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    shape = [480, 640, 3]
    assert found["opencv"] == {"opened": True, "ok": True, "shape": shape}
    assert (found["service"], found["picamera2"], found["patient"]) == (shape, shape, True)
    assert found["latest"][:2] == [True, shape]
    assert {"timestamp", "age", "sequence", "filename"} <= set(found["latest"][2])
    assert {"cache_hit_rate", "average_image_age", "images_per_second"} <= set(found["status"])
    assert found["cached"]
    assert all(age >= 0 for _, age in found["cached"])

# SPDX-License-Identifier: MIT
"""A ring in RAM."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldcam.handoff.slot import slot_bytes
from tests.requirements import require
from tests.rings import HEIGHT, SHM, WIDTH, Rings


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder in RAM that everybody may enter."""
    require(os.access(SHM, os.W_OK), f"needs {SHM}, a tmpfs")
    made = Path(tempfile.mkdtemp(prefix="fc-ring-", dir=SHM))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def rings(folder: Path) -> Iterator[Rings]:
    """Return what makes writers and readers of that folder, and closes them at the end."""
    made = Rings(folder)
    yield made
    made.close()


@pytest.fixture
def tiny(rings: Rings) -> Iterator[Path]:
    """Return the ring's folder on a tmpfs of its own, with room for three small slots."""
    size = f"size={4 * slot_bytes(WIDTH, HEIGHT) // 4096 * 4096}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(rings.folder)], check=True)
    yield rings.folder
    rings.close()
    subprocess.run(["umount", "--lazy", str(rings.folder)], check=True)

# SPDX-License-Identifier: MIT
"""A ring in RAM."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.requirements import require
from tests.rings import SHM, Rings


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

# SPDX-License-Identifier: MIT
"""Running the programs of role `storage`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.ansible.conftest import CHECKOUT

ROLE = CHECKOUT / "roles" / "storage"
MIB = 2**20
PATHS = {
    "storage_gate_dir": "/mnt/storage",
    "storage_capture_dir": "/mnt/storage/camera_capture",
    "storage_ring_dir": "/mnt/storage/camera_ring",
    "storage_results_dir": "/mnt/storage/camera_results",
    "storage_archive_dir": "/mnt/storage/archive",
    "storage_state_dir": "/var/lib/fieldcam-storage",
}
UNITS = {name: f"mnt-storage-{name}.mount" for name in ("camera_capture", "camera_ring", "archive")}


def program(name: str, asked: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
    """Run one of the programs that the role sends to a host, as the role does."""
    source = (ROLE / "files" / name).read_text(encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-", json.dumps(asked), *words], input=source, capture_output=True, text=True, check=False
    )


def answer(name: str, asked: dict[str, Any], *words: str) -> dict[str, Any]:
    said = program(name, asked, *words)
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)
    return found

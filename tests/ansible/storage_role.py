# SPDX-License-Identifier: MIT
"""The role `storage` for its tests: its programs run, its files rendered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.ansible.conftest import CHECKOUT, render_role

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
FILES = {
    "etc/systemd/system/tmpfs.mount": "mnt-storage-camera_capture.mount",
    "etc/systemd/system/archive.mount": "mnt-storage-archive.mount",
    "etc/systemd/system/fieldcam-handoff.service": "fieldcam-handoff.service",
    "usr/local/libexec/fieldcam-handoff": "fieldcam-handoff",
}
DISK = {
    "is_image": False, "what": "/dev/disk/by-uuid/0f6e-3c1a", "device_unit": r"dev-disk-by\x2duuid-0f6e\x2d3c1a.device",
    "fsck_unit": r"systemd-fsck@dev-disk-by\x2duuid-0f6e\x2d3c1a.service",
}  # fmt: skip


VARIABLES = {
    "__storage_places": {"uid": 990, "gid": 991, "units": {"capture": "mnt-storage-camera_capture.mount",
                         "ring": "mnt-storage-camera_ring.mount", "archive": "mnt-storage-archive.mount"}},
    "__storage_sizes": {"capture": 268435456, "ring": 1048576},
    "__storage_what": "a place",
    "__storage_mode": "2775",
    "item": {"key": "capture", "value": "{{ storage_capture_dir }}"},
}  # fmt: skip


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


def render(target: Path, disk: dict[str, Any] | None = None, **inputs: Any) -> Path:
    variables = VARIABLES | {"__storage_disk": disk or DISK}
    return render_role(ROLE, FILES, target, mode=0o755, variables=variables, **inputs)

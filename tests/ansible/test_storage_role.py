# SPDX-License-Identifier: MIT
"""The role `storage`: systemd accepts what is rendered, and bad input is told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.conftest import Run, ansible
from tests.ansible.storage_role import DISK, ROLE, render
from tests.requirements import require_commands

# --- what is rendered


def settings(unit: Path) -> dict[str, str]:
    lines = unit.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_units_are_accepted_by_systemd(tmp_path: Path) -> None:
    require_commands("systemd-analyze")
    folder = render(tmp_path)
    for unit in ("mnt-storage-camera_capture.mount", "mnt-storage-archive.mount", "fieldcam-handoff.service"):
        text = (folder / unit).read_text(encoding="utf-8")
        (folder / unit).write_text(text.replace("/usr/local/libexec/fieldcam-handoff", "/bin/true"))
        (folder / unit).chmod(0o644)

        said = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", folder / unit],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

        assert (said.returncode, said.stderr) == (0, ""), unit


def test_mounts_have_the_options_that_keep_a_host_safe(tmp_path: Path) -> None:
    folder = render(tmp_path)

    archive = settings(folder / "mnt-storage-archive.mount")
    capture = settings(folder / "mnt-storage-camera_capture.mount")

    assert {"nodev", "nosuid", "noexec", "nofail", "noatime", "errors=remount-ro"} <= set(archive["Options"].split(","))
    assert {"nodev", "nosuid", "noexec", "mode=2775", "uid=990", "gid=991"} <= set(capture["Options"].split(","))
    # Wanted by the start, and by the disk itself when it comes later; required by nothing.
    assert archive["WantedBy"] == f"multi-user.target {DISK['device_unit']}"
    assert "RequiredBy" not in archive
    assert capture["WantedBy"] == "local-fs.target"


def test_an_image_file_is_mounted_by_a_loop_and_waits_for_no_device(tmp_path: Path) -> None:
    disk = {"is_image": True, "what": "/srv/disk.img", "device_unit": "", "fsck_unit": ""}

    archive = settings(render(tmp_path, disk) / "mnt-storage-archive.mount")

    assert "loop" in archive["Options"].split(",")
    assert (archive["WantedBy"], "Requires" in archive) == ("multi-user.target", False)


# --- bad input


def preflight(scratch: Path, **inputs: Any) -> Run:
    """Run the one task that looks at what is written into units."""
    tasks = yaml.safe_load((ROLE / "tasks" / "preflight.yml").read_text(encoding="utf-8"))
    task = next(task for task in tasks if "are what they seem" in task["name"])
    play = {
        "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task],
        "vars_files": [f"{ROLE}/defaults/main.yml", f"{ROLE}/vars/main.yml"],
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
    }  # fmt: skip
    (scratch / "play.yml").write_text(yaml.safe_dump([play]))
    (scratch / "inputs.json").write_text(json.dumps(inputs))
    return ansible(
        "-i", "localhost,", "-e", f"@{scratch / 'inputs.json'}", str(scratch / "play.yml"), scratch=scratch / "home"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("storage_archive_fstype", "ext4\nOptions=exec"),
        ("storage_archive_format", "ntfs"),
        ("storage_archive_options", ["noatime,exec"]),
        ("storage_archive_options", ["x\n[Install]"]),
        ("storage_archive_options", ["%h"]),
        ("storage_capture_user", "root; rm -rf /"),
        ("storage_store_group", "store\n"),
        ("storage_live_backing", "ram"),
        ("storage_archive_device_timeout", 0),
        ("storage_ram_share_max", 100),
    ],
)
def test_values_that_would_change_a_unit_are_refused_by_name(name: str, value: object, tmp_path: Path) -> None:
    run = preflight(tmp_path, **{name: value})

    assert run.status == 2
    assert name in run.output
    assert "Traceback" not in run.output


def test_the_defaults_are_allowed(tmp_path: Path) -> None:
    run = preflight(tmp_path)

    assert run.status == 0, run.output

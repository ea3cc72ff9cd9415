# SPDX-License-Identifier: MIT
"""The folders that consumers read and write: who owns them, what stays as it is, and what is said."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.conftest import APPLIANCE, Run, play
from tests.requirements import require, require_disk, require_root


def deploy(scratch: Path, ring_dir: Path, *words: str, **inputs: Any) -> Run:
    """Run the tasks that make the folders."""
    given: dict[str, Any] = {
        "appliance_become": False,
        "appliance_ring_dir": str(ring_dir),
        "appliance_results_dir": str(scratch / "results"),
    } | inputs
    tasks = {"ansible.builtin.import_tasks": f"{APPLIANCE}/tasks/handoff.yml"}
    return play(APPLIANCE, [tasks], scratch, *words, **given)


def changed(run: Run) -> int:
    assert run.status == 0, run.output
    return int(re.findall(r"changed=(\d+)", run.output)[-1])


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o7777)


@pytest.fixture
def in_ram() -> Iterator[Path]:
    """Return the name of a folder in RAM that is not there yet."""
    require(os.access("/dev/shm", os.W_OK), "needs /dev/shm, a tmpfs")
    with tempfile.TemporaryDirectory(prefix="fc-", dir="/dev/shm") as folder:
        yield Path(folder) / "ring"


def test_folders_are_made_once_and_the_ring_is_for_all_to_read(in_ram: Path, tmp_path: Path) -> None:
    first = deploy(tmp_path, in_ram, appliance_consumers=["sky", "traffic"])
    second = deploy(tmp_path, in_ram, appliance_consumers=["sky", "traffic"])

    assert (changed(first), changed(second)) == (4 - 1, 0)  # the ring, the folder of results, and the loop over two
    assert mode(in_ram) == "0o755"
    assert {path.name: mode(path) for path in (tmp_path / "results").iterdir()} == {
        "sky": "0o2770",
        "traffic": "0o2770",
    }
    assert {path.stat().st_uid for path in (tmp_path / "results").iterdir()} == {os.getuid()}
    assert "not in RAM" not in first.output


def test_as_root_a_folder_belongs_to_the_user_of_the_container_and_the_group_of_the_appliance(
    in_ram: Path, tmp_path: Path
) -> None:
    require_root()
    names = {"appliance_store_group": "daemon", "appliance_capture_user": "daemon"}
    inputs = {"appliance_become": True, **names, "appliance_consumers": ["sky"]}

    runs = [deploy(tmp_path, in_ram, **inputs, appliance_consumer_uid=12345) for _ in range(2)]

    folder = (tmp_path / "results" / "sky").stat()
    group = (tmp_path / "results").stat().st_gid
    assert [changed(run) for run in runs] == [3, 0]
    assert (folder.st_uid, folder.st_gid, oct(folder.st_mode & 0o7777)) == (12345, group, "0o2770")
    assert group != 0


def test_a_folder_that_is_there_stays_as_it_is(in_ram: Path, tmp_path: Path) -> None:
    in_ram.mkdir(mode=0o711)

    run = deploy(tmp_path, in_ram)

    assert changed(run) == 1  # the folder of results
    assert mode(in_ram) == "0o711"


def test_what_is_not_in_ram_is_said_and_does_not_stop_the_play(tmp_path: Path) -> None:
    kind = require_disk(tmp_path)

    run = deploy(tmp_path, tmp_path / "ring")

    assert changed(run) == 2
    assert f"{tmp_path}/ring is on {kind}" in " ".join(run.output.split())
    assert 'set appliance_ring: \\"off\\"' in run.output or 'set appliance_ring: "off"' in run.output


def test_without_a_ring_there_is_a_folder_for_containers_to_mount_and_nothing_is_said(tmp_path: Path) -> None:
    run = deploy(tmp_path, tmp_path / "ring", appliance_ring="off")

    assert changed(run) == 2
    assert (tmp_path / "ring").is_dir()
    assert "not in RAM" not in run.output


def test_check_mode_changes_nothing(tmp_path: Path) -> None:
    run = deploy(tmp_path, tmp_path / "ring", "--check", appliance_consumers=["sky"])

    assert run.status == 0, run.output
    assert not (tmp_path / "ring").exists()
    assert not (tmp_path / "results").exists()

# SPDX-License-Identifier: MIT
"""The role `storage` and its places: nothing lands below a missing mount."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fieldcam.capture import ring_plan
from fieldcam.store import space
from fieldcam.store.volume import Volume
from tests.ansible.storage_role import MIB, PATHS, ROLE, answer, program, render
from tests.requirements import require, require_commands, require_root

# --- files/places.py


def places(paths: dict[str, str] | None = None, **asked: Any) -> dict[str, Any]:
    defaults = {
        "in_ram": True, "device": "", "user": "root", "store_group": "root", "group": "root", "is_check": False,
        "required_free_mb": 1,
    }  # fmt: skip
    return answer("places.py", {"paths": PATHS | (paths or {})} | defaults | asked)


@pytest.mark.parametrize(
    "path",
    ["relative", "/", "/mnt/storage/", "/mnt//x", "/mnt/storage/a b", "/mnt/storage/%h", "/mnt/storage/../etc",
     "/mnt/storage/.hidden", "/mnt/storage/x\n[Install]", "/mnt/storage/-x", "/mnt/storage/\u00e9", "/mnt/storage/a$b"],
)  # fmt: skip
def test_a_path_that_cannot_stand_in_a_unit_is_named(path: str) -> None:
    (problem,) = places({"storage_archive_dir": path})["problems"]

    assert problem.startswith("storage_archive_dir:")
    assert repr(path) in problem


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ({"storage_archive_dir": "/mnt/storage/camera_capture/archive"}, "is within storage_capture_dir"),
        ({"storage_capture_dir": "/mnt/storage/archive/live"}, "is within storage_archive_dir"),
        ({"storage_archive_dir": "/mnt/storage/camera_ring"}, "is the same as storage_ring_dir"),
        ({"storage_archive_dir": "/srv/archive"}, "is not below storage_gate_dir"),
        ({"storage_state_dir": "/mnt/storage/state"}, "is within storage_gate_dir"),
    ],
)
def test_places_stand_side_by_side_behind_the_gate(paths: dict[str, str], words: str) -> None:
    (problem,) = places(paths)["problems"]

    assert words in problem


def test_a_name_that_only_begins_alike_is_no_nesting() -> None:
    assert places({"storage_archive_dir": "/mnt/storage/camera_capture2"}, device="UUID=x")["problems"] == []


def test_units_are_named_as_systemd_names_them() -> None:
    require_commands("systemd-escape")
    for path in ("/mnt/storage/camera_capture", "/mnt/my-disk/a.b_c", "/srv/x--y/z-", "/mnt/A1_2/0"):
        said = subprocess.run(
            ["systemd-escape", "--path", "--suffix=mount", path], capture_output=True, text=True, check=True
        )
        gate = str(Path(path).parent)
        others = {key: f"{gate}/{key}" for key in PATHS if key not in {"storage_gate_dir", "storage_state_dir"}}
        units = places({"storage_gate_dir": gate} | others | {"storage_archive_dir": path}, device="UUID=x")["units"]
        assert units["archive"] == said.stdout.strip()


def test_missing_accounts_stop_a_play_but_not_check_mode() -> None:
    found = places(user="nobody-of-ours", store_group="nogroup-of-ours", device="UUID=x")
    checked = places(user="nobody-of-ours", device="UUID=x", is_check=True)

    assert [problem.partition(":")[0] for problem in found["problems"]] == [
        "storage_capture_user",
        "storage_store_group",
    ]
    assert all("role `users`" in problem for problem in found["problems"])
    assert (checked["problems"], checked["missing"]) == ([], ["nobody-of-ours"])


def test_an_archive_in_ram_is_refused() -> None:
    require(Path("/dev/shm").is_mount(), "needs /dev/shm, a tmpfs")
    shm = {key: path.replace("/mnt/storage", "/dev/shm/gate") for key, path in PATHS.items()}

    (problem,) = places(shm | {"storage_state_dir": "/var/lib/x"})["problems"]

    assert "would be in RAM (tmpfs)" in problem


def below(gate: Path) -> dict[str, str]:
    return {key: path.replace("/mnt/storage", str(gate)) for key, path in PATHS.items()}


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    folder = tmp_path / "gate"
    folder.mkdir()
    return folder


def test_a_folder_with_captures_is_not_hidden_by_a_disk_and_the_way_out_is_said(gate: Path) -> None:
    (gate / "archive" / "captures").mkdir(parents=True)
    (gate / "archive" / ".fieldcam-volume").touch()

    (problem,) = places(below(gate), device="UUID=x")["problems"]

    assert "captures in it, which the disk would hide" in problem
    assert f"sudo mv {gate}/archive {gate}/archive.old" in problem


def test_a_folder_with_nothing_but_its_marker_may_become_a_mount_point(gate: Path) -> None:
    (gate / "archive").mkdir()
    (gate / "archive" / ".fieldcam-volume").touch()

    assert places(below(gate), device="UUID=x")["problems"] == []


def test_frames_in_a_folder_are_not_hidden_by_a_tmpfs(gate: Path) -> None:
    (gate / "camera_capture" / "live").mkdir(parents=True)

    assert "which the tmpfs would hide" in places(below(gate), device="UUID=x")["problems"][0]
    assert places(below(gate), device="UUID=x", in_ram=False)["problems"] == []


# --- files/sizes.py


def sizes(**asked: Any) -> dict[str, Any]:
    defaults = {
        "in_ram": True, "capture_size": "", "ring_size": "", "ram_share_max": 60, "live_max_bytes": 0, "ring": "auto",
        "ring_max_bytes": 0, "cameras": 1,
    }  # fmt: skip
    return answer("sizes.py", defaults | asked)


def test_sizes_are_reckoned_as_the_program_reckons() -> None:
    source = (ROLE / "files" / "sizes.py").read_text(encoding="utf-8")
    said = dict(re.findall(r"^(\w+) = ([\d_.*]+(?: \* [\d_*]+)?)", source, re.MULTILINE))

    assert float(said["LIVE_RAM_SHARE"]) == space.RAM_SHARE
    assert float(said["RING_RAM_SHARE"]) == ring_plan.RAM_SHARE
    assert int(said["RING_MOST_BYTES"]) == ring_plan.MOST_BYTES
    assert said["RING_AUTO_FROM_BYTES"] == "3 * 2**30"
    assert ring_plan.AUTO_FROM_BYTES == 3 * 2**30


@pytest.mark.parametrize("cameras", [1, 2])
def test_what_the_program_puts_there_fits_with_room_for_the_rest(cameras: int) -> None:
    live = space.default_live_bytes(in_ram=True)
    assert live is not None

    found = sizes(cameras=cameras, ring="off")["sizes"]

    assert found["capture"] >= 1.25 * live * cameras
    assert found["ring"] == MIB


def test_a_given_budget_decides() -> None:
    found = sizes(live_max_bytes=100_000_000, ring="on", ring_max_bytes=50_000_000)

    assert found["problems"] == []
    assert 125_000_000 + 64 * MIB <= found["sizes"]["capture"] <= 125_000_000 + 80 * MIB
    assert 50_000_000 < found["sizes"]["ring"] <= 80 * MIB


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"capture_size": "lots"}, "storage_capture_size: 'lots' is no size"),
        ({"ring_size": "-5"}, "storage_ring_size: '-5' is no size"),
        ({"capture_size": "1m,exec"}, "is no size"),
        ({"capture_size": "10m"}, "less than the"),
        ({"ring": "on", "ring_size": "1m"}, "storage_ring_size"),
        ({"capture_size": "80%"}, "storage_ram_share_max"),
    ],
)
def test_a_size_that_cannot_be_is_refused(asked: dict[str, Any], words: str) -> None:
    assert words in " ".join(sizes(**asked)["problems"])


# --- files/mark.py


def mark(place: Path, memory: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    asked = {
        "place": str(place), "kind": "archive", "where": "UUID=a", "must_be_mount": False, "memory": str(memory),
        "uid": os.geteuid(), "gid": os.getegid(),
    }  # fmt: skip
    return program("mark.py", asked | more)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


@pytest.fixture
def memory() -> Iterator[Path]:
    """Return a file that belongs to root, as the role's own does."""
    require_root()
    folder = Path("/var/tmp") / f"fc-{uuid.uuid4().hex[:12]}"
    folder.mkdir()
    yield folder / "archive.json"
    shutil.rmtree(folder)


@pytest.mark.root
def test_a_place_is_marked_once_as_the_program_reads_it(place: Path, memory: Path) -> None:
    first = mark(place, memory)
    marked = (place / ".fieldcam-volume").read_bytes()
    second = mark(place, memory)

    assert (first.stdout, second.stdout) == ("marked\n", "kept\n")
    assert (place / ".fieldcam-volume").read_bytes() == marked
    assert Volume.open(place, "archive").id == json.loads(memory.read_text())["id"]
    assert list(place.iterdir()) == [place / ".fieldcam-volume"]


@pytest.mark.root
def test_a_place_that_lost_its_marker_is_not_marked_anew(place: Path, memory: Path) -> None:
    mark(place, memory)
    (place / ".fieldcam-volume").unlink()

    said = mark(place, memory)

    assert said.returncode == 1
    assert "has no marker now" in said.stderr
    assert list(place.iterdir()) == []
    assert mark(place, memory, where="UUID=b").stdout == "marked\n"  # another disk is another place


@pytest.mark.root
def test_nothing_is_marked_where_no_disk_is_mounted(place: Path, memory: Path) -> None:
    said = mark(place, memory, must_be_mount=True)

    assert said.returncode == 1
    assert "nothing is mounted there" in said.stderr
    assert list(place.iterdir()) == []


@pytest.mark.root
@pytest.mark.parametrize("text", ['{"id": "x", "kind": "handoff"}', "not json", "[]"])
def test_the_marker_of_something_else_stays(text: str, place: Path, memory: Path) -> None:
    (place / ".fieldcam-volume").write_text(text)

    said = mark(place, memory)

    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    assert (place / ".fieldcam-volume").read_text() == text


def test_the_marker_is_put_nowhere_but_into_a_tmpfs_of_its_own(tmp_path: Path, place: Path, memory: Path) -> None:
    inputs: dict[str, Any] = {
        "storage_capture_dir": str(place), "storage_state_dir": str(memory.parent), "storage_capture_user": "root",
        "storage_store_group": "root",
    }  # fmt: skip
    script = render(tmp_path / "rendered", **inputs) / "fieldcam-handoff"
    (memory.parent / "handoff.volume").write_text('{"id": "one", "kind": "handoff"}\n')

    refused = subprocess.run([script], capture_output=True, text=True, check=False)
    untouched = list(place.iterdir())
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        runs = [subprocess.run([script], check=False).returncode for _ in range(2)]
        found = Volume.open(place, "handoff")
    finally:
        subprocess.run(["umount", place], check=True)

    assert (refused.returncode, untouched, runs, found.id) == (1, [], [0, 0], "one")
    assert "is no tmpfs of its own" in refused.stderr


# --- files/bare.py


@pytest.mark.root
def test_the_folder_below_a_mount_is_locked_and_its_marker_gone(place: Path) -> None:
    require_root()
    require_commands("chattr", "lsattr")
    (place / ".fieldcam-volume").touch()
    asked = {"folders": [str(place)], "is_check": False}
    try:
        checked = answer("bare.py", asked | {"is_check": True})
        first, second = answer("bare.py", asked), answer("bare.py", asked)
    finally:
        subprocess.run(["chattr", "-i", place], check=False, capture_output=True)

    assert (checked["changed"], first["changed"], second["changed"]) == ([str(place)], [str(place)], [])
    assert list(place.iterdir()) == []
    assert place.stat().st_mode & 0o7777 == 0

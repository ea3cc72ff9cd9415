# SPDX-License-Identifier: MIT
"""The role `storage`: no disk is lost, nothing lands below a missing mount, and systemd accepts what is rendered."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fieldcam.capture import ring_plan
from fieldcam.store import space
from fieldcam.store.volume import Volume
from tests.ansible.conftest import CHECKOUT, Run, ansible, render_role
from tests.requirements import require, require_commands, require_root

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


# --- files/disk.py


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return a blank image file, as good as a disk."""
    require_commands("blkid", "lsblk", "losetup", "mkfs.ext4")
    file = tmp_path / "disk.img"
    with file.open("wb") as stream:
        stream.truncate(16 * MIB)
    return file


def asked_of(device: object, tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {
        "device": str(device), "archive_dir": str(tmp_path / "archive"), "state_dir": str(tmp_path), "fstype": "ext4",
        "is_required": True, "required_free_mb": 1, "format": "", "consent": "",
    } | more  # fmt: skip


def make_ext4(file: Path, label: str = "mine") -> None:
    subprocess.run(["mkfs.ext4", "-q", "-F", "-L", label, file], check=True)


def problem_of(asked: dict[str, Any]) -> str:
    (problem,) = answer("disk.py", asked, "look")["problems"]
    return str(problem)


@pytest.mark.parametrize("device", ["UUID=1234-abcd", "LABEL=nowhere", "/dev/disk/by-id/usb-none", "/srv/no.img"])
def test_a_disk_that_is_not_there_is_answered_with_those_that_are(device: str, tmp_path: Path) -> None:
    require_commands("lsblk", "blkid")

    problem = problem_of(asked_of(device, tmp_path))

    assert problem.startswith(f"storage_archive_device: {device} is not there. There")


def test_a_missing_disk_may_be_told_instead(tmp_path: Path) -> None:
    require_commands("lsblk", "blkid")

    found = answer("disk.py", asked_of("UUID=1234-abcd", tmp_path, is_required=False), "look")

    assert (found["problems"], found["is_there"]) == ([], False)
    assert "is not there" in found["note"]


@pytest.mark.parametrize(
    "device", ["/dev/sda", "/dev/mmcblk0p3", "UUID=a b", "LABEL=x,exec", "sda1", "/dev/disk/by-id/x\ny", "UUID=../x"]
)
def test_a_name_that_is_none_or_does_not_last_is_refused(device: str, tmp_path: Path) -> None:
    require_commands("lsblk", "blkid")

    problem = problem_of(asked_of(device, tmp_path))

    assert "may be another disk after the next start" in problem or "is no name of a disk" in problem


def test_a_disk_with_a_file_system_is_taken_as_it_is(image: Path, tmp_path: Path) -> None:
    make_ext4(image)
    before = image.read_bytes()

    found = answer("disk.py", asked_of(image, tmp_path), "look")

    assert (found["problems"], found["is_there"], found["is_image"], found["to_format"]) == ([], True, True, False)
    assert image.read_bytes() == before


def test_another_file_system_than_the_configured_one_is_refused(image: Path, tmp_path: Path) -> None:
    make_ext4(image)

    assert "has ext4 (label mine" in problem_of(asked_of(image, tmp_path, fstype="xfs"))


def test_a_disk_that_is_too_small_is_refused(image: Path, tmp_path: Path) -> None:
    make_ext4(image)

    assert "has 16 MB, 500 MB are needed" in problem_of(asked_of(image, tmp_path, required_free_mb=500))


@pytest.mark.parametrize("consent", ["", "yes", "/dev/sda"])
def test_a_blank_disk_is_not_formatted_without_consent(consent: str, image: Path, tmp_path: Path) -> None:
    asked = asked_of(image, tmp_path, format="ext4", consent=consent)

    problem, said = problem_of(asked), program("disk.py", asked, "format")

    assert f'agree with storage_archive_format_consent: "{image}"' in problem
    assert said.returncode == 1
    assert image.read_bytes().strip(b"\0") == b""


def write(image: Path, what: str) -> None:
    """Put something on a disk."""
    if what == "file system":
        make_ext4(image, "photos")
    elif what == "swap":
        subprocess.run(["mkswap", "-q", image], check=True, capture_output=True)
    elif what == "partitions":
        # What sfdisk would write: one Linux partition from sector 2048 on, and the signature of the table.
        entry = bytes([0, 0, 0, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (8192).to_bytes(4, "little")
        image.write_bytes((bytes(446) + entry + bytes(48) + b"\x55\xaa").ljust(16 * MIB, b"\0"))
    else:
        image.write_bytes(b"letters to grandma".ljust(16 * MIB, b"\0"))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("file system", "ext4 (label photos"),
        ("swap", "swap (uuid"),
        ("partitions", "a partition table (dos)"),
        ("data", "data in its first MiB"),
    ],
)
def test_a_disk_that_is_not_blank_is_not_formatted_even_with_consent(
    what: str, words: str, image: Path, tmp_path: Path
) -> None:
    require_commands("mkswap")
    write(image, what)
    before = image.read_bytes()
    asked = asked_of(image, tmp_path, format="ext4", consent=str(image))

    problem, said = problem_of(asked), program("disk.py", asked, "format")

    assert words in problem
    assert "nothing is formatted" in problem
    assert (said.returncode, said.stdout) == (1, "")
    assert image.read_bytes() == before


def test_a_blank_disk_is_formatted_once_and_known_as_its_own_after(image: Path, tmp_path: Path) -> None:
    asked = asked_of(image, tmp_path, format="ext4", consent=str(image))

    looked = answer("disk.py", asked, "look")
    first = program("disk.py", asked, "format")
    made = image.read_bytes()
    again, second = answer("disk.py", asked, "look"), program("disk.py", asked, "format")

    assert (looked["problems"], looked["to_format"], first.stdout) == ([], True, "formatted\n")
    assert (again["problems"], again["to_format"]) == ([], False)
    assert second.stdout != "formatted\n"
    assert image.read_bytes() == made


@pytest.fixture
def loop(image: Path) -> Iterator[str]:
    """Return a loop device with a file system, whose label is nobody else's."""
    require_root()
    make_ext4(image, f"t{uuid.uuid4().hex[:12]}")
    made = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=False)
    require(made.returncode == 0, "needs loop devices")
    device = made.stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


def label_of(device: str) -> str:
    command = ["blkid", "-p", "-s", "LABEL", "-o", "value", device]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.root
def test_a_disk_is_found_by_its_label(loop: str, tmp_path: Path) -> None:
    found = answer("disk.py", asked_of(f"LABEL={label_of(loop)}", tmp_path), "look")

    assert (found["problems"], found["path"]) == ([], loop)


@pytest.mark.root
def test_a_disk_that_is_mounted_elsewhere_is_refused(loop: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(["mount", loop, elsewhere], check=True)
    try:
        problem = problem_of(asked_of(loop, tmp_path))
        here = answer("disk.py", asked_of(loop, tmp_path, archive_dir=str(elsewhere)), "look")
    finally:
        subprocess.run(["umount", elsewhere], check=True)

    assert f"{loop} is mounted on {elsewhere}" in problem
    assert (here["problems"], here["is_mounted"]) == ([], True)


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


# --- what is rendered

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


def render(target: Path, disk: dict[str, Any] | None = None, **inputs: Any) -> Path:
    variables = VARIABLES | {"__storage_disk": disk or DISK}
    return render_role(ROLE, FILES, target, mode=0o755, variables=variables, **inputs)


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

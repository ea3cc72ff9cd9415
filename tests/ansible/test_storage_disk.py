# SPDX-License-Identifier: MIT
"""The role `storage` and the disk: none is lost."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.storage_role import MIB, answer, program
from tests.requirements import require, require_commands, require_root


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

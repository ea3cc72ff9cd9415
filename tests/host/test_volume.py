# SPDX-License-Identifier: MIT
"""The places: what is in RAM, what is on a disk, what marks them, and who passes the gate."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.host.conftest import Machine


def mount_of(machine: Machine, path: str) -> dict[str, Any] | None:
    """Return what is mounted right there, or None."""
    ran = machine.run("findmnt --json --bytes --output TARGET,SOURCE,FSTYPE,OPTIONS,SIZE --mountpoint %s", path)
    if ran.rc != 0:
        return None
    found: dict[str, Any] = json.loads(ran.stdout)["filesystems"][-1]
    return found


def test_the_gate_lets_only_the_group_pass(machine: Machine) -> None:
    gate = machine.host.file(machine["storage_gate_dir"])

    assert (gate.user, gate.group, oct(gate.mode)) == ("root", machine["appliance_group"], "0o750")
    ran = machine.run("setpriv --reuid=nobody --regid=nogroup --clear-groups ls %s", machine["appliance_capture_dir"])
    assert ran.rc != 0


def test_the_hand_off_area_is_in_ram_or_a_folder_as_was_said(machine: Machine) -> None:
    found = mount_of(machine, machine["appliance_capture_dir"])

    if machine["storage_live_backing"] == "storage":
        assert found is None
    else:
        assert found is not None
        assert found["fstype"] == "tmpfs"
        assert {"nodev", "nosuid", "noexec"} <= set(found["options"].split(","))


def test_the_ring_is_a_tmpfs_of_its_own(machine: Machine) -> None:
    found = mount_of(machine, machine["appliance_ring_dir"])

    assert found is not None
    assert found["fstype"] == "tmpfs"
    assert {"nodev", "nosuid", "noexec"} <= set(found["options"].split(","))


def test_what_is_in_ram_leaves_room_for_the_rest(machine: Machine) -> None:
    ram = int(machine.out("awk '/^MemTotal/ {print $2}' /proc/meminfo")) * 1024
    places = [mount_of(machine, machine[key]) for key in ("appliance_capture_dir", "appliance_ring_dir")]

    taken = sum(int(place["size"]) for place in places if place and place["fstype"] == "tmpfs")

    assert taken <= ram * machine["storage_ram_share_max"] / 100


@pytest.mark.parametrize(
    ("key", "mode"),
    [("appliance_capture_dir", 0o2775), ("appliance_ring_dir", 0o755), ("appliance_archive_dir", 0o2775)],
)
def test_places_belong_to_capture_and_the_store(machine: Machine, key: str, mode: int) -> None:
    place = machine.host.file(machine[key])

    assert (place.user, place.group, oct(place.mode)) == (
        machine["appliance_capture_user"],
        machine["appliance_store_group"],
        oct(mode),
    )


@pytest.mark.parametrize(("key", "kind"), [("appliance_capture_dir", "handoff"), ("appliance_archive_dir", "archive")])
def test_places_are_marked(machine: Machine, key: str, kind: str) -> None:
    marker = json.loads(machine.out("cat %s", f"{machine[key]}/.fieldcam-volume"))

    assert marker["kind"] == kind
    assert len(marker["id"]) >= 16


def test_the_archive_is_on_the_disk_that_was_named_or_on_a_durable_folder(machine: Machine) -> None:
    archive = machine["appliance_archive_dir"]
    found = mount_of(machine, archive)

    if not machine["storage_archive_device"]:
        assert found is None
        assert machine.out("stat --file-system --format %%T %s", archive).strip() not in {"tmpfs", "ramfs"}
        return
    assert found is not None, "the disk is not mounted"
    assert found["fstype"] == machine["storage_archive_fstype"]
    assert {"noatime", "nodev", "nosuid", "noexec"} <= set(found["options"].split(","))
    unit = machine.out("systemd-escape --path --suffix=mount %s", archive).strip()
    shown = machine.out("systemctl cat %s", unit)
    assert "nofail" in shown, "a missing disk would send the machine into emergency mode"
    assert machine.host.service(unit).is_enabled


def test_consumers_have_a_folder_each_and_nobody_else_has_one(machine: Machine) -> None:
    folder = machine["appliance_results_dir"]

    found = {line.split()[0]: line.split()[1:] for line in machine.out(
        "find %s -mindepth 1 -maxdepth 1 -printf '%%f %%U %%g %%m\\n'", folder).splitlines()}  # fmt: skip

    expected = [str(machine["appliance_consumer_uid"]), machine["appliance_store_group"], "2770"]
    assert dict.fromkeys(machine["appliance_consumers"], expected).items() <= found.items()


def test_live_holds_no_more_frames_than_it_may(machine: Machine) -> None:
    limit = machine["appliance_max_images"] or 100

    count = int(machine.out("find %s -name '*.jpg' | wc -l", f"{machine['appliance_capture_dir']}/live"))

    assert 1 <= count <= limit + 2  # one being written, one being removed


def test_pictures_can_be_read_by_the_group_and_written_by_capture_and_manager_only(machine: Machine) -> None:
    live = f"{machine['appliance_capture_dir']}/live"
    newest = machine.out("ls -t %s | head -1", live).strip()

    picture = machine.host.file(f"{live}/{newest}")

    assert (picture.user, picture.group) == (machine["appliance_capture_user"], machine["appliance_store_group"])
    assert picture.mode & 0o002 == 0

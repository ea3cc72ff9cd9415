# SPDX-License-Identifier: MIT
"""Consumers in containers: they work, and can read frames and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.host.conftest import CHECKOUT, Machine

PROBE = (CHECKOUT / "tests" / "docker" / "programs" / "probe.py").read_text(encoding="utf-8")
# What the service wrote itself; and what Docker puts into every container, where the kernel refuses the rest.
NOT_COUNTED = (
    "/results/",
    "/dev/shm",
    "/dev/mqueue",
    "/dev/pts",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/proc/",
)


def containers(machine: Machine) -> dict[str, Any]:
    """Return what Docker says of each container of the project, by service."""
    if not machine["docker_enabled"]:
        return {}
    label = f"label=com.docker.compose.project={machine['consumers_project']}"
    ids = machine.out("docker ps --all --quiet --filter %s", label).split()
    if not ids:
        return {}
    told = json.loads(machine.out("docker inspect " + " ".join(["%s"] * len(ids)), *ids))
    return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in told}


@pytest.fixture
def running(machine: Machine) -> dict[str, Any]:
    """The containers of a machine that has some."""
    if not machine["consumers_services"]:
        pytest.skip("consumers_services is empty")
    return containers(machine)


def test_the_services_that_were_named_run_and_no_other(machine: Machine) -> None:
    found = {name: one["State"]["Status"] for name, one in containers(machine).items()}

    assert found == dict.fromkeys(machine["consumers_services"], "running")


def test_every_service_says_that_it_works(machine: Machine, running: dict[str, Any]) -> None:
    assert {name: one["State"]["Health"]["Status"] for name, one in running.items() if "Health" in one["State"]} == (
        dict.fromkeys((name for name, one in running.items() if "Health" in one["State"]), "healthy")
    )
    reasons = {reason["code"] for reason in machine.fieldcam("status")["reasons"]}
    assert "CONSUMER_SILENT" not in reasons


def test_no_service_has_a_right_that_it_does_not_need(machine: Machine, running: dict[str, Any]) -> None:
    for name, one in running.items():
        limits = one["HostConfig"]
        assert one["Config"]["User"].split(":")[0] == str(machine["consumers_uid"]), name
        assert (limits["Privileged"], limits["ReadonlyRootfs"]) == (False, True), name
        assert (limits["CapDrop"], limits["CapAdd"] or []) == (["ALL"], []), name
        assert any(option.startswith("no-new-privileges") for option in limits["SecurityOpt"]), name
        assert (limits["Devices"] or [], limits["PidMode"], limits["IpcMode"] != "host") == ([], "", True), name
        assert limits["LogConfig"]["Config"]["max-size"], name
        assert not [mount for mount in one["Mounts"] if "docker.sock" in mount.get("Source", "")], name


def test_from_inside_nothing_can_be_written_but_results(machine: Machine, running: dict[str, Any]) -> None:
    pid = machine.out("systemctl show --property=MainPID --value fieldcam.service").strip()
    for name, one in running.items():
        if Path(one["Config"]["Image"].partition(":")[0]).parent.name != "fieldcam":
            continue  # an image of one's own may have no Python
        ran = machine.out("docker exec %s python -c %s %s", one["Id"], PROBE, pid)
        found = json.loads(ran.splitlines()[-1])
        writable = [path for path in found["writable_folders"] + found["writable_files"] + found["changed_frames"]
                    if not path.startswith(NOT_COUNTED)]  # fmt: skip
        assert sorted(writable) == ["/results", "/tmp"], name
        assert (found["worked"], found["sockets"]) == ([], []), name
        assert (found["status"]["CapEff"], found["status"]["NoNewPrivs"]) == ("0" * 16, "1"), name


def test_frames_are_mounted_read_only_and_from_where_they_are(machine: Machine, running: dict[str, Any]) -> None:
    for name, one in running.items():
        mounts = machine.out("cat /proc/%s/mountinfo", str(one["State"]["Pid"]))
        for target in ("/mnt/storage/camera_capture", "/mnt/storage/camera_ring"):
            line = next(line.split() for line in mounts.splitlines() if line.split()[4] == target)
            assert {"ro", "nosuid", "nodev", "noexec"} <= set(line[5].split(",")), name


def test_containers_start_after_the_hand_off_area(machine: Machine, running: dict[str, Any]) -> None:
    assert running
    after = machine.out("systemctl show --property=After --value docker.service").split()

    if machine["storage_live_backing"] != "storage":
        assert "fieldcam-handoff.service" in after


def test_without_consumers_nothing_of_them_is_there(machine: Machine) -> None:
    if machine["consumers_services"]:
        pytest.skip("there are some")

    assert not machine.host.file(f"{machine['consumers_config_dir']}/compose.yaml").exists
    assert machine.run("systemctl is-active --quiet fieldcam-consumers.service").rc != 0

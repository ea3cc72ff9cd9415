# SPDX-License-Identifier: MIT
"""S20: a consumer's container can only read. A program inside tries everything it can think of.

What it finds is compared whole: a new writable place, device or mount fails these tests until somebody has said why it
may be there. The last tests take limits away and see that the same program notices.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.docker.conftest import Site, make_site, tmpfs
from tests.docker.consumers import SERVICES, SKY, Consumers

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.slow]

AREA, RING = "/mnt/storage/camera_capture", "/mnt/storage/camera_ring"
STANDARD_DEVICES = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "pts/ptmx")}
# Docker covers these with /dev/null, so that nobody reads there what the kernel says about the whole machine.
COVERED = "/proc/"
# Open to all on kernels since 6.4: a line written there asks for notices on that very descriptor and changes nothing.
NOTICES = "/proc/pressure/"
IDLE = ("python", "-c", "import signal; signal.pause()")


def probe(printed: str) -> dict[str, Any]:
    """Return what the probe found."""
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def run_probe(consumers: Consumers, service: str = SKY) -> dict[str, Any]:
    """Run the probe as a service would run; it is told of this process as one of the host."""
    return probe(consumers.run(service, "python", "/programs/probe.py", str(os.getpid())))


def writable(found: dict[str, Any]) -> list[str]:
    """Return all places and files it could write to, in order."""
    files = [path for path in found["writable_files"] if not path.startswith(NOTICES)]
    return sorted(found["writable_folders"] + files + found["changed_frames"])


@pytest.fixture
def frames(image: str, refused_limits: dict[str, str]) -> Iterator[Site]:
    """Yield a site with frames in the hand-off area and a file in its ring; nothing runs."""
    with make_site(image, refused_limits, ring="off") as made:
        with made.tree.capture_process():
            pass  # it has stored a frame before it says that it runs
        (made.ring / "main-00000000000000000001.slot").write_bytes(b"pixels")
        yield made


@pytest.fixture(scope="module", params=SERVICES)
def found(request: pytest.FixtureRequest, image: str, refused_limits: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield what the probe found in each of the two services, while the appliance captures."""
    with make_site(image, refused_limits, ring="off") as made, made.tree.capture_process():
        (made.ring / "main-00000000000000000001.slot").write_bytes(b"pixels")
        yield run_probe(made.consumers, request.param)


def test_only_its_own_results_and_tmp_can_be_written(found: dict[str, Any]) -> None:
    assert writable(found) == ["/results", "/tmp"]
    assert found["files_tried"] > 5000
    assert [path for path in found["devices"] if path not in STANDARD_DEVICES and not path.startswith(COVERED)] == []
    assert found["sockets"] == []
    assert found["worked"] == []


def test_it_has_no_capability_no_way_to_get_one_no_network_and_no_sight_of_the_host(found: dict[str, Any]) -> None:
    status = found["status"]

    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert set(status["Uid"].split() + status["Gid"].split()) == {"10001"}
    assert found["groups"] == [10001]
    assert found["interfaces"] == ["lo"]
    assert os.getpid() not in found["visible_processes"]
    assert len(found["visible_processes"]) == 2  # init and the probe


def test_frames_are_mounted_so_that_nothing_there_can_be_written_run_or_used_as_a_device(found: dict[str, Any]) -> None:
    mounts = found["mounts"]

    for point in (AREA, RING):
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(mounts[point])
        assert not [option for option in mounts[point] if option.startswith(("shared:", "master:"))]
    assert "ro" in mounts["/"]
    assert {"rw", "nosuid", "nodev", "noexec"} <= set(mounts["/tmp"])
    assert [point for point in mounts if "docker.sock" in point] == []


def test_the_kernel_refuses_even_the_owner_of_the_frames(frames: Site) -> None:
    frames.consumers.changes = {SKY: {"user": "0:0"}}  # who owns them here; still without capabilities

    found = run_probe(frames.consumers)

    assert [path for path in writable(found) if path.startswith("/mnt")] == []
    assert found["status"]["Uid"].split()[0] == "0"


def test_a_file_system_below_the_hand_off_area_does_not_come_in_writable(site: Site) -> None:
    live = site.tree.paths().live
    with tmpfs(live, "size=1m,mode=1777"):  # what an operator gets who mounts one there without options
        (live / "capture_20260101_000000_000.jpg").write_bytes(b"frame")
        (live / "capture_20260101_000000_000.jpg").chmod(0o666)

        found = run_probe(site.consumers)

    assert writable(found) == ["/results", "/tmp"]
    assert [point for point in found["mounts"] if point.startswith(f"{AREA}/")] == []


def test_a_file_system_that_is_mounted_there_later_does_not_come_in_at_all(site: Site) -> None:
    live = site.tree.paths().live
    live.mkdir(exist_ok=True)
    with shared(site.area):  # as systemd has it on every host
        site.consumers.commands = {SKY: IDLE}
        site.consumers.up(SKY)
        with tmpfs(live, "size=1m,mode=1777"):
            found = probe(site.consumers.execute(SKY, "python", "/programs/probe.py", str(os.getpid())))
            site.consumers.down()

            assert live.is_mount()  # what Docker unmounts for the container stays mounted here
    assert writable(found) == ["/results", "/tmp"]
    assert [point for point in found["mounts"] if point.startswith(f"{AREA}/")] == []


def test_the_memory_and_the_processes_of_a_container_are_limited(frames: Site, refused_limits: dict[str, str]) -> None:
    frames.consumers.commands = {SKY: IDLE}
    frames.consumers.up(SKY)

    limits = frames.consumers.inspect(SKY)["HostConfig"]

    if refused_limits:
        pytest.skip(f"this machine cannot apply them: {refused_limits}")
    assert limits["Memory"] == 256 * 1024 * 1024
    assert limits["PidsLimit"] == 128
    assert limits["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "3"}}
    assert (limits["Privileged"], limits["Devices"] or [], limits["Init"]) == (False, [], True)
    assert limits["RestartPolicy"]["Name"] == "unless-stopped"


def test_a_missing_folder_for_results_is_an_error_and_is_not_made(site: Site) -> None:
    site.results(SKY).rmdir()

    with pytest.raises(AssertionError, match="no such file or directory"):
        site.consumers.up(SKY)

    assert not site.results(SKY).exists()


def test_removing_containers_and_volumes_leaves_frames_and_results(frames: Site) -> None:
    frames.consumers.commands = {SKY: IDLE}
    frames.consumers.up(SKY)
    frames.consumers.execute(SKY, "python", "-c", "open('/results/kept', 'w').close()")
    before = sorted(path for path in frames.area.rglob("*"))

    frames.consumers.down()

    assert sorted(path for path in frames.area.rglob("*")) == before
    assert (frames.results(SKY) / "kept").exists()


class TestTheProbeNotices:
    """A probe that never caught anything would prove nothing."""

    def test_a_writable_hand_off_area(self, frames: Site) -> None:
        open_volume = {"driver_opts": {"type": "none", "o": "bind", "device": str(frames.area)}}
        frames.consumers.changes = {SKY: {"user": "0:0"}}
        frames.consumers.volumes = {"sky-handoff": open_volume}
        frame = next(frames.tree.paths().live.glob("*.jpg"))

        found = run_probe(frames.consumers)

        assert {AREA, f"{AREA}/live"} <= set(found["writable_folders"])
        assert f"{AREA}/live/{frame.name}" in found["changed_frames"]
        assert not frame.exists()

    def test_a_file_system_below_a_read_only_bind_mount(self, site: Site) -> None:
        live = site.tree.paths().live
        plain = {"type": "bind", "source": str(site.area), "target": "/bound", "read_only": True}
        site.consumers.changes = {SKY: {"volumes": [f"{Path(__file__).parent}/programs:/programs:ro", plain]}}
        with tmpfs(live, "size=1m,mode=1777"):
            found = run_probe(site.consumers)

        recursive_since = 25
        if int(server_version().split(".")[0]) < recursive_since:
            assert "/bound/live" in found["writable_folders"]
        else:
            assert writable(found) == ["/results", "/tmp"]

    def test_capabilities(self, frames: Site) -> None:
        frames.consumers.changes = {
            SKY: {"user": "0:0", "cap_add": ["SYS_ADMIN", "MKNOD"], "security_opt": ["seccomp:unconfined"]}
        }

        worked = run_probe(frames.consumers)["worked"]

        assert {"mount a tmpfs", "make a node for the disk in /tmp", f"remount {AREA}"} <= set(worked)

    def test_a_look_at_the_host(self, frames: Site) -> None:
        frames.consumers.changes = {SKY: {"pid": "host"}}

        assert os.getpid() in run_probe(frames.consumers)["visible_processes"]


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Make a folder a mount of its own whose copies hear of what is mounted below it."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "--make-shared", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def server_version() -> str:
    """Return the version of the daemon."""
    return subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"], check=True, capture_output=True, text=True
    ).stdout.strip()

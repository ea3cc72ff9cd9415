# SPDX-License-Identifier: MIT
"""Two consumers read one camera at once, and go on whatever happens around them.

One appliance and two containers run for the whole module: one reads as it comes (the ring, when it can), the other
only files. Each test disturbs something and then sees both go on, without a restart.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from tests.appliance_tree import wait_until
from tests.docker.conftest import Site, make_site, tmpfs
from tests.docker.consumers import SKY, VEHICLES, compose_command, docker
from tests.requirements import require

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.slow]

READ = ("python", "/programs/read_frames.py")
CAMERA = {"backend": "simulated", "interval": 0.2, "width": 640, "height": 480}
FRESH_SECONDS = 1.0  # five intervals: the machine may be busy


def seen(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those lines of a reader that are frames."""
    return [line for line in lines if "sequence" in line]


@dataclass
class Running:
    """An appliance whose capture process can be ended and started, and two readers."""

    site: Site
    capture: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Start the capture process; return when it has stored a frame."""
        self.process = self.capture.enter_context(self.site.tree.capture_process())

    def end(self, number: signal.Signals) -> None:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        self.process.wait(timeout=20)
        self.capture.close()

    def frames(self, service: str) -> list[dict[str, Any]]:
        """Return the frames a reader has seen."""
        return seen(self.site.consumers.lines(service))

    def wait_for_frames(self, service: str, number: int) -> None:
        """Return when a reader has seen so many."""
        self.site.consumers.wait_until(service, lambda lines: len(seen(lines)) >= number, f"sees {number} frames")

    def wait_for_silence(self, service: str) -> None:
        """Return when a reader has said that there is no fresh frame."""
        self.site.consumers.wait_until(service, lambda lines: "error" in lines[-1], "says that there is none")

    @contextmanager
    def both_go_on(self, frames: int = 4) -> Iterator[None]:
        """After the block both readers get new frames, in the containers that they began in."""
        started = {service: self._identity(service) for service in (SKY, VEHICLES)}
        yield
        for service in (SKY, VEHICLES):
            self.wait_for_frames(service, len(self.frames(service)) + frames)
            assert self._identity(service) == started[service]

    def _identity(self, service: str) -> tuple[Any, ...]:
        about = self.site.consumers.inspect(service)
        return about["Id"], about["State"]["StartedAt"], about["State"]["Running"], about["RestartCount"]


@pytest.fixture(scope="module")
def running(image: str, refused_limits: dict[str, str]) -> Iterator[Running]:
    """Run it all; the archive is a mount of its own, as a disk is."""
    require(compose_command(), "needs docker compose, or docker-compose")
    with make_site(image, refused_limits, cameras={"default": CAMERA}) as site:
        disk, archive = site.tree.root / "disk", site.tree.config.archive_dir
        shutil.move(archive, disk)
        archive.mkdir()  # without a marker, as below a disk that is not mounted
        subprocess.run(["mount", "--bind", disk, archive], check=True)
        running = Running(site)
        try:
            running.start()
            site.consumers.commands = {SKY: READ, VEHICLES: (*READ, "files")}
            site.consumers.up(SKY, VEHICLES)
            for service in (SKY, VEHICLES):
                running.wait_for_frames(service, 10)
            yield running
        finally:
            running.capture.close()
            subprocess.run(["umount", "--lazy", archive], check=False, stderr=subprocess.DEVNULL)


def test_two_containers_see_the_same_camera_through_the_ring_and_through_files(running: Running) -> None:
    with running.both_go_on():
        pass

    ring, files = running.frames(SKY), running.frames(VEHICLES)
    for frames in (ring, files):
        assert all(before["sequence"] < after["sequence"] for before, after in pairwise(frames))
        assert all(0 <= frame["age"] < FRESH_SECONDS for frame in frames)
        assert {tuple(frame["shape"]) for frame in frames} == {(480, 640, 3)}
    assert {frame["source"] for frame in files} == {"file"}
    assert {frame["source"] for frame in ring[-4:]} == {"ring"}
    brightness = {frame["sequence"]: frame["mean"] for frame in files}
    same = [abs(frame["mean"] - brightness[frame["sequence"]]) for frame in ring if frame["sequence"] in brightness]
    assert len(same) >= 5
    assert max(same) < 1.0  # decoded from the ring and from JPEG: the same picture


def test_every_frame_arrives_once_and_soon(running: Running) -> None:
    with running.both_go_on(frames=10):
        pass

    for service in (SKY, VEHICLES):
        last = [frame["sequence"] for frame in running.frames(service)][-10:]
        assert last[-1] - last[0] <= 12  # on a busy machine one or two may be passed over, as with a real camera


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_capture_ends_and_comes_back(running: Running, number: signal.Signals) -> None:
    with running.both_go_on():
        last = {service: running.frames(service)[-1]["sequence"] for service in (SKY, VEHICLES)}
        running.end(number)
        for service in (SKY, VEHICLES):
            running.wait_for_silence(service)
        running.start()

    for service in (SKY, VEHICLES):
        assert running.frames(service)[-1]["sequence"] > last[service]
        assert all(frame["age"] < 2.0 for frame in running.frames(service))


def test_the_frames_of_the_hand_off_area_are_deleted_by_hand(running: Running) -> None:
    live, metadata = running.site.tree.paths().live, running.site.tree.paths().metadata

    with running.both_go_on():
        for _ in range(5):
            for path in (*live.iterdir(), *metadata.iterdir()):
                path.unlink(missing_ok=True)


def test_the_archive_is_unmounted_and_mounted_again(running: Running) -> None:
    tree = running.site.tree
    archive = tree.config.archive_dir

    with running.both_go_on():
        subprocess.run(["umount", archive], check=True)  # not lazily: nothing may hold on to it
        wait_until(lambda: (beat := tree.beat()) and beat.archive != "ok", "capture misses it", 30)
    with running.both_go_on():
        subprocess.run(["mount", "--bind", tree.root / "disk", archive], check=True)
        wait_until(lambda: (beat := tree.beat()) and beat.archive == "ok", "capture has it again", 30)

    assert tree.ask("capture")["path"]


def test_everything_is_locked_by_another_container(running: Running) -> None:
    locker = running.site.more_consumers()
    locker.commands = {SKY: ("python", "/programs/hold_locks.py")}
    locker.up(SKY)
    locker.wait_until(SKY, lambda lines: lines and lines[-1]["held"] >= 30, "holds locks")

    with running.both_go_on(frames=10):
        before = running.site.tree.beat()
    after = running.site.tree.beat()

    assert any(line["in_ring"] for line in locker.lines(SKY))
    assert before
    assert after
    assert after.images_captured >= before.images_captured + 8
    assert after.error_count == before.error_count
    locker.down()
    running.site.consumers.wait_until(SKY, lambda lines: lines[-1].get("source") == "ring", "uses the ring again")


def test_a_container_is_killed_while_it_reads(running: Running) -> None:
    other = running.site.more_consumers()
    other.commands = {SKY: READ}
    other.up(SKY)
    other.wait_until(SKY, lambda lines: len(seen(lines)) >= 3, "reads")

    with running.both_go_on():
        docker("kill", other.container(SKY))


def test_programs_written_for_the_documented_library_run_as_they_are(running: Running) -> None:
    consumers = running.site.more_consumers()

    found = json.loads(consumers.run(VEHICLES, "python", "/programs/documented_use.py").splitlines()[-1])

    shape = [480, 640, 3]
    assert found["opencv"] == {"opened": True, "ok": True, "shape": shape}
    assert (found["service"], found["picamera2"], found["patient"]) == (shape, shape, True)
    assert found["latest"][:2] == [True, shape]
    assert {"timestamp", "age", "sequence", "filename"} <= set(found["latest"][2])
    assert {"cache_hit_rate", "average_image_age", "images_per_second"} <= set(found["status"])
    assert 2 < found["status"]["images_per_second"] < 8  # asked for four times a second, of a camera that takes five
    assert found["cached"]


def test_the_appliance_is_there_after_its_consumers(image: str, refused_limits: dict[str, str]) -> None:
    with make_site(image, refused_limits, cameras={"default": CAMERA}) as site:
        site.consumers.commands = {SKY: READ}
        site.consumers.up(SKY)
        site.consumers.wait_until(SKY, lambda lines: lines and "error" in lines[-1], "says that there is nothing")
        with site.tree.capture_process():
            site.consumers.wait_until(SKY, lambda lines: lines[-1].get("source") == "ring", "has frames of the ring")


def test_a_hand_off_area_that_is_mounted_anew_is_seen_when_one_service_is_restarted(site: Site) -> None:
    look = ("python", "-c", "import os; print(sorted(os.listdir('/mnt/storage/camera_capture')))")
    site.consumers.commands = dict.fromkeys((SKY, VEHICLES), ("python", "-c", "import signal; signal.pause()"))
    site.consumers.up(SKY, VEHICLES)
    with tmpfs(site.area):
        (site.area / "new").touch()
        before = site.consumers.execute(SKY, *look)
        site.consumers.compose("restart", "--timeout", "1", SKY)
        after = site.consumers.execute(SKY, *look)
        other = site.consumers.execute(VEHICLES, *look)

    assert "new" not in before
    assert after.strip() == "['new']"
    assert other == before

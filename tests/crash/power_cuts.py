# SPDX-License-Identifier: MIT
"""R2 and R3: power cuts on a loop-mounted ext4.

`EXT4_IOC_SHUTDOWN` without flushing the log drops everything that was not made durable, as pulling the plug does. The
acknowledgements are on another file system and are read after the cut: reading them before gives the disk time.
What this proves is the protocol; a disk that lies about having flushed is another matter.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.crash import inspection, mutants
from tests.crash.inspection import Ledger
from tests.crash.outcome import Outcome, Progress, no_progress
from tests.crash.publisher import Job, started
from tests.crash.site import CLOCK_PLANS, CrashClock, Site, read_acks

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
IMAGE_BYTES = 256 << 20
CUTS_PER_DISK = 25
MAX_DELAY_SECONDS = 0.1
SHARE_AFTER_FIRST_ACK = 0.75
UNMOUNT_TRIES = 50
UNMOUNT_PAUSE_SECONDS = 0.05


class LoopDisk:
    """An ext4 file system in a file, of which the plug can be pulled.

    Args:
        folder: a private folder for the file and the mount point.
    """

    def __init__(self, folder: Path) -> None:
        self._image = folder / "disk.img"
        self.mount_point = folder / "disk"
        self.mount_point.mkdir()
        with self._image.open("wb") as stream:
            stream.truncate(IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(self._image))

    def mount(self) -> None:
        """Mount it; the journal is replayed."""
        _run("mount", "-o", "loop", str(self._image), str(self.mount_point))

    def cut_power(self) -> None:
        """Drop everything that is not on the disk; every later call fails with EIO."""
        descriptor = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        """Unmount it, and make sure of it: a mount that is still busy would be mounted over the next time.

        Raises:
            RuntimeError: it stays busy.
        """
        pause = threading.Event()
        said = ""
        for _ in range(UNMOUNT_TRIES):
            done = subprocess.run(["umount", str(self.mount_point)], capture_output=True, text=True, check=False)
            if done.returncode == 0 or not self.mount_point.is_mount():
                return
            said = done.stderr.strip()
            pause.wait(UNMOUNT_PAUSE_SECONDS)
        raise RuntimeError(f"cannot unmount {self.mount_point}: {said}")

    def close(self) -> None:
        """Unmount it if needed, and make sure that no loop device is left.

        Raises:
            RuntimeError: something of it is left.
        """
        if self.mount_point.is_mount():
            self.unmount()
        pause = threading.Event()
        left = ""
        for _ in range(UNMOUNT_TRIES):
            left = _run("losetup", "--associated", str(self._image))
            if not left:
                return
            pause.wait(UNMOUNT_PAUSE_SECONDS)
        raise RuntimeError(f"a loop device is left: {left}")


def why_not() -> str | None:
    """Return why power cuts cannot be tried on this machine, or None when they can."""
    if os.geteuid() != 0:
        return "needs root, for mounts"
    missing = [name for name in ("mkfs.ext4", "mount", "umount", "losetup") if shutil.which(name) is None]
    if missing:
        return f"needs on PATH: {', '.join(missing)}"
    try:
        with _disk() as disk:
            disk.mount()
            disk.cut_power()
            disk.unmount()
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        detail = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        return f"needs loop devices and an ext4 that can be shut down: {detail}"
    return None


def power_cuts(
    tries: int,
    *,
    mutant: str | None = None,
    enough: int | None = None,
    seed: int = 1,
    progress: Progress = no_progress,
) -> tuple[Outcome, Outcome]:
    """Cut the power while a publisher runs; return what that says of R2 and of R3.

    Args:
        tries: how often.
        mutant: a mistake to make.
        enough: end after so many failures.
        seed: of moments and clocks.
        progress: told after every try.
    """
    chance = random.Random(seed)
    files, catalog = Outcome("R2", "power cut at a random moment"), Outcome("R3", "catalog after each of these cuts")
    started_at = time.monotonic()
    done = 0
    while done < tries and not _enough(enough, files, catalog):
        with _disk() as disk:
            disk.mount()
            site = Site(disk.mount_point, disk.mount_point.parent / "run")
            site.deploy()
            inspection.restart(site, "boot-0")
            inspection.recover_catalog(site, CrashClock())
            ledger = Ledger()
            for _ in range(min(CUTS_PER_DISK, tries - done)):
                done += 1
                found = _one_cut(disk, site, ledger, chance, done, mutant)
                files.acknowledged = files.acknowledged + found.acknowledged
                files.tried(found.files)
                catalog.tried(found.catalog)
                progress()
                if _enough(enough, files, catalog):
                    break
                if mutant is not None:
                    ledger = Ledger()  # what is lost stays lost: count it once
            disk.unmount()
    if not files.acknowledged:
        files.tried(["nothing was ever acknowledged"])
    files.seconds = catalog.seconds = time.monotonic() - started_at
    return files, catalog


class _Found:
    def __init__(self, acknowledged: int, files: list[str], catalog: list[str]) -> None:
        self.acknowledged = acknowledged
        self.files = files
        self.catalog = catalog


def _one_cut(
    disk: LoopDisk, site: Site, ledger: Ledger, chance: random.Random, number: int, mutant: str | None
) -> _Found:
    acks = disk.mount_point.parent / "acks"
    acks.unlink(missing_ok=True)
    job = Job(
        site,
        acks,
        CLOCK_PLANS[number % len(CLOCK_PLANS)],
        boot_id=f"boot-{number}",
        seed=number,
        mutant=mutant,
        # With a pause most cuts come between two captures, as they do at one frame a second; without, within one. The
        # catalog's own flushes would hide what a capture leaves unflushed, so every other job is without it.
        pause_ms=chance.choice((0.0, 30.0)),
        record=number % 2 == 0,
    )
    with started(job) as publisher:
        if chance.random() < SHARE_AFTER_FIRST_ACK:
            publisher.wait_for_ack(acks)
        threading.Event().wait(chance.uniform(0.01, MAX_DELAY_SECONDS))
        disk.cut_power()
        publisher.kill()
        publisher.wait()
    disk.unmount()
    disk.mount()
    shutil.rmtree(site.run)  # a tmpfs on a Pi
    site.run.mkdir()
    fresh = read_acks(acks)
    boot_id = f"boot-{number + 1}"
    paths = site.paths
    problems = inspection.visible_problems(paths.captures, paths.captures, ledger)
    problems += inspection.acknowledged_problems(site, ledger, fresh)
    with mutants.applied(mutant):
        problems += inspection.restart(site, boot_id)
    # Live frames are not flushed: what a cut damaged may be seen until the capture process has started, not after.
    problems += inspection.visible_problems(paths.live, paths.metadata, Ledger())
    rows = inspection.recover_catalog(site, CrashClock(boot_id=boot_id)) + inspection.catalog_problems(site)
    return _Found(len(fresh), problems, rows)


def _enough(enough: int | None, *outcomes: Outcome) -> bool:
    return enough is not None and any(outcome.failures >= enough for outcome in outcomes)


@contextmanager
def _disk() -> Iterator[LoopDisk]:
    folder = Path(tempfile.mkdtemp(prefix="fc-cut-"))
    try:
        disk = LoopDisk(folder)
        try:
            yield disk
        finally:
            disk.close()
    finally:
        # rmtree would empty a file system that is still mounted there.
        if not (folder / "disk").is_mount():
            shutil.rmtree(folder, ignore_errors=True)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

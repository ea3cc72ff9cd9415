# SPDX-License-Identifier: MIT
"""The process that is crashed: it publishes captures and live frames as fast as it can, through the real store.

It is forked from the harness, so that a crash costs milliseconds; a kill or a power cut only meets the files it has
open and the calls it makes. Each capture is acknowledged after `publish` returned, and then recorded in the catalog
as the manager would.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
import random
import select
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from fieldcam.catalog.writer import CatalogWriter
from fieldcam.core.clock import Instant
from fieldcam.core.errors import FieldcamError
from fieldcam.core.frame import Kind
from fieldcam.store.live_roll import LiveRoll
from fieldcam.store.volume import Volume
from fieldcam.store.writer import FrameWriter
from tests.crash import mutants
from tests.crash.site import CAMERA_NUMBER, Ack, AckError, ClockPlan, CrashClock, Site, sidecar_of, unique_jpeg

LIVE_IMAGES = 4
FIRST_ACK_LOOKS = 2_000
_PR_SET_PTRACER = 0x59616D61


@dataclass(frozen=True, slots=True)
class Job:
    """What a publisher is to do.

    Attributes:
        site: where.
        acks: file of the acknowledgements, on a file system that is not crashed.
        plan, boot_id, seed: its clock.
        mutant: a mistake it makes, or None.
        frames: how many captures; None = until it is crashed.
        record: whether it records captures in the catalog.
        pause_ms: longest random pause after a capture: without any, the next capture's fsync saves the last one's day.
        gated: wait for a byte before the places are opened, so that a tracer can be attached.
    """

    site: Site
    acks: Path
    plan: ClockPlan = "real"
    boot_id: str = "boot-0"
    seed: int = 0
    mutant: str | None = None
    frames: int | None = None
    record: bool = True
    pause_ms: float = 0.0
    gated: bool = False


@dataclass(frozen=True, slots=True)
class Publisher:
    """A publisher that runs."""

    pid: int
    ready: int
    gate: int

    def wait_at_gate(self) -> None:
        """Wait until it stands at its gate."""
        os.read(self.ready, 1)

    def open_gate(self) -> None:
        """Let it begin."""
        os.write(self.gate, b"x")

    def wait_for_ack(self, acks: Path) -> None:
        """Wait until it has acknowledged a capture; a publisher that never does is no failure here."""
        pause = threading.Event()
        for _ in range(FIRST_ACK_LOOKS):
            if acks.exists() and acks.stat().st_size:
                return
            pause.wait(0.001)

    def kill(self) -> None:
        """Kill it as the kernel would."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, seconds: float = 30.0) -> int:
        """Wait for its end; return the wait status.

        Raises:
            TimeoutError: it did not end; it was killed.
        """
        descriptor = os.pidfd_open(self.pid)
        try:
            ready, _, _ = select.select([descriptor], [], [], seconds)
            if not ready:
                self.kill()
            _, status = os.waitpid(self.pid, 0)
        finally:
            os.close(descriptor)
        if not ready:
            raise TimeoutError(f"publisher {self.pid} did not end within {seconds:g} s")
        return status


@contextmanager
def started(job: Job) -> Iterator[Publisher]:
    """Fork a publisher; it is gone when the block ends."""
    unique_jpeg("")  # imports and encodes here, so that the calls of a publish are those of the store alone
    ready_read, ready_write = os.pipe()
    gate_read, gate_write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Python 3.12 warns of forking beside other threads (pytest-xdist has one): ours takes none of their locks.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 3
        try:
            status = _main(job, ready_write, gate_read)
        except BaseException:  # noqa: BLE001 - a forked child must never return into the harness
            traceback.print_exc()
        finally:
            os._exit(status)
    publisher = Publisher(pid, ready_read, gate_write)
    try:
        yield publisher
    finally:
        for descriptor in (ready_read, ready_write, gate_read, gate_write):
            os.close(descriptor)
        try:
            publisher.kill()
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # it has ended, and was waited for


def _main(job: Job, ready: int, gate: int) -> int:
    """Publish; return 0 when all frames are done, 1 when the disk said no."""
    acks = os.open(job.acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)  # where only a parent may trace
    with mutants.applied(job.mutant, lambda ack: ack.write(acks)):
        if job.gated:
            os.write(ready, b"x")
            select.select([gate], [], [])
        try:
            _publish(job, acks)
        except (FieldcamError, AckError):
            return 1
    return 0


def _publish(job: Job, acks: int) -> None:
    clock = CrashClock(job.plan, job.boot_id, job.seed)
    chance = random.Random(job.seed)
    layout, paths = job.site.layout, job.site.paths
    captures = FrameWriter.for_captures(Volume.open(layout.archive_dir, "archive"), paths, CAMERA_NUMBER)
    live = FrameWriter.for_live(
        Volume.open(layout.capture_dir, "handoff"), paths, durable=False, boot_id=clock.boot_id()
    )
    roll = LiveRoll(paths.live, paths.metadata, max_images=LIVE_IMAGES, max_bytes=None, boot_id=clock.boot_id())
    never = threading.Event()
    sequence = itertools.count(clock.boottime_ns() // 1_000_000)
    opened = closing(CatalogWriter.open(layout.catalog, "capture", clock)) if job.record else nullcontext()
    with opened as catalog:
        for number in itertools.count() if job.frames is None else range(job.frames):
            kinds: tuple[Kind, ...] = ("capture", "live")
            for kind in kinds:
                jpeg = unique_jpeg(f"{os.getpid()} {job.seed} {number} {kind}")
                sha256 = hashlib.sha256(jpeg).hexdigest()
                sidecar = sidecar_of(jpeg, sha256, kind, next(sequence), Instant.now(clock))
                if kind == "live":
                    roll.make_room(len(jpeg))
                    stored = live.publish(jpeg, sidecar)
                    roll.added(stored.path, len(jpeg))
                    continue
                stored = captures.publish(jpeg, sidecar)
                if stored.sidecar.id is None:
                    raise AssertionError("a capture has an id")
                if job.mutant != "ack-first":
                    Ack(stored.sidecar.id, stored.sidecar.filename, sha256).write(acks)
                if catalog is not None:
                    catalog.record(stored.sidecar)
            captures.identity.save_if_due(clock.boottime_ns())
            if job.pause_ms:
                never.wait(chance.random() * job.pause_ms / 1000)

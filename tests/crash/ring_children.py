# SPDX-License-Identifier: MIT
"""Processes of the ring harness: writers and readers, forked from one that has everything loaded and no threads."""

from __future__ import annotations

import hashlib
import json
import os
import random
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldcam.core.clock import SystemClock
from fieldcam.core.frame import Sidecar
from fieldcam.handoff.ring_reader import Lease, RingReader
from fieldcam.handoff.ring_writer import RingWriter
from fieldcam.handoff.slot import slot_bytes
from fieldcam.handoff.watch import FolderWatch
from tests.frames_on_disk import make_sidecar

VOLUME = "torture"
SIZES = ((96, 64), (64, 96), (120, 50))
END = "end"  # a file of that name in the folder ends the readers
FRAMES_BETWEEN_WORDS = 50


class Child:
    """A forked process that says JSON lines.

    Attributes:
        pid: of the process.
    """

    def __init__(self, work: Callable[[Say], None]) -> None:
        reading, writing = os.pipe()
        hearing, telling = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(reading)
                os.close(telling)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                work(Say(writing, hearing))
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        os.close(hearing)
        self._reading, self._telling = reading, telling
        self._rest = b""
        self._is_gone = False

    def hear(self, seconds: float) -> Any:
        """Return the next line; None when there is none in that time or the process has ended."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._reading], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._reading, 1 << 16) if ready else b""
            if not data:
                return None
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        return json.loads(line)

    def go_on(self) -> None:
        """Let it go on from `Say.wait`."""
        os.write(self._telling, b"x")

    def send(self, number: int) -> None:
        """Send a signal."""
        if not self._is_gone:
            os.kill(self.pid, number)

    def end(self) -> None:
        """Kill it and wait until it is gone. Idempotent."""
        if self._is_gone:
            return
        self.send(signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._is_gone = True
        os.close(self._reading)
        os.close(self._telling)


class Say:
    """What a child says to its parent, and hears from it."""

    def __init__(self, writing: int, hearing: int) -> None:
        self._writing, self._hearing = writing, hearing

    def __call__(self, words: Any) -> None:
        """Say something."""
        data = json.dumps(words).encode() + b"\n"
        while data:
            data = data[os.write(self._writing, data) :]

    def wait(self) -> None:
        """Wait for `Child.go_on`."""
        os.read(self._hearing, 1)


@contextmanager
def children(*works: Callable[[Say], None]) -> Iterator[list[Child]]:
    """Fork processes; all that are in the list at the end are killed."""
    running: list[Child] = []
    try:
        for work in works:
            running.append(Child(work))  # noqa: PERF401 - those that run are ended when a later one fails
        yield running
    finally:
        for child in running:
            child.end()


def content(sequence: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return the pixels of a frame, which follow from its sequence."""
    noise = hashlib.shake_128(b"%d %d" % (sequence, width)).digest(width * height * 3)
    return np.frombuffer(noise, np.uint8).reshape(height, width, 3)


def sidecar(sequence: int, width: int, height: int) -> Sidecar:
    """Return what is known of it."""
    clock = SystemClock()
    return make_sidecar(
        0,
        sequence=sequence,
        boot_id=clock.boot_id(),
        monotonic_ns=clock.boottime_ns(),
        width=width,
        height=height,
        kind="live",
    )


def problems_of(lease: Lease) -> list[str]:
    """Return what is wrong with a frame."""
    height, width = lease.pixels.shape[:2]
    if not (lease.pixels == content(lease.sequence, width, height)).all():
        return [f"torn: frame {lease.sequence}"]
    return []


def make_writer(folder: Path, *, slots: int = 8, size: tuple[int, int] = SIZES[0]) -> RingWriter:
    """Make a writer with room for so many slots in use."""
    return RingWriter(folder, volume_id=VOLUME, clock=SystemClock(), max_bytes=2 * slots * slot_bytes(*size))


def make_reader(folder: Path) -> RingReader:
    """Make a reader."""
    return RingReader(folder, volume_id=VOLUME, clock=SystemClock())


def wait_for_reader(writer: RingWriter) -> None:
    """Return when somebody reads."""
    while not writer.wanted():
        time.sleep(0.001)


def publish(writer: RingWriter, sequence: int, size: tuple[int, int]) -> int:
    """Publish the frame of that sequence; return in how many streams."""
    return writer.publish_pixels(sidecar(sequence, *size), content(sequence, *size))


def read_all(folder: Path, say: Say, *, seed: int) -> None:
    """Read and check whatever comes until the end; say every now and then how many frames, and what was wrong."""
    dice = random.Random(seed)
    reader, watch = make_reader(folder), FolderWatch([folder])
    newest, count = -1, 0
    problems: list[str] = []
    while True:
        if count >= FRAMES_BETWEEN_WORDS or problems:
            say({"read": count, "problems": problems})
            count, problems = 0, []
        lease = reader.newest(newer_than=newest)
        if lease is None:
            if (folder / END).exists():
                break
            watch.wait(0.2)
            continue
        with lease:
            count += 1
            problems += problems_of(lease)
            if lease.sequence <= newest:
                problems.append(f"older: {lease.sequence} after {newest}")
            newest = lease.sequence
            # Some are held while the writer goes on, and must stay as they are.
            if dice.random() < 0.1:
                time.sleep(dice.random() * 0.004)
                problems += problems_of(lease)
    say({"read": count, "problems": problems})


def hold_one(folder: Path, say: Say) -> None:
    """Take one frame and keep it, say which; when asked, whether it still is the same; until killed."""
    reader, watch = make_reader(folder), FolderWatch([folder])
    while (lease := reader.newest()) is None:
        watch.wait(0.1)
    before = lease.copy()
    say(lease.sequence)
    while True:
        say.wait()
        say(bool((lease.pixels == before).all()))

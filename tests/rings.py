# SPDX-License-Identifier: MIT
"""Rings for tests: small frames whose every pixel can be told from their sequence, writers, readers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldcam.core.clock import Clock
from fieldcam.core.frame import Sidecar
from fieldcam.handoff.ring_reader import Lease, RingReader
from fieldcam.handoff.ring_writer import RingWriter
from fieldcam.handoff.slot import slot_bytes
from tests.frames_on_disk import FakeClock, make_sidecar

SHM = Path("/dev/shm")
VOLUME = "0d7c3b1e-handoff"
WIDTH, HEIGHT = 48, 32


def frame_of(sequence: int, width: int = WIDTH, height: int = HEIGHT) -> npt.NDArray[np.uint8]:
    """Return the pixels of a frame: noise, but always the same for a sequence."""
    noise = random.Random(sequence).randbytes(width * height * 3)
    return np.frombuffer(noise, np.uint8).reshape(height, width, 3)


def sidecar_of(sequence: int, clock: Clock, **changes: Any) -> Sidecar:
    """Return what is known of a raw frame before its file is written."""
    unknown: dict[str, Any] = {"filename": "", "sha256": "", "file_size": 0, "kind": "live", "id": None}
    known = {"boot_id": clock.boot_id(), "sequence": sequence, "width": WIDTH, "height": HEIGHT}
    return make_sidecar(0, **(unknown | known | changes))


def is_whole(lease: Lease) -> bool:
    """Return whether these are the pixels of the frame that the lease says it is."""
    height, width = lease.pixels.shape[:2]
    return bool((lease.pixels == frame_of(lease.sequence, width, height)).all())


def budget(slots: int, width: int = WIDTH, height: int = HEIGHT) -> int:
    """Return the bytes with which a ring may have so many slots in use."""
    return 2 * slots * slot_bytes(width, height)


class Rings:
    """Writers and readers of one folder, with a clock that stands still.

    Attributes:
        folder: of the ring.
        clock: of all of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self._opened: list[RingWriter | RingReader] = []

    def writer(self, slots: int = 8, **options: Any) -> RingWriter:
        """Make a writer with room for so many small slots."""
        values: dict[str, Any] = {"volume_id": VOLUME, "clock": self.clock, "max_bytes": budget(slots)}
        writer = RingWriter(self.folder, **(values | options))
        self._opened.append(writer)
        return writer

    def reader(self, stream: str = "main", **options: Any) -> RingReader:
        """Make a reader."""
        values: dict[str, Any] = {"volume_id": VOLUME, "clock": self.clock}
        reader = RingReader(self.folder, stream, **(values | options))
        self._opened.append(reader)
        return reader

    def publish(self, writer: RingWriter, *sequences: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> int:
        """Publish frames; return in how many streams in all."""
        return sum(
            writer.publish_pixels(sidecar_of(n, self.clock, width=size[0], height=size[1]), frame_of(n, *size))
            for n in sequences
        )

    def pair(self, slots: int = 8, **options: Any) -> tuple[RingWriter, RingReader]:
        """Make a writer, and a reader that it knows of."""
        writer, reader = self.writer(slots, **options), self.reader()
        assert reader.newest() is None
        return writer, reader

    def slots(self) -> list[Path]:
        """Return the files of the ring's frames."""
        return sorted(self.folder.glob("*.slot"))

    def close(self) -> None:
        """Close what was made."""
        for opened in self._opened:
            opened.close()


def leased(lease: Lease | None) -> Lease:
    """Return the lease; there must be one."""
    assert lease is not None, "no frame"
    return lease


def open_descriptors() -> list[int]:
    """Return the descriptors that this process has open."""
    return sorted(int(path.name) for path in Path("/proc/self/fd").iterdir())

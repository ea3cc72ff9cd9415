# SPDX-License-Identifier: MIT
"""A ring with a writer in this process, and pixels to put into it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fieldcam.bench.consumer_process import ConsumerProcess
from fieldcam.bench.memcpy import frame_bytes
from fieldcam.bench.published import DIFFERENT_PICTURES, Area, Published, disk_folder, draw_pictures, ram_folder
from fieldcam.bench.row import NotMeasuredError, Size
from fieldcam.bench.waiting import pause
from fieldcam.core.clock import SystemClock
from fieldcam.core.jpeg import decode
from fieldcam.handoff.ring_writer import RingWriter

# Half of the budget may be slots that are in use: the newest, the one being written, and what readers hold.
SLOTS = 12
READER_SECONDS = 10.0
_LOOK_SECONDS = 0.01
_HEADER_BYTES = 65_536  # more than a slot has beside its pixels


@dataclass(frozen=True, slots=True)
class RingBench:
    """A ring in RAM beside a hand-off area on disk.

    Attributes:
        area: the hand-off area; its marker names the ring's frames.
        folder: of the ring.
        writer: publishes.
        pixels: decoded pictures of the area.
    """

    area: Area
    folder: Path
    writer: RingWriter
    pixels: list[npt.NDArray[np.uint8]]

    def publish_pixels(self, reader: ConsumerProcess) -> Published:
        """Publish a raw frame, stamped before anything was done with it; the reader must be about to read.

        Raises:
            NotMeasuredError: nobody read, or no slot was free.
        """
        self.wait_for(reader)
        sidecar = self.area.sidecar()
        pixels = self.pixels[sidecar.sequence % len(self.pixels)]
        at_ns = self.area.now_ns()
        if self.writer.publish_pixels(sidecar, pixels) < 1:
            raise NotMeasuredError(f"the ring took no frame: {self.writer.stats}")
        return Published(sidecar.sequence, "", at_ns)

    def wait_for(self, reader: ConsumerProcess) -> None:
        """Return when somebody reads: on a busy machine it takes its time to get there.

        Raises:
            NotMeasuredError: nobody does, or the reader ended.
        """
        deadline = time.monotonic() + READER_SECONDS
        while "main" not in self.writer.wanted():
            reader.check()
            if time.monotonic() > deadline:
                raise NotMeasuredError(f"nobody reads the ring within {READER_SECONDS:g} s")
            pause(_LOOK_SECONDS)


@contextmanager
def running(size: Size) -> Iterator[RingBench]:
    """Make the area, on disk, and the ring, in RAM.

    Args:
        size: of the frames.

    Raises:
        NotMeasuredError: there is too little RAM for it.
    """
    budget = SLOTS * (frame_bytes(size) + _HEADER_BYTES)
    with disk_folder() as root, ram_folder(budget) as folder:
        area = Area(root, draw_pictures(size), size)
        writer = RingWriter(folder, volume_id=area.volume_id, clock=SystemClock(), max_bytes=budget)
        with closing(writer):
            yield RingBench(
                area, folder, writer, [decode(area.picture(number)) for number in range(DIFFERENT_PICTURES)]
            )

# SPDX-License-Identifier: MIT
"""The least that an array of one's own costs: the copy of its bytes, on this machine, in this run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fieldcam.bench.row import Size
from fieldcam.bench.samples import Summary, summarize


@dataclass(slots=True)
class Memcpy:
    """Copies arrays and notes the seconds, into an array that is there and into new ones.

    A new array costs more: the kernel gives its pages one by one, and zeroes them.

    Args:
        pixels: pictures to copy in turn.
    """

    pixels: Sequence[npt.NDArray[np.uint8]]
    reused_seconds: list[float] = field(default_factory=list)
    fresh_seconds: list[float] = field(default_factory=list)
    _out: npt.NDArray[np.uint8] | None = None

    def copy(self) -> None:
        """Copy once each way."""
        source = self.pixels[len(self.reused_seconds) % len(self.pixels)]
        if self._out is None:
            self._out = np.zeros_like(source)  # its pages are there before the clock runs
        started = time.perf_counter()
        np.copyto(self._out, source)
        between = time.perf_counter()
        fresh = source.copy()
        ended = time.perf_counter()
        del fresh
        self.reused_seconds.append(between - started)
        self.fresh_seconds.append(ended - between)

    @property
    def reused(self) -> Summary:
        """Seconds into an array that is there."""
        return summarize(self.reused_seconds)

    @property
    def fresh(self) -> Summary:
        """Seconds into a new array."""
        return summarize(self.fresh_seconds)


def frame_bytes(size: Size) -> int:
    """Return the bytes of a decoded frame."""
    return size[0] * size[1] * 3

# SPDX-License-Identifier: MIT
"""What a provider counts: the figures of `get_status()`. Safe for several threads."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

WINDOW_SECONDS = 10.0
_MOST = 1000  # images of the window; whoever takes more a second gets the rate of the last thousand
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted.

    Attributes:
        loaded: images that were taken in, each once, out of a file or the ring.
        hit_rate: percentage of the requests that were served without reading a file; 0.0 before the first.
        last_update: when an image was taken in last, in seconds since the epoch; None before the first.
        average_age: of the images given in the last ten seconds, in seconds when they were given; 0.0 for none.
        per_second: how many were given, over the same time; 0.0 for less than two.
    """

    loaded: int
    hit_rate: float
    last_update: float | None
    average_age: float
    per_second: float


class Tally:
    """Counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded = self._requests = self._hits = 0
        self._last_update: float | None = None
        self._taken_in: dict[int, None] = {}  # in the order they came
        self._given: deque[tuple[float, float]] = deque(maxlen=_MOST)

    def note_loaded(self, sequence: int, wall_ns: int) -> bool:
        """Note that an image was taken in; return whether it is the first time."""
        with self._lock:
            if sequence in self._taken_in:
                return False
            self._taken_in[sequence] = None
            if len(self._taken_in) > _REMEMBERED:
                del self._taken_in[next(iter(self._taken_in))]
            self._loaded += 1
            self._last_update = wall_ns / 1e9
            return True

    def note_given(self, now: float, age: float, *, is_hit: bool) -> None:
        """Note that an image of that age was given at `now`, without reading a file if it is a hit."""
        with self._lock:
            self._requests += 1
            self._hits += is_hit
            self._given.append((now, age))

    def forget_loaded(self) -> None:
        """Count images anew: those of another volume have other numbers."""
        with self._lock:
            self._taken_in.clear()

    def figures(self, now: float) -> Figures:
        """Return what was counted up to `now`."""
        with self._lock:
            recent = [(at, age) for at, age in self._given if now - at <= WINDOW_SECONDS]
            seconds = recent[-1][0] - recent[0][0] if recent else 0.0
            return Figures(
                loaded=self._loaded,
                hit_rate=100.0 * self._hits / self._requests if self._requests else 0.0,
                last_update=self._last_update,
                average_age=sum(age for _, age in recent) / len(recent) if recent else 0.0,
                per_second=(len(recent) - 1) / seconds if seconds > 0 else 0.0,
            )

# SPDX-License-Identifier: MIT
"""The pace of a preview stream that is generated, not delivered."""

from __future__ import annotations

import threading
import time


class Pacer:
    """Lets a stream go on at most `fps` times a second, until it is stopped.

    Turns that were missed are left out. Monotonic time is read here and not from the injected clock, because what is
    measured is a real wait.

    Args:
        fps: turns a second.
        stop: ends the stream, also in mid-wait.
    """

    def __init__(self, fps: float, stop: threading.Event) -> None:
        self._interval = 1.0 / fps
        self._stop = stop
        self._due = time.monotonic()

    def wait(self) -> bool:
        """Wait for the next turn, the first of which is now; return False when the stream is to end."""
        now = time.monotonic()
        if now < self._due and self._stop.wait(self._due - now):
            return False
        self._due = max(self._due, now - self._interval) + self._interval
        return not self._stop.is_set()

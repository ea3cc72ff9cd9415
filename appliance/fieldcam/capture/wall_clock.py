# SPDX-License-Identifier: MIT
"""Watches wall time. Nothing here depends on it, but whoever reads the times in the sidecars wants to know."""

from __future__ import annotations

import logging
from typing import Literal

from fieldcam.capture.announcements import Announcements
from fieldcam.core.clock import Clock, is_clock_synchronized
from fieldcam.core.logs import get_logger

_log = get_logger(__name__)
STEP_NS = 1_000_000_000


class WallClock:
    """Says how far wall time can be trusted, and when it jumped.

    Args:
        camera: for the log.
        clock: time.
        trust: `ntp`, or `assume` when the operator vouches for the clock.
        announce: told of each jump.
    """

    def __init__(self, camera: str, clock: Clock, trust: Literal["ntp", "assume"], announce: Announcements) -> None:
        self._camera = camera
        self._clock = clock
        self._trust = trust
        self._announce = announce
        self._offset_ns = clock.wall_ns() - clock.boottime_ns()
        self.quality = "unsynchronized"

    def look(self) -> None:
        """Look at the clock; about once a second."""
        offset_ns = self._clock.wall_ns() - self._clock.boottime_ns()
        step_ns = offset_ns - self._offset_ns
        self._offset_ns = offset_ns
        if abs(step_ns) >= STEP_NS:
            message = f"wall time jumped by {step_ns / 1e9:+.1f} s"
            _log.event(logging.WARNING, "CLOCK_STEPPED", message, camera=self._camera)
            self._announce.event("clock_stepped", "", {"seconds": step_ns / 1e9})
        if is_clock_synchronized():
            self.quality = "synchronized"
        else:
            self.quality = "assumed" if self._trust == "assume" else "unsynchronized"

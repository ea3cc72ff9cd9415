# SPDX-License-Identifier: MIT
"""Time on a board without a clock chip.

A Pi boots with the wrong date and jumps when NTP answers. So nothing that matters is decided by wall time: ages and
orders use CLOCK_BOOTTIME (it goes on through suspend and no one can set it), which is comparable only within one boot;
the boot is named by `/proc/sys/kernel/random/boot_id`, the same inside a container as on the host.
"""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Protocol

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
_TIME_ERROR = 5  # adjtimex(2): the kernel's clock is not synchronised


class Clock(Protocol):
    """Where time comes from; injected, so that tests can stop it or make it jump."""

    def boottime_ns(self) -> int:
        """Return nanoseconds of CLOCK_BOOTTIME."""

    def wall_ns(self) -> int:
        """Return nanoseconds since the epoch, as far as this machine knows."""

    def boot_id(self) -> str:
        """Return the name of this boot."""


class SystemClock:
    """The clocks of this machine."""

    def boottime_ns(self) -> int:
        """Return nanoseconds of CLOCK_BOOTTIME."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def wall_ns(self) -> int:
        """Return nanoseconds since the epoch, as far as this machine knows."""
        return time.time_ns()

    def boot_id(self) -> str:
        """Return the name of this boot."""
        return _boot_id()


@cache
def _boot_id() -> str:
    return BOOT_ID_FILE.read_text(encoding="ascii").strip()


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on both clocks: comparable by boottime within a boot, by wall time across boots."""

    boot_id: str
    boottime_ns: int
    wall_ns: int

    @classmethod
    def now(cls, clock: Clock) -> Instant:
        """Return the present moment."""
        return cls(clock.boot_id(), clock.boottime_ns(), clock.wall_ns())

    def at_boottime(self, boottime_ns: int) -> Instant:
        """Return the moment of this boot at which CLOCK_BOOTTIME read `boottime_ns`, wall time carried along."""
        return Instant(self.boot_id, boottime_ns, self.wall_ns - (self.boottime_ns - boottime_ns))

    def seconds_since(self, earlier: Instant) -> float:
        """Return how much later this moment is than `earlier`, in seconds; negative when it is not later."""
        if self.boot_id == earlier.boot_id:
            return (self.boottime_ns - earlier.boottime_ns) / 1e9
        return (self.wall_ns - earlier.wall_ns) / 1e9


def is_fresh(age_seconds: float, max_age_seconds: float) -> bool:
    """Return whether a frame of that age is fresh. A negative age (a clock was set back) never is."""
    return 0.0 <= age_seconds <= max_age_seconds


def rfc3339(wall_ns: int) -> str:
    """Return wall time as RFC 3339 UTC with milliseconds, such as `2026-01-13T10:30:45.123Z`."""
    moment = datetime.fromtimestamp(wall_ns // 1_000_000 / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def is_clock_synchronized() -> bool:
    """Return whether the kernel says that NTP (or PTP) keeps the clock.

    adjtimex(2) answers for chrony, timesyncd and ntpd alike. A forced `modes = 0` only reads.
    """
    buffer = ctypes.create_string_buffer(512)  # struct timex is 208 bytes on 64-bit Linux
    state: int = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    return 0 <= state < _TIME_ERROR

# SPDX-License-Identifier: MIT
"""When the next live frame is due: fixed slots on CLOCK_BOOTTIME, so nothing drifts and no clock step matters."""

from __future__ import annotations

from dataclasses import dataclass, replace

FIRST_BACKOFF_SECONDS = 1.0
# A camera that comes back is noticed within this, unless it was away for long (8 minutes at least).
USUAL_BACKOFF_SECONDS = 5.0
PATIENT_FAILURES = 100
MAX_BACKOFF_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """Slots at `anchor_ns + n * interval_ns`. A slot that cannot be met is left out, never made up for.

    Attributes:
        anchor_ns: CLOCK_BOOTTIME of slot 0.
        interval_ns: distance of two slots.
        next_slot: number of the slot that comes next.
    """

    anchor_ns: int
    interval_ns: int
    next_slot: int = 0

    @property
    def next_at_ns(self) -> int:
        """CLOCK_BOOTTIME of the next slot."""
        return self.anchor_ns + self.next_slot * self.interval_ns

    def is_due(self, now_ns: int) -> bool:
        """Return whether the next slot has come."""
        return now_ns >= self.next_at_ns

    def take(self, now_ns: int) -> tuple[Schedule, int]:
        """Take the latest slot that has come; return the schedule after it and how many slots were left out."""
        latest = max(self.next_slot, (now_ns - self.anchor_ns) // self.interval_ns)
        return replace(self, next_slot=latest + 1), latest - self.next_slot

    def skip_until(self, now_ns: int) -> tuple[Schedule, int]:
        """Leave out every slot that has come; return the schedule after them and how many they were."""
        if not self.is_due(now_ns):
            return self, 0
        after, left_out = self.take(now_ns)
        return after, left_out + 1


def backoff_seconds(failures: int) -> float:
    """Return how long to leave a camera alone after so many failures in a row: 1, 2, 4, 5 … 5, then 60, for ever."""
    if failures <= 0:
        return 0.0
    if failures > PATIENT_FAILURES:
        return MAX_BACKOFF_SECONDS
    return min(USUAL_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 16))

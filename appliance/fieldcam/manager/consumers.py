# SPDX-License-Identifier: MIT
"""Which consumers give a sign of life: `heartbeat.json` in the folder of each, judged by CLOCK_BOOTTIME."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fieldcam.core.clock import Clock, Instant, is_fresh
from fieldcam.manager.result_folders import read_beat


def silent_consumers(results_dir: Path, expected: Iterable[str], max_silence: float, clock: Clock) -> tuple[str, ...]:
    """Return those of the expected consumers that have been silent for longer than `max_silence` seconds.

    A beat of another boot, from the future, or in the name of somebody else is none.
    """
    now = Instant.now(clock)
    return tuple(
        service
        for service in expected
        if (beat := read_beat(results_dir, service)) is None or not is_fresh(beat.age_seconds(now), max_silence)
    )

# SPDX-License-Identifier: MIT
"""P8: live frames come on fixed slots. None is missed, and the slots do not drift."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence

from fieldcam.bench.live_run import INTERVAL_SECONDS, LiveRun
from fieldcam.bench.row import NotMeasuredError, Row, judge, milliseconds
from fieldcam.bench.samples import Summary, summarize

MAX_DRIFT_SECONDS = 0.005  # what the median of a tenth of the frames can tell from jitter
_LEAST_FRAMES = 3


def row(run: LiveRun) -> Row:
    """Return the line.

    Raises:
        NotMeasuredError: too few frames were seen.
    """
    if len(run.exposed_ns) < _LEAST_FRAMES:
        raise NotMeasuredError(f"only {len(run.exposed_ns)} live frames were seen in {run.seconds:.0f} s")
    missing = missing_slots(run.exposed_ns, INTERVAL_SECONDS)
    # A capture that stopped for good leaves no gap between two frames; the last slot may be under way.
    missing += max(0, int(run.seconds / INTERVAL_SECONDS) - 1 - len(run.exposed_ns) - missing)
    counted = sum(run.slots_skipped.values())
    missed = max(missing, counted)
    late = lateness(run.exposed_ns, INTERVAL_SECONDS)
    drift = drift_seconds(run.exposed_ns, INTERVAL_SECONDS)
    loop_turn = run.loop_began[-1] / (len(run.loop_began) - 1)
    loop_drift = (loop_turn - INTERVAL_SECONDS) * (run.seconds / loop_turn)
    notes = [
        (
            f"{len(run.exposed_ns)} frames in {run.seconds:.0f} s; the capture process counted {counted} slots left "
            f"out, the sidecars show {missing}; frames begin at most {milliseconds(late.max)} after the earliest "
            f"(median {milliseconds(late.median)}, p99 {milliseconds(late.p99)})"
        ),
        (
            f"baseline: capture, write, sleep(1.0) with the same work, {len(run.loop_began)} turns of "
            f"{loop_turn:.3f} s, scaled to the same time"
        ),
    ]
    if run.slots_skipped:
        notes.append("causes: " + ", ".join(f"{cause} {number}" for cause, number in run.slots_skipped.items()))
    return Row(
        row="P8",
        what=f"live at {1 / INTERVAL_SECONDS:g} Hz for {run.seconds / 60:.1f} min, 12 MP JPEG",
        ours=f"{missed} slots missed, drift {milliseconds(drift)}",
        baseline=f"{int(loop_drift // INTERVAL_SECONDS)} slots missed, drift {milliseconds(loop_drift)}",
        ratio=abs(drift) / loop_drift,
        bar="0 missed, drift 0 (≤ 5 ms)",
        verdict=judge(holds=missed == 0 and abs(drift) <= MAX_DRIFT_SECONDS),
        notes=tuple(notes),
        samples={"lateness_seconds": late},
        figures={
            "frames": float(len(run.exposed_ns)),
            "seconds": run.seconds,
            "slots_missing_in_sidecars": float(missing),
            "slots_skipped_as_counted": float(counted),
            "drift_seconds": drift,
            "documented_turn_seconds": loop_turn,
            "documented_drift_seconds": loop_drift,
        },
    )


def missing_slots(exposed_ns: Sequence[int], interval_seconds: float) -> int:
    """Return how many slots between the first and the last frame have none."""
    steps = [(after - before) / 1e9 for before, after in itertools.pairwise(exposed_ns)]
    return sum(max(0, round(step / interval_seconds) - 1) for step in steps)


def lateness(exposed_ns: Sequence[int], interval_seconds: float) -> Summary:
    """Return how much later than the most punctual frame each one began within its slot, in seconds."""
    phases = _phases(exposed_ns, interval_seconds)
    return summarize([phase - min(phases) for phase in phases])


def drift_seconds(exposed_ns: Sequence[int], interval_seconds: float) -> float:
    """Return by how much the last tenth of the frames begins later within its slots than the first tenth."""
    phases = _phases(exposed_ns, interval_seconds)
    tenth = max(1, len(phases) // 10)
    return statistics.median(phases[-tenth:]) - statistics.median(phases[:tenth])


def _phases(exposed_ns: Sequence[int], interval_seconds: float) -> list[float]:
    """Return where each frame lies against a grid through the first one, in seconds.

    The number of the slot goes by the distance to the frame before, so that a loop that drifts by more than a slot is
    not taken for one that is on time.
    """
    phases, slot = [0.0], 0
    for before, after in itertools.pairwise(exposed_ns):
        slot += max(1, round((after - before) / 1e9 / interval_seconds))
        phases.append((after - exposed_ns[0]) / 1e9 - slot * interval_seconds)
    return phases

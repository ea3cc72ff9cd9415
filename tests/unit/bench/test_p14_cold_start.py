# SPDX-License-Identifier: MIT
from __future__ import annotations

from fieldcam.bench.p14_cold_start import Start, start_row
from fieldcam.bench.samples import summarize


def test_the_worst_start_is_judged_and_not_the_median() -> None:
    starts = [Start(0.5, 1.0, 1.5, 2.0), Start(0.5, 1.0, 3.1, 3.5), Start(0.5, 1.0, 1.6, 2.0)]

    line = start_row("here", starts, summarize([0.8]))

    assert line.verdict == "short"
    assert line.ours == "worst 3.10 s, median 1.60 s of 3"
    assert line.ratio == 2.0
    assert "frame served after 1.60 s" in line.notes[0]


def test_starts_within_three_seconds_hold_the_bar() -> None:
    line = start_row("here", [Start(0.5, 1.0, 3.0, 3.2)], summarize([0.8]))

    assert line.verdict == "pass"

# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from fieldcam.bench.p6_on_demand import Measured, row
from fieldcam.bench.row import NotMeasuredError

SIZE = (640, 480)


def measured(captures: list[float], late_rows: int = 0) -> Measured:
    return Measured(
        captures=captures,
        draws=[0.010, 0.010, 0.500],
        encodes=[0.050, 0.050, 0.050],
        bare=[0.020, 0.020, 0.300],
        documented=[0.1, 0.1],
        stand_in_cpu=[0.06],
        appliance_cpu=0.08 * len(captures),
        late_rows=late_rows,
        image_bytes=3_000_000,
    )


def test_what_is_not_ours_is_subtracted_by_its_median_so_that_its_outliers_flatter_nobody() -> None:
    line = row(SIZE, measured([0.100] * 199 + [0.105]))

    overhead = line.samples["overhead_seconds"]
    assert overhead.median == pytest.approx(0.020)
    assert overhead.max == pytest.approx(0.025)
    assert line.verdict == "pass"


def test_slow_captures_fall_short_by_the_percentile() -> None:
    line = row(SIZE, measured([0.100] * 190 + [0.120] * 10))

    assert line.verdict == "short"
    assert line.samples["overhead_seconds"].p99 == pytest.approx(0.040)
    assert line.ratio == pytest.approx(0.4)


def test_an_answer_before_its_row_does_not_hold_the_bar() -> None:
    line = row(SIZE, measured([0.100] * 20, late_rows=1))

    assert line.verdict == "short"
    assert "1 answers came before their row" in line.notes


def test_a_manager_that_records_nothing_is_no_measurement() -> None:
    with pytest.raises(NotMeasuredError, match="the manager does not record"):
        row(SIZE, measured([0.100] * 20, late_rows=20))


def test_processor_time_is_per_capture() -> None:
    line = row(SIZE, measured([0.100] * 20))

    assert line.figures["cpu_seconds_per_capture"] == pytest.approx(0.08)

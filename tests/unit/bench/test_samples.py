# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from fieldcam.bench.samples import summarize


def test_the_percentile_of_few_samples_is_the_worst_of_them() -> None:
    summary = summarize([3.0, 1.0, 9.0, 2.0])

    assert (summary.n, summary.min, summary.max, summary.p99) == (4, 1.0, 9.0, 9.0)
    assert summary.median == 2.5


def test_one_bad_value_among_many_is_not_the_percentile() -> None:
    summary = summarize([1.0] * 500 + [100.0])

    assert (summary.p99, summary.max) == (1.0, 100.0)


def test_nothing_measured_has_no_summary() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        summarize([])

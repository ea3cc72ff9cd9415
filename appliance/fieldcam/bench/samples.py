# SPDX-License-Identifier: MIT
"""What is kept of many measurements of one thing."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Summary:
    """Number, median, 99th percentile, least and greatest of a set of samples, in the unit of the samples."""

    n: int
    median: float
    p99: float
    min: float
    max: float


def summarize(values: Sequence[float]) -> Summary:
    """Return the summary of at least one value.

    The percentile is a value that was measured, never one between two: with fewer than 100 samples it is the greatest.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("nothing was measured")
    return Summary(
        n=len(values),
        median=statistics.median(values),
        p99=float(np.percentile(values, 99, method="higher")),
        min=min(values),
        max=max(values),
    )

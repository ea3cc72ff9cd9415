# SPDX-License-Identifier: MIT
"""Runs the measurements one after the other: nothing that is measured has anything else beside it."""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from fieldcam.bench import (
    documented_figures,
    live_run,
    p1_file_to_array,
    p2_notice,
    p3_raw_to_array,
    p3_writer_jitter,
    p4_four_consumers,
    p5_cached_again,
    p6_on_demand,
    p8_cadence,
    p12_disk_writes,
    p14_cold_start,
    p14_make_up,
    provider_figures,
)
from fieldcam.bench.row import NotMeasuredError, Plan, Progress, Row
from fieldcam.core.errors import FieldcamError

ROWS = ("P1", "P2", "P3", "P4", "P5", "P6", "P8", "P12", "P14", "doc")


@dataclass(frozen=True, slots=True)
class Failure:
    """A measurement that did not come about, and why."""

    row: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that was found.

    Attributes:
        rows: the lines, in the order of their names.
        failures: what could not be measured.
        seconds: how long all of it took.
    """

    rows: tuple[Row, ...]
    failures: tuple[Failure, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Part:
    """One measurement and the rows that come out of it."""

    rows: tuple[str, ...]
    measure: Callable[[Plan, Progress], list[Row]]


def parts(plan: Plan) -> list[Part]:
    """Return the measurements of a plan, in their order."""
    found = [
        Part(("P1",), p1_file_to_array.measure),
        Part(("P2",), p2_notice.measure),
        Part(("P3",), p3_raw_to_array.measure),
        Part(("P3",), p3_writer_jitter.measure),
        Part(("P4", "doc"), p4_four_consumers.measure),
        Part(("P5", "doc"), p5_cached_again.measure),
        Part(("doc",), provider_figures.measure),
        Part(("P6",), p6_on_demand.measure),
        Part(("P8", "P12"), _measure_live),
        Part(("P14",), p14_cold_start.measure),
        Part(("doc",), documented_figures.measure),
    ]
    if plan.checkout is not None:
        found.insert(-1, Part(("P14",), p14_make_up.measure))
    return found


def run(plan: Plan, wanted: Collection[str], progress: Progress, measurements: list[Part] | None = None) -> Outcome:
    """Measure the wanted rows; what cannot be measured does not keep the rest from it.

    Args:
        plan: how much.
        wanted: names of rows.
        progress: shows how far it is.
        measurements: what to run; None = `parts(plan)`.
    """
    began = time.monotonic()
    rows: list[Row] = []
    failures: list[Failure] = []
    for part in parts(plan) if measurements is None else measurements:
        names = [name for name in part.rows if name in wanted]
        if not names:
            continue
        try:
            rows += [row for row in part.measure(plan, progress) if row.row in names]
        except NotMeasuredError as error:
            failures += [Failure(name, str(error)) for name in names]
        except (FieldcamError, OSError, subprocess.SubprocessError, http.client.HTTPException, ValueError) as error:
            failures += [Failure(name, f"{type(error).__name__}: {error}") for name in names]
    rows.sort(key=lambda row: ROWS.index(row.row))
    return Outcome(tuple(rows), tuple(failures), time.monotonic() - began)


def _measure_live(plan: Plan, progress: Progress) -> list[Row]:
    seen = live_run.observe(plan, progress)
    return [p8_cadence.row(seen), p12_disk_writes.row(seen)]

# SPDX-License-Identifier: MIT
"""The result as a table for people and as JSON for everything else. A bar that falls short is printed as short."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from fieldcam.bench.runner import Outcome

SCHEMA = 1
_HEADERS = ("row", "what", "ours", "baseline", "ratio", "bar", "result")
_WIDTHS = (None, 34, 26, 28, None, 16, None)


def as_text(outcome: Outcome, machine: Mapping[str, Any], *, version: str, quick: bool) -> str:
    """Return the table, the notes below it, and what could not be measured."""
    lines = [f"fieldcam {version} on " + ", ".join(f"{key} {value}" for key, value in machine.items())]
    if quick:
        lines.append("Small sizes: this shows that the benchmark works; the figures mean nothing.")
    table = [
        (row.row, row.what, row.ours, row.baseline, _ratio(row.ratio), row.bar, row.verdict.upper())
        for row in outcome.rows
    ]
    if table:
        lines += [
            "",
            tabulate(table, _HEADERS, tablefmt="simple_grid", maxcolwidths=list(_WIDTHS), disable_numparse=True),
        ]
    for row in outcome.rows:
        lines += [f"{row.row} {row.what}:" if index == 0 else f"   {note}" for index, note in _numbered(row.notes)]
    lines += [f"{failure.row}: NOT MEASURED: {failure.reason}" for failure in outcome.failures]
    short = sum(row.verdict == "short" for row in outcome.rows)
    held = sum(row.verdict == "pass" for row in outcome.rows)
    lines += [
        "",
        f"{held} bars hold, {short} fall short, {len(outcome.failures)} not measured; {outcome.seconds:.0f} s",
    ]
    return "\n".join(lines)


def as_json(outcome: Outcome, machine: Mapping[str, Any], *, version: str, quick: bool, at: str) -> dict[str, Any]:
    """Return everything, the summary of every set of samples included."""
    return {
        "schema": SCHEMA,
        "version": version,
        "at": at,
        "quick": quick,
        "seconds": round(outcome.seconds, 1),
        "machine": dict(machine),
        "rows": [dataclasses.asdict(row) for row in outcome.rows],
        "not_measured": [dataclasses.asdict(failure) for failure in outcome.failures],
    }


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio:.2f} x" if abs(ratio) >= 0.01 else f"{ratio:.1e} x"


def _numbered(notes: tuple[str, ...]) -> list[tuple[int, str]]:
    return list(enumerate(("", *notes))) if notes else []

# SPDX-License-Identifier: MIT
"""`fieldcam bench`: measures what docs/performance.md promises, on this machine."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from fieldcam.bench import machine, report, runner
from fieldcam.bench.row import Plan
from fieldcam.core.clock import SystemClock, rfc3339


@click.command(epilog="Exit codes: 0 measured, whether the bars hold or not; 1 a row could not be measured.")
@click.option("--mode", type=click.Choice(["performance"]), default="performance", help="What to measure.")
@click.option("--row", "rows", type=click.Choice(runner.ROWS), multiple=True, help="Only this row; may be repeated.")
@click.option("--quick", is_flag=True, help="Small sizes: shows that the benchmark works, its figures mean nothing.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the result to this file.")
@click.option("--seconds", type=click.IntRange(min=5), help="Length of the run in live mode (P8, P12).")
@click.option(
    "--checkout",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Checkout of fieldcam to run `make up` in a copy of (P14).",
)
def bench(
    *, mode: str, rows: tuple[str, ...], quick: bool, json_file: Path | None, seconds: int | None, checkout: Path | None
) -> None:
    """Measure this release on this machine, each figure beside a baseline of the same run.

    Uses appliances of its own in temporary folders, with simulated cameras; one that runs here is not touched, but
    takes part in the figures. All of it takes about 20 minutes, most of it live mode.
    """
    del mode  # there is one; the documents write it out
    # Programs that were started must be stopped when this one is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    plan = Plan.small(seconds) if quick else Plan.full(seconds, checkout)
    facts, version = machine.facts(), machine.version()
    outcome = runner.run(plan, rows or runner.ROWS, _progress)
    click.echo(report.as_text(outcome, facts, version=version, quick=quick))
    if json_file is not None:
        at = rfc3339(SystemClock().wall_ns())
        result = report.as_json(outcome, facts, version=version, quick=quick, at=at)
        json_file.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if outcome.failures:
        raise SystemExit(1)


@contextmanager
def _progress(label: str, steps: int) -> Iterator[Callable[[], None]]:
    with click.progressbar(length=steps, label=label, file=sys.stderr) as bar:
        yield lambda: bar.update(1)

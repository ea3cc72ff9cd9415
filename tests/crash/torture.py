# SPDX-License-Identifier: MIT
"""`make torture` and `make torture-short`: crash store and ring in every way we can, and prove that we would notice.

Exit status 1 when a promise was broken or a mutant was not caught; also when something could not be run here and
TESTS_REQUIRE_ALL is set.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
from tabulate import tabulate

from tests.crash import clock_jumps, faked_clock, kills, power_cuts, ring_torture
from tests.crash.kills import Frames
from tests.crash.mutants import MUTANTS
from tests.crash.outcome import Outcome, Progress
from tests.crash.ring_mutants import RING_MUTANTS
from tests.requirements import SWITCH, everything_is_required

# Enough for the mutant that is hardest to catch by chance (one kill in fifty meets a half-written file).
MUTANT_TRIES = 600
FSYNC = frozenset({"fsync"})
RING_STRIDE = 10
ALL_MUTANTS = MUTANTS | RING_MUTANTS


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done; 0 leaves a part out.

    Attributes:
        kills: random kills.
        point_frames: captures from which the exact points are taken.
        every_call: kill before calls that only read, too.
        cuts: power cuts.
        clock_frames: frames under a stepped clock.
        publishes: publishes under a clock that stands still, before and again after a reboot.
        process_frames: frames of the real capture process under libfaketime.
        ring_frames: frames of the ring that several processes check; a twentieth beside a reader that is stopped.
        ring_kills: kills of the ring's writer at random moments.
    """

    kills: int
    point_frames: int
    cuts: int
    clock_frames: int
    publishes: int
    process_frames: int
    ring_frames: int
    ring_kills: int
    every_call: bool


SHORT = Size(
    kills=100,
    point_frames=1,
    cuts=100,
    clock_frames=1_000,
    publishes=1_000,
    process_frames=1_000,
    ring_frames=5_000,
    ring_kills=100,
    every_call=False,
)
LONG = Size(
    kills=1_000,
    point_frames=3,
    cuts=3_000,
    clock_frames=10_000,
    publishes=10_000,
    process_frames=10_000,
    ring_frames=100_000,
    ring_kills=1_000,
    every_call=True,
)


@dataclass(frozen=True, slots=True)
class Catch:
    """What a harness did to a mutant; `at` is the try that caught it, None = not caught."""

    mutant: str
    harness: str
    at: int | None
    example: str


class Run:
    """One run: what was found, what was caught, what could not be done here."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.outcomes: list[Outcome] = []
        self.catches: list[Catch] = []
        self.left_out: list[tuple[str, str]] = []

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept and every mutant caught."""
        kept = all(outcome.failures == 0 and outcome.tries > 0 for outcome in self.outcomes)
        complete = not (self.left_out and everything_is_required())
        return kept and complete and all(catch.at is not None for catch in self.catches)

    def promises(self) -> None:
        """Try every promise."""
        size = self.size
        if size.kills:
            with progress("R1 random kills", size.kills) as tell:
                self.outcomes += kills.random_kills(size.kills, progress=tell)
        if size.point_frames and self._can("R1 exact, R5, R6", kills.why_no_tracer()):
            calls = None if size.every_call else kills.CHANGING
            with counted("R1 kill points") as begin:
                frames = Frames(size.point_frames, record=True)
                self.outcomes += kills.exact_kills(frames, calls=calls, progress=begin)
            with counted("R5 disk full") as begin:
                self.outcomes.append(kills.exact_errors("R5", "ENOSPC", kills.FULL_CALLS, progress=begin))
            with counted("R6 disk failing") as begin:
                self.outcomes.append(kills.exact_errors("R6", "EIO", kills.FAILING_CALLS, progress=begin))
        if size.cuts and self._can("R2", power_cuts.why_not()):
            with progress("R2 power cuts", size.cuts) as tell:
                self.outcomes += power_cuts.power_cuts(size.cuts, progress=tell)
        if size.clock_frames:
            with progress("R12 clock jumps", size.clock_frames) as tell:
                self.outcomes.append(clock_jumps.clock_jumps(size.clock_frames, progress=tell))
        if size.publishes:
            with progress("R23 clock stands still", 2 * size.publishes) as tell:
                self.outcomes.append(clock_jumps.frozen_clock(size.publishes, progress=tell))
        missing = None if faked_clock.library() else "needs libfaketime (Debian: package faketime)"
        if size.process_frames and self._can("R12 real process", missing):
            with progress("R12 real process", size.process_frames) as tell:
                self.outcomes.append(faked_clock.faked_process(size.process_frames, progress=tell))
        if (size.ring_frames or size.ring_kills) and self._can("R29, R30, R31", ring_torture.why_not()):
            self._ring()

    def _ring(self) -> None:
        size = self.size
        if size.ring_frames:
            with progress("R29 ring frames", ring_torture.steps(size.ring_frames)) as tell:
                self.outcomes.append(ring_torture.frames(size.ring_frames, progress=tell))
            with progress("R30 stopped reader", 3) as tell:
                self.outcomes.append(ring_torture.stopped_reader(max(50, size.ring_frames // 20), progress=tell))
        if size.ring_kills:
            with progress("R31 random kills", size.ring_kills) as tell:
                self.outcomes.append(ring_torture.random_kills(size.ring_kills, progress=tell))
            with counted("R31 kill lines") as begin:
                tell = begin(1_000 // (1 if size.every_call else RING_STRIDE))  # about: it is not known beforehand
                self.outcomes.append(ring_torture.exact_kills(1 if size.every_call else RING_STRIDE, progress=tell))

    def mutants(self) -> None:
        """Try every mutant on every harness that must catch it, as far as that harness was run at all."""
        size = self.size
        can_trace = size.point_frames and not self._was_left_out("R1 exact, R5, R6")
        can_cut = size.cuts and not self._was_left_out("R2")
        can_ring = ring_torture.why_not() is None
        harnesses: dict[str, Callable[[str], Outcome] | None] = {
            "kill": _killed if size.kills else None,
            "point": _killed_exactly if can_trace else None,
            "error": _failed if can_trace else None,
            "cut": _cut if can_cut else None,
            "clock": _jumped if size.clock_frames else None,
            "catalog": _not_recovered if size.kills else None,
            "ring": _torn if size.ring_frames and can_ring else None,
            "ring-stop": _held_up if size.ring_frames and can_ring else None,
            "ring-kill": _half if size.ring_kills and can_ring else None,
        }
        pairs = [
            (mutant.name, name, harness)
            for mutant in ALL_MUTANTS.values()
            for name in mutant.caught_by
            if (harness := harnesses[name]) is not None
        ]
        with progress("mutants", len(pairs)) as tell:
            for mutant_name, name, harness in pairs:
                found = harness(mutant_name)
                caught = found.tries if found.failures else None
                self.catches.append(Catch(mutant_name, name, caught, next(iter(found.examples), "")))
                tell()

    def print(self, table_format: str) -> None:
        """Print the tables."""
        click.echo()
        click.echo(_promise_table(self.outcomes, table_format))
        for outcome in self.outcomes:
            for example in outcome.examples:
                click.echo(f"{outcome.promise} BROKEN: {example}")
        if self.catches:
            click.echo()
            click.echo(_mutant_table(self.catches, table_format))
        for what, why in self.left_out:
            click.echo(f"NOT RUN: {what}: {why}")
        if self.left_out and everything_is_required():
            click.echo(f"{SWITCH} is set, so this is a failure")

    def _can(self, what: str, why_not: str | None) -> bool:
        if why_not is not None:
            self.left_out.append((what, why_not))
        return why_not is None

    def _was_left_out(self, what: str) -> bool:
        return any(name == what for name, _ in self.left_out)


def _killed(mutant: str) -> Outcome:
    return kills.random_kills(MUTANT_TRIES, mutant=mutant, enough=1)[0]


def _killed_exactly(mutant: str) -> Outcome:
    return kills.exact_kills(Frames(mutant=mutant), calls=kills.CHANGING, enough=1)[0]


def _failed(mutant: str) -> Outcome:
    return kills.exact_errors("R6", "EIO", FSYNC, mutant=mutant, enough=1)


def _cut(mutant: str) -> Outcome:
    return power_cuts.power_cuts(MUTANT_TRIES, mutant=mutant, enough=1)[0]


def _jumped(mutant: str) -> Outcome:
    return clock_jumps.clock_jumps(SHORT.clock_frames, mutant=mutant, enough=1)


def _not_recovered(mutant: str) -> Outcome:
    return kills.random_kills(MUTANT_TRIES, mutant=mutant, enough=1)[1]


def _torn(mutant: str) -> Outcome:
    return ring_torture.frames(SHORT.ring_frames, mutant=mutant, enough=1)


def _held_up(mutant: str) -> Outcome:
    return ring_torture.stopped_reader(50, mutant=mutant)


def _half(mutant: str) -> Outcome:
    return ring_torture.exact_kills(RING_STRIDE, mutant=mutant, enough=1)


def _promise_table(outcomes: list[Outcome], table_format: str) -> str:
    rows = [
        (
            outcome.promise,
            outcome.how,
            outcome.tries,
            outcome.failures,
            outcome.bound,
            outcome.acknowledged or "",
            round(outcome.seconds, 1),
        )
        for outcome in outcomes
    ]
    headers = ("promise", "tries are", "tries", "failures", "rate (95 %)", "acknowledged", "seconds")
    return tabulate(rows, headers, tablefmt=table_format)


def _mutant_table(catches: list[Catch], table_format: str) -> str:
    rows = [
        (
            catch.mutant,
            ALL_MUTANTS[catch.mutant].mistake,
            catch.harness,
            "NOT CAUGHT" if catch.at is None else f"caught at try {catch.at}",
            catch.example[:60],
        )
        for catch in catches
    ]
    return tabulate(rows, ("mutant", "mistake", "harness", "result", "by"), tablefmt=table_format)


@contextmanager
def progress(label: str, length: int) -> Iterator[Progress]:
    """Show a progress bar on standard error while the block runs."""
    with click.progressbar(length=length, label=f"{label:<24}", file=sys.stderr) as bar:
        yield lambda: bar.update(1)


@contextmanager
def counted(label: str) -> Iterator[Callable[[int], Progress]]:
    """Show a progress bar whose length is known only after the work has begun."""
    bars = []

    def begin(length: int) -> Progress:
        bar = click.progressbar(length=length, label=f"{label:<24}", file=sys.stderr)
        bars.append(bar.__enter__())
        return lambda: bar.update(1)

    try:
        yield begin
    finally:
        for bar in bars:
            bar.__exit__(None, None, None)


def _stop(_number: int, _frame: object) -> None:
    raise SystemExit(130)  # through every `finally`: mounts and loop devices are given back


@click.command(help="Crash the store and the ring in every way we can. Without options: the short form.")
@click.option("--long", "is_long", is_flag=True, help="The long form (about half an hour).")
@click.option("--kills", type=int, help="Random kills.")
@click.option("--point-frames", type=int, help="Captures whose every system call is a kill point.")
@click.option("--cuts", type=int, help="Power cuts (needs root).")
@click.option("--clock-frames", type=int, help="Frames under a stepped clock.")
@click.option("--publishes", type=int, help="Publishes under a clock that stands still.")
@click.option("--process-frames", type=int, help="Frames of the real capture process under libfaketime.")
@click.option("--ring-frames", type=int, help="Frames of the ring, checked by several processes.")
@click.option("--ring-kills", type=int, help="Random kills of the ring's writer.")
@click.option("--mutants/--no-mutants", default=True, help="Prove that the harness would notice.")
@click.option("--only-mutants", is_flag=True, help="Try the mutants alone.")
@click.option("--format", "table_format", default="simple", help="Of the tables, as tabulate knows them.")
def command(*, is_long: bool, mutants: bool, only_mutants: bool, table_format: str, **numbers: int | None) -> None:
    """Run and print."""
    signal.signal(signal.SIGTERM, _stop)
    logging.disable(logging.ERROR)  # what the product says of damage made on purpose
    base = LONG if is_long else SHORT
    chosen = {name: getattr(base, name) if given is None else given for name, given in numbers.items()}
    run = Run(Size(**chosen, every_call=is_long))
    if not only_mutants:
        run.promises()
    if mutants:
        run.mutants()
    run.print(table_format)
    sys.exit(0 if run.is_good else 1)


if __name__ == "__main__":
    command()

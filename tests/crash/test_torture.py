# SPDX-License-Identifier: MIT
"""The crash harness itself, with few tries, so that it does not rot between runs of `make torture`."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from tests.crash import clock_jumps, faked_clock, kills, power_cuts, torture
from tests.crash.kills import Frames
from tests.crash.mutants import MUTANTS, Mutant
from tests.crash.outcome import Outcome
from tests.crash.ring_mutants import RING_MUTANTS
from tests.requirements import SWITCH, require

pytestmark = pytest.mark.timeout(300)

WRITES = frozenset({"write", "renameat2"})


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)  # what the product says of damage made on purpose
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def tracer() -> None:
    reason = kills.why_no_tracer()
    require(reason is None, reason or "")


@pytest.fixture
def plug() -> None:
    reason = power_cuts.why_not()
    require(reason is None, reason or "")


def assert_kept(*outcomes: Outcome, tries: int) -> None:
    for outcome in outcomes:
        assert outcome.examples == []
        assert outcome.failures == 0
        assert outcome.tries >= tries


def test_kills_at_random_moments_lose_nothing_and_leave_nothing_partial() -> None:
    files, catalog = kills.random_kills(8)

    assert_kept(files, catalog, tries=8)
    assert files.acknowledged > 0


def test_a_kill_before_any_write_or_rename_leaves_nothing_partial(tracer: None) -> None:
    files, catalog = kills.exact_kills(Frames(), calls=WRITES)

    assert_kept(files, catalog, tries=8)


def test_a_full_disk_is_an_error_with_a_name_at_every_write_and_rename(tracer: None) -> None:
    assert_kept(kills.exact_errors("R5", "ENOSPC", WRITES), tries=8)


def test_a_failed_fsync_is_never_acknowledged(tracer: None) -> None:
    assert_kept(kills.exact_errors("R6", "EIO", torture.FSYNC), tries=4)


@pytest.mark.root
def test_power_cuts_lose_nothing_that_was_acknowledged(plug: None) -> None:
    files, catalog = power_cuts.power_cuts(8)

    assert_kept(files, catalog, tries=8)
    assert files.acknowledged > 0


def test_jumps_of_the_clock_change_no_name_no_order_and_no_age() -> None:
    assert_kept(clock_jumps.clock_jumps(250, jumps=25), tries=250)


def test_a_clock_that_stands_still_gives_no_name_twice() -> None:
    assert_kept(clock_jumps.frozen_clock(50), tries=100)


def test_jumps_of_its_clock_do_not_disturb_the_real_capture_process() -> None:
    require(faked_clock.library(), "needs libfaketime (Debian: package faketime)")

    assert_kept(faked_clock.faked_process(60, jumps=6), tries=60)


@pytest.mark.parametrize("mutant", [*MUTANTS.values(), *RING_MUTANTS.values()], ids=lambda mutant: mutant.name)
def test_mutants_can_be_called_as_what_they_replace(mutant: Mutant) -> None:
    """Else a harness catches a TypeError, and seems to notice the mistake."""
    for owner, attribute, replacement in mutant.patches(lambda _ack: None):
        original = getattr(owner, attribute)
        if not callable(original) or not callable(replacement):
            continue
        parameters = inspect.signature(original).parameters.values()
        positional = [
            each.name for each in parameters if each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}
        ]
        by_name = {each.name: 0 for each in parameters if each.kind == each.KEYWORD_ONLY}

        inspect.signature(replacement).bind(*positional, **by_name)


@pytest.mark.parametrize("mutant", sorted(name for name, mutant in MUTANTS.items() if "clock" in mutant.caught_by))
def test_mutants_of_the_clock_are_caught(mutant: str) -> None:
    assert clock_jumps.clock_jumps(400, mutant=mutant, enough=1).failures == 1


@pytest.mark.parametrize("mutant", ["in-place", "image-first", "ack-first"])
def test_mutants_of_the_order_are_caught_by_exact_kills(tracer: None, mutant: str) -> None:
    files, _ = kills.exact_kills(Frames(mutant=mutant), calls=frozenset({"openat", "write"}), enough=1)

    assert files.failures == 1


@pytest.mark.root
@pytest.mark.parametrize("mutant", ["in-place", "no-file-fsync", "no-folder-fsync", "ack-first", "halves-kept"])
def test_mutants_of_the_flushing_are_caught_by_power_cuts(plug: None, mutant: str) -> None:
    files, _ = power_cuts.power_cuts(60, mutant=mutant, enough=1)

    assert files.failures == 1


@pytest.mark.parametrize("mutant", ["name-reused", "ids-forgotten"])
def test_mutants_of_the_memory_are_caught_by_kills(mutant: str) -> None:
    files, _ = kills.random_kills(60, mutant=mutant, enough=1)

    assert files.failures == 1


def test_a_catalog_that_is_not_recovered_is_noticed() -> None:
    _, catalog = kills.random_kills(60, mutant="no-reconcile", enough=1)

    assert catalog.failures == 1


def test_an_ignored_fsync_error_is_noticed(tracer: None) -> None:
    outcome = kills.exact_errors("R6", "EIO", torture.FSYNC, mutant="fsync-ignored", enough=1)

    assert outcome.failures == 1


NOTHING = ["--kills=0", "--point-frames=0", "--cuts=0", "--clock-frames=0", "--publishes=0", "--process-frames=0"]
NOTHING += ["--ring-frames=0", "--ring-kills=0"]


def test_the_command_prints_what_was_tried_and_how_sure_that_makes_us() -> None:
    result = CliRunner().invoke(torture.command, [*NOTHING, "--clock-frames=100", "--no-mutants"])

    assert result.exit_code == 0
    assert "< 3 %" in result.output


def test_a_broken_promise_is_named_and_the_command_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    real = clock_jumps.clock_jumps
    monkeypatch.setattr(
        clock_jumps, "clock_jumps", lambda frames, **kwargs: real(frames, mutant="age-by-wall-time", **kwargs)
    )

    result = CliRunner().invoke(torture.command, [*NOTHING, "--clock-frames=20", "--no-mutants"])

    assert result.exit_code == 1
    assert "R12 BROKEN: age:" in result.output


def test_a_mutant_that_is_not_caught_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torture, "_jumped", lambda _mutant: Outcome("R12", "", tries=1))

    result = CliRunner().invoke(torture.command, [*NOTHING, "--clock-frames=1", "--only-mutants"])

    assert result.exit_code == 1
    assert "NOT CAUGHT" in result.output


@pytest.mark.parametrize(("switch", "status"), [("", 0), ("1", 1)])
def test_what_cannot_be_run_here_is_named_and_is_a_failure_when_everything_is_required(
    monkeypatch: pytest.MonkeyPatch, switch: str, status: int
) -> None:
    monkeypatch.setattr(power_cuts, "why_not", lambda: "needs root, for mounts")
    monkeypatch.setenv(SWITCH, switch)

    result = CliRunner().invoke(torture.command, [*NOTHING, "--cuts=1", "--clock-frames=5", "--no-mutants"])

    assert result.exit_code == status
    assert "NOT RUN: R2: needs root, for mounts" in result.output

# SPDX-License-Identifier: MIT
"""The harness of the ring itself, with few tries; `make torture` has the numbers."""

from __future__ import annotations

import pytest

from tests.crash import ring_torture
from tests.crash.outcome import Outcome
from tests.crash.ring_mutants import RING_MUTANTS
from tests.requirements import require

# They take both cores and measure times: one after another.
pytestmark = pytest.mark.timeout(300)
SEARCHES = {
    "ring": lambda mutant: ring_torture.frames(5_000, mutant=mutant, enough=1),
    "ring-kill": lambda mutant: ring_torture.exact_kills(10, mutant=mutant, enough=1),
    "ring-stop": lambda mutant: ring_torture.stopped_reader(50, mutant=mutant),
}


@pytest.fixture(autouse=True)
def _memory() -> None:
    reason = ring_torture.why_not()
    require(reason is None, reason or "")


def assert_kept(outcome: Outcome, tries: int) -> None:
    assert outcome.examples == []
    assert outcome.failures == 0
    assert outcome.tries >= tries


def test_no_reader_sees_a_torn_frame_while_sizes_change_and_readers_are_killed() -> None:
    outcome = ring_torture.frames(3_000)

    assert_kept(outcome, 3_000)
    assert outcome.acknowledged > 1_000


def test_a_stopped_reader_slows_neither_the_writer_nor_other_readers_and_a_killed_one_holds_nothing() -> None:
    assert_kept(ring_torture.stopped_reader(150), 300)


def test_a_writer_killed_before_any_line_leaves_nothing_half_and_the_next_one_goes_on() -> None:
    assert_kept(ring_torture.exact_kills(16), 40)


def test_a_writer_killed_at_any_moment_leaves_nothing_half_and_loses_nothing_published() -> None:
    outcome = ring_torture.random_kills(30)

    assert_kept(outcome, 30)
    assert outcome.acknowledged > 0


@pytest.mark.parametrize("mutant", sorted(RING_MUTANTS))
def test_mistakes_made_on_purpose_are_noticed(mutant: str) -> None:
    for harness in RING_MUTANTS[mutant].caught_by:
        assert SEARCHES[harness](mutant).failures >= 1

# SPDX-License-Identifier: MIT
"""What cleanup may decide, for any facts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fieldcam.core.clock import Instant
from fieldcam.manager.policy import (
    KEEP_NEWEST,
    MIN_AGE_SECONDS,
    CaptureFact,
    LiveFact,
    age_of,
    captures_too_old,
    least_age_of,
    live_beyond_limit,
)

ages = st.none() | st.floats(-1e9, 1e9) | st.floats(0, 300)
capture_facts = st.lists(
    st.builds(CaptureFact, stem=st.just(""), id=st.integers(1, 400), age_seconds=ages, pinned=st.booleans()),
    unique_by=lambda fact: fact.id,
    max_size=60,
).map(lambda facts: [CaptureFact(f"capture-{fact.id}", fact.id, fact.age_seconds, fact.pinned) for fact in facts])
live_facts = st.lists(
    st.builds(
        LiveFact,
        stem=st.just(""),
        order=st.tuples(st.booleans(), st.integers(0, 1000), st.integers(0, 10**6)),
        age_seconds=ages,
        pinned=st.booleans(),
    ),
    unique_by=lambda fact: fact.order,
    max_size=60,
).map(lambda facts: [LiveFact(str(fact.order), fact.order, fact.age_seconds, fact.pinned) for fact in facts])


@given(facts=capture_facts, others=st.integers(0, 100), max_age=st.floats(1, 1000), more=st.integers(0, 50))
def test_captures_that_must_stay_stay(facts: list[CaptureFact], others: int, max_age: float, more: int) -> None:
    total = len(facts) + others
    newest = sorted((fact.id for fact in facts), reverse=True)[:KEEP_NEWEST]

    decision = captures_too_old(facts, max_age_seconds=max_age, newest_ids=newest, total=total, expired=more)

    by_stem = {fact.stem: fact for fact in facts}
    for stem in decision.remove:
        fact = by_stem[stem]
        assert fact.id not in newest
        assert not fact.pinned
        assert fact.age_seconds is not None
        assert fact.age_seconds > max_age
        assert fact.age_seconds >= MIN_AGE_SECONDS
    assert 2 * len(decision.remove) <= total
    assert not (decision.remove and decision.refused)


@given(facts=capture_facts, max_age=st.floats(60, 1000))
def test_captures_that_are_too_old_go_when_that_is_less_than_half(facts: list[CaptureFact], max_age: float) -> None:
    expected = {
        fact.stem for fact in facts if fact.age_seconds is not None and fact.age_seconds > max_age and not fact.pinned
    }

    decision = captures_too_old(
        facts, max_age_seconds=max_age, newest_ids=(), total=10 * len(facts), expired=len(expected)
    )

    assert set(decision.remove) == expected


@given(facts=live_facts, max_images=st.integers(1, 80))
def test_live_frames_that_must_stay_stay(facts: list[LiveFact], max_images: int) -> None:
    decision = live_beyond_limit(facts, max_images=max_images)

    removed = [fact for fact in facts if fact.stem in decision.remove]
    kept = [fact for fact in facts if fact.stem not in decision.remove]
    assert len(kept) >= min(len(facts), KEEP_NEWEST, max_images)
    assert 2 * len(removed) <= len(facts)
    newest = sorted(facts, key=lambda fact: fact.order)[-max(max_images, KEEP_NEWEST) :]
    assert not set(newest) & set(removed)
    assert all(fact.age_seconds is not None and fact.age_seconds >= MIN_AGE_SECONDS for fact in removed)
    assert not any(fact.pinned for fact in removed)


def test_more_than_half_is_refused_as_a_whole() -> None:
    facts = [CaptureFact(f"c{number}", number, 1000.0) for number in range(51)]

    decision = captures_too_old(facts, max_age_seconds=100, newest_ids=(), total=100, expired=51)

    assert decision.remove == ()
    assert decision.refused is not None
    assert "51 of 100" in decision.refused


def test_a_portion_of_what_is_too_much_in_the_end_is_refused() -> None:
    facts = [CaptureFact(f"c{number}", number, 1000.0) for number in range(5)]

    decision = captures_too_old(facts, max_age_seconds=100, newest_ids=(), total=100, expired=51)

    assert decision.refused


@given(st.integers(0, 2**60), st.integers(0, 2**60))
def test_an_age_across_boots_is_unknown_unless_both_clocks_were_right(then: int, now: int) -> None:
    moment, present = Instant("a", 5, then), Instant("b", 7_000_000_000, now)

    assert age_of(moment, present, wall_times_trusted=False) is None
    assert age_of(moment, present, wall_times_trusted=True) == (now - then) / 1e9
    assert least_age_of(moment, present) == 7.0


@given(st.integers(0, 2**60), st.integers(0, 2**60))
def test_an_age_within_a_boot_never_looks_at_the_wall_clock(then: int, now: int) -> None:
    moment, present = Instant("a", 5_000_000_000, then), Instant("a", 7_000_000_000, now)

    assert age_of(moment, present, wall_times_trusted=False) == 2.0
    assert least_age_of(moment, present) == 2.0

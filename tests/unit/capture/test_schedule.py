# SPDX-License-Identifier: MIT
"""capture.schedule: fixed slots, nothing made up for, nothing drifts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldcam.capture.schedule import Schedule, backoff_seconds

SECOND = 1_000_000_000


def test_a_late_slot_does_not_move_the_next() -> None:
    schedule = Schedule(anchor_ns=10 * SECOND, interval_ns=SECOND)

    schedule, left_out = schedule.take(10 * SECOND + 900_000_000)

    assert (left_out, schedule.next_at_ns) == (0, 11 * SECOND)


def test_slots_that_passed_are_left_out_and_counted() -> None:
    schedule = Schedule(anchor_ns=0, interval_ns=SECOND, next_slot=1)

    schedule, left_out = schedule.take(4 * SECOND + 1)

    assert (left_out, schedule.next_at_ns) == (3, 5 * SECOND)


def test_skipping_counts_every_slot_that_has_come() -> None:
    schedule = Schedule(anchor_ns=0, interval_ns=SECOND, next_slot=2)

    after, left_out = schedule.skip_until(4 * SECOND)

    assert (left_out, after.next_at_ns) == (3, 5 * SECOND)
    assert after.skip_until(4 * SECOND) == (after, 0)


@given(st.integers(1, 10**12), st.integers(10**6, 10**11), st.lists(st.integers(0, 10**12), max_size=30))
def test_taken_and_left_out_slots_add_up_to_all_slots_and_stay_on_the_grid(
    anchor: int, interval: int, steps: list[int]
) -> None:
    schedule, now, taken, left = Schedule(anchor, interval), anchor, 0, 0

    for step in steps:
        now += step
        if schedule.is_due(now):
            schedule, left_out = schedule.take(now)
            taken, left = taken + 1, left + left_out

    assert schedule.next_slot == taken + left
    assert (schedule.next_at_ns - anchor) % interval == 0
    assert not steps or taken == 0 or schedule.next_at_ns > now - interval


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (1, 1), (2, 2), (3, 4), (4, 5), (100, 5), (101, 60), (10_000, 60)]
)
def test_a_failing_camera_is_left_alone_longer_but_never_for_good(failures: int, seconds: float) -> None:
    assert backoff_seconds(failures) == seconds

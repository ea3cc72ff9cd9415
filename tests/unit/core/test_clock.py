# SPDX-License-Identifier: MIT
"""core.clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldcam.core.clock import Instant, SystemClock, is_fresh, rfc3339

DAY_NS = 86_400_000_000_000


def test_age_within_a_boot_ignores_a_wall_clock_that_jumped() -> None:
    taken = Instant("boot", 5_000_000_000, 1_700_000_000_000_000_000)
    now = Instant("boot", 7_500_000_000, taken.wall_ns + 4000 * DAY_NS)

    age = now.seconds_since(taken)

    assert age == pytest.approx(2.5)


def test_age_across_boots_is_by_wall_time() -> None:
    taken = Instant("before", 9_000_000_000, 1_700_000_000_000_000_000)
    now = Instant("after", 1_000_000_000, taken.wall_ns + 3_000_000_000)

    age = now.seconds_since(taken)

    assert age == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("age", "expected"), [(0.0, True), (5.0, True), (5.1, False), (-0.001, False), (float("inf"), False)]
)
def test_fresh_means_not_too_old_and_never_from_the_future(age: float, *, expected: bool) -> None:
    assert is_fresh(age, 5.0) is expected


def test_rfc3339_has_milliseconds_and_z() -> None:
    assert rfc3339(1_768_300_245_123_999_999) == "2026-01-13T10:30:45.123Z"


@given(st.integers(min_value=0, max_value=4_000_000_000_000))
def test_rfc3339_keeps_every_millisecond(wall_ms: int) -> None:
    assert rfc3339(wall_ms * 1_000_000).endswith(f".{wall_ms % 1000:03d}Z")


def test_an_instant_at_an_earlier_boottime_carries_wall_time_along() -> None:
    now = Instant("boot", 10_000_000_000, 1_700_000_010_000_000_000)

    earlier = now.at_boottime(7_000_000_000)

    assert earlier == Instant("boot", 7_000_000_000, 1_700_000_007_000_000_000)


def test_the_system_clock_goes_on_and_names_its_boot() -> None:
    clock = SystemClock()

    first = Instant.now(clock)
    second = Instant.now(clock)

    assert second.boottime_ns >= first.boottime_ns
    assert len(first.boot_id) == 36

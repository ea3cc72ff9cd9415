# SPDX-License-Identifier: MIT
"""core.names: a name is never given twice, whatever the clock does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldcam.core.names import CAMERA_NAME, SAMPLE_NUMBER, NameState, ParsedName, format_stem, parse

MS_1970 = 0
MS_2100 = 4_102_444_800_000
MILLISECONDS = st.integers(MS_1970, MS_2100)
# Few values, so that ties and steps back are frequent.
TICKS = st.integers(0, 6)
NUMBERS = st.none() | st.from_regex(SAMPLE_NUMBER, fullmatch=True)


def test_a_name_is_utc_with_milliseconds() -> None:
    assert format_stem(1_768_300_245_123) == "capture_20260113_103045_123"


def test_numbers_stand_between_prefix_and_time() -> None:
    assert format_stem(1_768_300_245_123, 1, "S-7", "12") == "capture_S-7_12_20260113_103045_123"
    assert format_stem(1_768_300_245_123, 1, "S-7") == "capture_S-7_20260113_103045_123"


def test_the_first_generation_has_no_suffix() -> None:
    assert [format_stem(0, generation) for generation in (1, 2, 10)] == [
        "capture_19700101_000000_000",
        "capture_19700101_000000_000_2",
        "capture_19700101_000000_000_10",
    ]


@given(MILLISECONDS, st.integers(1, 100_000), NUMBERS, NUMBERS)
def test_what_is_formatted_is_parsed(
    wall_ms: int, generation: int, sample_no: str | None, submission_no: str | None
) -> None:
    stem = format_stem(wall_ms, generation, sample_no, submission_no)

    assert parse(stem) == ParsedName(wall_ms, generation)


@given(MILLISECONDS, st.integers(1, 1000), MILLISECONDS, st.integers(1, 1000), NUMBERS, NUMBERS)
def test_different_pairs_give_different_names(
    wall_ms: int, generation: int, other_ms: int, other_generation: int, sample_no: str | None, other_no: str | None
) -> None:
    same = (wall_ms, generation) == (other_ms, other_generation)

    one, other = format_stem(wall_ms, generation, sample_no), format_stem(other_ms, other_generation, other_no)

    assert same or one != other


@pytest.mark.parametrize(
    "stem",
    [
        "capture",
        "capture_20260113_103045",
        "capture_20260113_103045_12",
        "capture_20260113_103045_123_",
        "capture_20260113_103045_123_1",
        "capture_20260113_103045_123_02",
        "capture_20261313_103045_123",
        "capture_20260113_253045_123",
        "holiday_20260113_103045_123",
        "capture_20260113_103045_123.jpg",
        "",
    ],
)
def test_foreign_names_are_not_ours(stem: str) -> None:
    assert parse(stem) is None


@pytest.mark.parametrize("name", ["a", "default", "north-2", "0"])
def test_camera_names(name: str) -> None:
    assert CAMERA_NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "-a", "A", "a_b", "a/b", "..", "a" * 33])
def test_camera_names_that_are_none(name: str) -> None:
    assert CAMERA_NAME.fullmatch(name) is None


def test_while_the_clock_goes_on_there_are_no_suffixes() -> None:
    state = NameState()
    generations = []

    for wall_ms in (1000, 1001, 5000):
        state, generation = state.next(wall_ms)
        generations.append(generation)

    assert generations == [1, 1, 1]


def test_a_clock_that_went_back_gets_one_suffix_not_one_for_each_name() -> None:
    state, _ = NameState().next(1_000_000)
    generations = []

    for wall_ms in (500, 501, 502):
        state, generation = state.next(wall_ms)
        generations.append(generation)

    assert generations == [2, 2, 2]


def test_a_clock_that_has_caught_up_needs_no_suffix_again() -> None:
    state, _ = NameState().next(1000)
    state, _ = state.next(500)

    _, generation = state.next(1001)

    assert generation == 1


@given(st.lists(TICKS, max_size=60))
def test_no_pair_is_given_twice_whatever_the_clock_does(ticks: list[int]) -> None:
    state = NameState()
    given_pairs = []

    for tick in ticks:
        state, generation = state.next(tick)
        given_pairs.append((generation, tick))

    assert len(set(given_pairs)) == len(given_pairs)


@given(st.lists(TICKS, max_size=60))
def test_within_a_generation_times_rise(ticks: list[int]) -> None:
    """Readers rely on it: they open only the latest few of each generation."""
    state = NameState()
    latest: dict[int, int] = {}

    for tick in ticks:
        state, generation = state.next(tick)
        assert tick > latest.get(generation, -1)
        latest[generation] = tick


@given(
    st.lists(
        st.tuples(st.just("give"), TICKS)
        | st.tuples(st.just("save"), TICKS)
        | st.tuples(st.just("restart"), TICKS)
        | st.tuples(st.just("delete what was saved"), TICKS),
        max_size=80,
    ),
    st.randoms(use_true_random=False),
)
def test_no_pair_is_given_twice_across_crashes_and_deletions(
    steps: list[tuple[str, int]],
    chance: object,
) -> None:
    """What a new process knows: what was saved, and the names in the folder, in any order.

    The store saves when a generation begins, and removes nothing that is younger than its last save.
    """
    state = saved = NameState()
    on_disk: list[ParsedName] = []
    saved_up_to = 0
    seen = set()

    for step, tick in steps:
        if step == "give":
            before = state.generation
            state, generation = state.next(tick)
            if generation > before:
                saved, saved_up_to = state, len(on_disk)
            name = ParsedName(tick, generation)
            assert name not in seen
            seen.add(name)
            on_disk.append(name)
        elif step == "save":
            saved, saved_up_to = state, len(on_disk)
        elif step == "delete what was saved":
            on_disk, saved_up_to = on_disk[saved_up_to:], 0
        else:
            state = saved
            found = list(on_disk)
            chance.shuffle(found)  # type: ignore[attr-defined]
            for name in found:
                state = state.with_seen(name)


@given(st.lists(TICKS, min_size=1, max_size=40))
def test_names_found_on_disk_alone_are_not_given_again(ticks: list[int]) -> None:
    """The memory may be lost altogether (another disk, a restored backup)."""
    state = NameState()
    given_names = []
    for tick in ticks:
        state, generation = state.next(tick)
        given_names.append(ParsedName(tick, generation))

    found = NameState()
    for name in given_names:
        found = found.with_seen(name)
    for tick in ticks:
        found, generation = found.next(tick)
        assert ParsedName(tick, generation) not in given_names


def test_ten_thousand_names_under_a_clock_that_stands_still() -> None:
    state = NameState()
    stems = set()

    for _ in range(10_000):
        state, generation = state.next(1_768_300_245_123)
        stems.add(format_stem(1_768_300_245_123, generation))

    assert len(stems) == 10_000

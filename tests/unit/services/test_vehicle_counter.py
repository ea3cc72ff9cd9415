# SPDX-License-Identifier: MIT
"""Counting on roads whose truth is known."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from services.geometry import Line, Point
from services.vehicle_counter import CounterSettings, VehicleCounter, total_by_direction

from tests.unit.services.road import HEIGHT, WIDTH, Road, Vehicle, traffic

if TYPE_CHECKING:
    import numpy.typing as npt

NOBODY = {"to_right": 0, "to_left": 0}
WHITE, RED, BLACK = (225, 225, 225), (40, 40, 190), (30, 30, 30)


@dataclass
class Tally:
    """What a counter said about a road."""

    counts: dict[str, int] = field(default_factory=lambda: dict(NOBODY))
    settling: int = 0
    missed: int = 0
    frames: int = 0


def count(
    frames: Iterable[tuple[npt.NDArray[np.uint8], int]],
    counter: VehicleCounter | None = None,
    view: tuple[int, int] | None = None,
) -> Tally:
    """Count what crosses the middle."""
    counter = counter or VehicleCounter(CounterSettings())
    tally = Tally()
    for picture, at_ns in frames:
        outcome = counter.update(picture, at_ns, view)
        assert outcome is not None
        for crossing in outcome.crossings:
            tally.counts[crossing.direction] += 1
        tally.settling += outcome.state == "settling"
        tally.missed += outcome.missed
        tally.frames += 1
    return tally


def wrong(truth: dict[str, int], counts: dict[str, int]) -> int:
    """Return by how many vehicles the counts of both directions are off; too many here do not make up for too few."""
    return sum(abs(counts[direction] - truth[direction]) for direction in truth)


# --- how many ---------------------------------------------------------------------------------------------------------

PACES = {
    # frames a second: (pixels a second of a picture 480 wide, seconds of scene, mean gap, first vehicle)
    15: ((120, 320), 24, 1.0, 4),
    2: ((60, 130), 60, 2.0, 10),
    1: ((45, 85), 120, 3.0, 10),
}


def busy_road(seed: int, fps: int) -> Road:
    speeds, seconds, every, starts_at = PACES[fps]
    return Road(traffic(seed, seconds, speeds=speeds, every=every, starts_at=starts_at), seconds, seed)


@pytest.mark.parametrize(
    ("fps", "seeds", "least"), [(15, range(1), 20), (2, range(40, 42), 50), (1, range(60, 62), 70)]
)
def test_at_most_one_vehicle_in_twenty_is_counted_wrongly(fps: int, seeds: range, least: int) -> None:
    vehicles = errors = 0
    for seed in seeds:
        road = busy_road(seed, fps)
        truth = road.truth()
        errors += wrong(truth, count(road.frames(fps)).counts)
        vehicles += sum(truth.values())

    assert vehicles >= least
    assert errors <= 0.05 * vehicles, f"{errors} of {vehicles}"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("fps", "seeds"), [(15, range(100, 112)), (2, range(100, 115)), (1, range(100, 115))])
def test_at_most_one_vehicle_in_twenty_is_counted_wrongly_in_hours_of_traffic(fps: int, seeds: range) -> None:
    vehicles = errors = 0
    for seed in seeds:
        road = busy_road(seed, fps)
        truth = road.truth()
        errors += wrong(truth, count(road.frames(fps)).counts)
        vehicles += sum(truth.values())

    print(f"{fps} fps: {errors} of {vehicles} wrong")
    assert vehicles >= 200
    assert errors <= 0.05 * vehicles


# --- nothing where nothing drives -------------------------------------------------------------------------------------


def steps(at: float) -> float:
    return 1.0 if at < 6 else 0.55 if at < 9 else 1.3


def ramp(at: float) -> float:
    return 1 + 0.45 * math.sin(at / 2)


def blinking(at: float) -> float:
    return 1.0 if int(at / 1.5) % 2 else 0.6


def gusts(at: float) -> tuple[float, float]:
    x, y = np.random.default_rng(int(at * 1000)).uniform(-6, 6, 2)
    return (float(x), float(y)) if at > 2 else (0.0, 0.0)


def sway(at: float) -> tuple[float, float]:
    return 6 * math.sin(at * 2.2), 4 * math.sin(at * 3.1)


def cloud_shadow(picture: npt.NDArray[np.float32], at: float) -> npt.NDArray[np.float32]:
    """Return the picture with the edge of a cloud's shadow moving over it."""
    columns = np.arange(picture.shape[1])
    factor = 1 - 0.45 / (1 + np.exp((columns - (at - 5) * 60) / 15))
    return np.asarray(picture * factor[None, :, None], np.float32)


def rain(picture: npt.NDArray[np.float32], at: float) -> npt.NDArray[np.float32]:
    chance = np.random.default_rng(int(at * 1000))
    wet = picture.copy()
    for _ in range(150):
        x, y = int(chance.integers(0, WIDTH + 30)), int(chance.integers(0, HEIGHT + 30))
        cv2.line(wet, (x, y), (x + 2, y + 14), [200.0, 200.0, 200.0], 1)
    return wet


def lamp(picture: npt.NDArray[np.float32], at: float) -> npt.NDArray[np.float32]:
    """Return the picture with a patch of light that wanders over the ground, whose texture stays to be seen."""
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    light = 0.5 * np.exp(-(((columns - 60 * (at - 4)) / 40) ** 2 + ((rows - 120) / 25) ** 2))
    return np.asarray(picture * (1 + light[:, :, None]), np.float32)


def blinkers(picture: npt.NDArray[np.float32], at: float) -> npt.NDArray[np.float32]:
    """Return the picture with two boards, of which each second one is lit: nothing goes from one to the other."""
    lit = picture.copy()
    left = 190 if int(at * 4) % 2 else 270
    if at > 4:
        lit[220:250, left : left + 40] = 240
    return lit


def awning(picture: npt.NDArray[np.float32], at: float) -> npt.NDArray[np.float32]:
    """Return the picture with something that is drawn out over the line; its other end stays where it is."""
    drawn = picture.copy()
    if at > 4:
        drawn[220:250, 160 : 190 + int(40 * (at - 4))] = (60, 60, 170)
    return drawn


@pytest.mark.parametrize("fps", [8, 1])
@pytest.mark.parametrize(
    "disturbance",
    [
        pytest.param({"light": steps}, id="light in steps"),
        pytest.param({"light": ramp}, id="light in a ramp"),
        pytest.param({"light": blinking}, id="light on and off"),
        pytest.param({"shake": gusts}, id="shaken by gusts"),
        pytest.param({"shake": sway}, id="swaying"),
        pytest.param({"shake": gusts, "light": ramp}, id="shaken while the light changes"),
        pytest.param({"paint": cloud_shadow}, id="the edge of a cloud's shadow"),
        pytest.param({"paint": rain}, id="rain"),
        pytest.param({"paint": lamp}, id="a wandering lamp"),
        pytest.param({"paint": awning}, id="something that grows"),
        pytest.param({"noise": 14.0}, id="noise"),
        pytest.param({"quality": 30}, id="strong compression"),
    ],
)
def test_an_empty_road_has_no_vehicles(disturbance: dict[str, object], fps: int) -> None:
    empty = dataclasses.replace(Road([], 13 if fps == 8 else 45, seed=1), **disturbance)  # type: ignore[arg-type]

    tally = count(empty.frames(fps))

    assert tally.counts == NOBODY
    assert tally.frames > 40


def test_what_blinks_here_and_there_does_not_go_from_here_to_there() -> None:
    assert count(Road([], 12, paint=blinkers).frames(8)).counts == NOBODY


def test_a_slow_dusk_is_no_other_scene() -> None:
    road = Road([car(260, 160, 26)], 31, light=lambda at: 1.0 - 0.033 * min(at, 25.0))  # down to a sixth

    tally = count(road.frames(8))

    assert tally.counts == {"to_right": 1, "to_left": 0}
    assert tally.settling < 30


@pytest.mark.parametrize(
    "disturbance",
    [{"light": ramp}, {"shake": sway}, {"shake": gusts}, {"paint": rain}],
    ids=["ramp", "sway", "gusts", "rain"],
)
def test_vehicles_are_counted_all_the_same_while_the_scene_is_disturbed(disturbance: dict[str, object]) -> None:
    road = dataclasses.replace(busy_road(5, 15), **disturbance)  # type: ignore[arg-type]

    assert wrong(road.truth(), count(road.frames(8)).counts) <= 1


# --- single cases -----------------------------------------------------------------------------------------------------


def car(lane_y: float, speed: float, enters_at: float, **more: object) -> Vehicle:
    return Vehicle(70, 34, lane_y, speed, enters_at, WHITE, **more)  # type: ignore[arg-type]


def test_a_vehicle_is_counted_once_in_its_direction() -> None:
    road = Road([car(260, 160, 4)], 8)

    assert count(road.frames(15)).counts == {"to_right": 1, "to_left": 0}


@pytest.mark.parametrize("stands_at", [0.3, 0.5, 0.52, 0.7])
def test_a_vehicle_that_stands_is_counted_once(stands_at: float) -> None:
    reaches = 4 + (WIDTH * stands_at + 35) / 160
    road = Road([car(260, 160, 4, stop=(reaches, 6.0))], reaches + 10)

    assert count(road.frames(8)).counts == {"to_right": 1, "to_left": 0}


@pytest.mark.parametrize(
    ("length", "height", "stands_at"),
    [
        (170, 70, 0.5),
        *(
            pytest.param(*size, at, marks=pytest.mark.slow)
            for size in ((70, 34), (170, 70))
            for at in (0.47, 0.49, 0.51, 0.53, 0.55)
        ),
    ],
)
def test_a_vehicle_that_stands_until_it_belongs_to_the_scene_is_counted_once(
    length: float, height: float, stands_at: float
) -> None:
    """It fades from the mask bit by bit, and comes back in pieces, over the hole it leaves in the background."""
    reaches = 10 + (WIDTH * stands_at + length / 2) / 80
    lorry = Vehicle(length, height, 270, 80, 10, WHITE, stop=(reaches, 70.0))

    assert count(Road([lorry], reaches + 78).frames(4)).counts == {"to_right": 1, "to_left": 0}


def test_two_that_drive_side_by_side_are_two() -> None:
    road = Road([car(215, 150, 4), dataclasses.replace(car(300, 150, 4), colour=RED)], 9)

    assert count(road.frames(15)).counts == {"to_right": 2, "to_left": 0}


@pytest.mark.parametrize("fps", [15, 4])
def test_two_that_hide_each_other_where_they_pass_are_two(fps: int) -> None:
    behind = Vehicle(150, 70, 245, 130, 4, RED)
    before = Vehicle(80, 40, 262, -130, 4.2, WHITE)

    assert count(Road([behind, before], 10).frames(fps)).counts == {"to_right": 1, "to_left": 1}


def test_the_shadow_of_a_vehicle_in_the_next_lane_does_not_make_one_of_two() -> None:
    road = Road([car(215, 150, 4, shadow=0.55), car(262, 150, 4.1, shadow=0.55)], 9)

    assert count(road.frames(15)).counts == {"to_right": 2, "to_left": 0}


@pytest.mark.parametrize("grey", [95, 107, 120])
def test_a_van_of_the_grey_of_the_road_is_one_although_only_its_windows_and_wheels_are_seen(grey: int) -> None:
    vans = [Vehicle(110, 52, 300, -110, at, (grey, grey, grey), shadow=0.75) for at in (4, 9)]

    assert count(Road(vans, 15, seed=1).frames(8)).counts == {"to_right": 0, "to_left": 2}


def test_one_that_turns_before_the_line_is_not_counted() -> None:
    frames = itertools.chain(
        Road([car(260, 160, 4)], 5.3).frames(15),
        (
            (picture, at_ns + 1_300_000_000)
            for picture, at_ns in Road([car(260, -160, 1.1)], 3).frames(15)
            if at_ns > 1004e9
        ),
    )

    assert count(frames).counts["to_right"] == 0


def test_a_gap_in_the_frames_makes_no_vehicle_of_two() -> None:
    """A lorry stands before the line when the frames end; when they come again, one stands beyond it."""
    first = Vehicle(170, 70, 280, 100, 4, RED, stop=(4 + (215 + 85) / 100, 60.0))
    second = Vehicle(170, 70, 280, 100, 4, RED, stop=(4 + (265 + 85) / 100, 60.0))
    before = list(Road([first], 9).frames(8))
    after = [frame for frame in Road([second], 15).frames(8) if frame[1] > 1012e9]

    assert count(before + after).counts == NOBODY


def test_frames_that_are_missing_are_noted_by_the_usual_pace() -> None:
    frames = [frame for number, frame in enumerate(Road([], 40).frames(1, jitter=0)) if number not in {20, 21, 30}]

    assert count(frames).missed == 3


def test_another_size_makes_it_start_anew() -> None:
    counter = VehicleCounter(CounterSettings())
    count(Road([], 5).frames(15), counter)

    outcome = counter.update(np.zeros((720, 1280, 3), np.uint8), 2_000_000_000_000)

    assert outcome is not None
    assert outcome.state == "settling"
    assert outcome.seconds is None


def test_one_view_reduced_by_different_amounts_is_one_view() -> None:
    """Frames come from the ring or from files, and what reduces them is not the same."""
    road = Road([car(260, 160, 4)], 8)
    frames = (
        (picture if number % 2 else np.asarray(cv2.resize(picture, (507, 380)), np.uint8), at_ns)
        for number, (picture, at_ns) in enumerate(road.frames(15))
    )

    tally = count(frames, view=(4056, 3042))

    assert tally.counts == {"to_right": 1, "to_left": 0}
    assert tally.settling < 60


def test_a_frame_that_came_before_is_not_looked_at_again() -> None:
    counter = VehicleCounter(CounterSettings())
    picture = np.zeros((360, 480, 3), np.uint8)

    assert counter.update(picture, 5_000_000_000) is not None
    assert counter.update(picture, 5_000_000_000) is None


def test_a_clock_that_began_anew_makes_it_start_anew() -> None:
    counter = VehicleCounter(CounterSettings())
    count(Road([], 5).frames(15), counter)

    outcome = counter.update(np.zeros((360, 480, 3), np.uint8), 1_000_000)

    assert outcome is not None
    assert outcome.state == "settling"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (Line(Point(0.5, 0), Point(0.5, 1)), {"in": 1, "out": 0}),
        (Line(Point(0.5, 1), Point(0.5, 0)), {"in": 0, "out": 1}),  # drawn the other way round
        (Line(Point(0.3, 0.2), Point(0.6, 1)), {"in": 1, "out": 0}),
        (Line(Point(0.5, 0), Point(0.5, 0.4)), {"in": 0, "out": 0}),  # ends above the lane
        (Line(Point(0, 0.3), Point(1, 0.3)), {"in": 0, "out": 0}),  # along it
    ],
)
def test_the_line_and_its_labels_are_those_that_were_set(line: Line, expected: dict[str, int]) -> None:
    settings = CounterSettings(line=line, labels=("in", "out"))
    counter = VehicleCounter(settings)

    crossings = [
        crossing
        for picture, at_ns in Road([car(260, 160, 4)], 8).frames(15)
        for crossing in (counter.update(picture, at_ns) or pytest.fail("no outcome")).crossings
    ]

    assert total_by_direction(crossings, settings.labels) == expected


def test_what_drives_outside_the_region_is_not_counted() -> None:
    upper = (Point(0, 0), Point(1, 0), Point(1, 0.65), Point(0, 0.65))
    counter = VehicleCounter(CounterSettings(region=upper))
    road = Road([car(215, 160, 4), car(310, -160, 4)], 9)

    assert count(road.frames(15), counter).counts == {"to_right": 1, "to_left": 0}


def test_what_is_smaller_than_the_least_area_is_not_counted() -> None:
    counter = VehicleCounter(CounterSettings(least_area=0.02))
    road = Road([car(260, 160, 4), Vehicle(170, 80, 330, -160, 4, RED)], 9)

    assert count(road.frames(15), counter).counts == {"to_right": 0, "to_left": 1}


def upright(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(np.rot90(picture))


@pytest.mark.parametrize("turn", [upright])
def test_traffic_may_go_up_and_down(turn: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]) -> None:
    counter = VehicleCounter(CounterSettings(line=Line(Point(1, 0.5), Point(0, 0.5)), labels=("to_left", "to_right")))
    road = busy_road(3, 15)

    tally = count(((turn(picture), at_ns) for picture, at_ns in road.frames(8)), counter)

    assert wrong(road.truth(), tally.counts) <= 1

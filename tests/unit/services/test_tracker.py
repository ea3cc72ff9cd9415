# SPDX-License-Identifier: MIT
"""Who is who from frame to frame, where only blobs are known."""

from __future__ import annotations

import pytest
from services.blobs import Blob
from services.geometry import Box, Line, Point
from services.tracker import Tracker

WIDTH = 480
WHITE, BLACK = (220.0, 220.0, 220.0), (40.0, 40.0, 40.0)


def blob(x: float, y: float = 200, colour: tuple[float, float, float] = WHITE, length: float = 60) -> Blob:
    return Blob(Box(x - length / 2, y - 15, x + length / 2, y + 15), length * 25, Point(x, y), colour, False)


def tracker() -> Tracker:
    return Tracker(Line(Point(240, 0), Point(240, 360)), WIDTH)


def ways(following: Tracker) -> list[list[int]]:
    return sorted([round(seen.center.x) for seen in track.sightings] for track in following.tracks)


def test_two_of_different_colours_are_told_apart_when_they_are_first_seen_again() -> None:
    following = tracker()

    following.follow([blob(180, colour=WHITE), blob(290, colour=BLACK)], 1.0, 2.2)
    following.follow([blob(200, colour=BLACK), blob(270, colour=WHITE)], 2.0, 2.2)

    assert ways(following) == [[180, 270], [290, 200]]


def test_two_of_one_colour_are_told_apart_by_where_they_were_going() -> None:
    following = tracker()

    for at, (one, other) in enumerate([(100, 380), (160, 320), (220, 260), (280, 200)]):
        following.follow([blob(one, y=200), blob(other, y=212)], float(at), 2.2)

    assert ways(following) == [[100, 160, 220, 280], [380, 320, 260, 200]]


def test_something_of_another_size_is_another() -> None:
    following = tracker()

    following.follow([blob(180, length=40)], 1.0, 2.2)
    following.follow([blob(290, length=150)], 2.0, 2.2)

    assert ways(following) == [[180], [290]]


def test_what_is_too_far_away_is_another() -> None:
    following = tracker()

    following.follow([blob(40)], 1.0, 2.2)
    following.follow([blob(300)], 2.0, 2.2)

    assert ways(following) == [[40], [300]]


def test_two_in_one_blob_go_on_as_they_went() -> None:
    following = tracker()
    for at, (one, other) in enumerate([(100, 300), (130, 270)]):
        following.follow([blob(one), blob(other, y=210)], float(at), 2.2)
    both = Blob(Box(130, 185, 270, 225), 3500, Point(200, 205), WHITE, False)

    following.follow([both], 2.0, 2.2)
    following.follow([blob(190), blob(210, y=210)], 3.0, 2.2)
    following.follow([blob(220), blob(180, y=210)], 4.0, 2.2)

    assert [way[-1] for way in ways(following)] == [220, 180]
    assert [way[0] for way in ways(following)] == [100, 300]


def test_who_is_not_seen_for_long_is_forgotten() -> None:
    following = tracker()
    following.follow([blob(100)], 1.0, 0.8)
    following.follow([], 1.5, 0.8)
    assert len(following.tracks) == 1

    following.follow([], 2.0, 0.8)

    assert following.tracks == []


def test_the_pace_of_a_lane_tells_a_new_one_from_the_one_behind() -> None:
    """At one frame a second the next vehicle may be nearer to where one was than that one itself."""
    following = tracker()
    for start in (0.0, 10.0):
        for step in range(4):
            following.follow([blob(60 + 120 * step)], start + step, 2.2)
        following.learn_lane(following.tracks[0])
        following.follow([], start + 8, 0.5)

    following.follow([blob(100)], 20.0, 2.2)
    following.follow([blob(40), blob(220)], 21.0, 2.2)

    assert ways(following) == [[40], [100, 220]]


@pytest.mark.parametrize("fading_by", [0.0, 0.35, 0.7])
def test_what_stands_stays_where_it_is_while_it_fades(fading_by: float) -> None:
    following = tracker()
    for number in range(40):
        following.follow([blob(200)], number / 4, 2.2)

    left = 170 + 60 * fading_by
    rest = Blob(Box(left, 185, 230, 215), 1500 * (1 - fading_by), Point((left + 230) / 2, 200), WHITE, False)
    following.follow([rest], 10.0, 2.2)

    whole = [track for track in following.tracks if len(track.sightings) > 30]
    assert len(whole) == 1
    assert whole[0].last.center.x == pytest.approx(200)


def test_a_piece_that_was_counted_makes_what_it_belongs_to_counted() -> None:
    """A body that is seen only when a piece of it was counted would be counted again, and so would the piece."""
    following = tracker()
    for step in range(3):
        following.follow([blob(300 + 20 * step, length=20)], step / 10, 0.8)
    following.tracks[0].claim.is_counted = True
    body = [Blob(Box(x - 50, 185, x + 30, 230), 3000, Point(x - 10, 207), BLACK, False) for x in (360, 380, 400)]
    following.follow([blob(360, length=20), body[0]], 0.3, 0.8)
    following.follow([blob(380, length=20), body[1]], 0.4, 0.8)

    following.follow([body[2]], 0.5, 0.8)

    assert [track.claim.is_counted for track in following.tracks] == [True, True]

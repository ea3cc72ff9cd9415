# SPDX-License-Identifier: MIT
from __future__ import annotations

import numpy as np
import pytest
from services.geometry import Box, Line, Point, region_mask

DOWN_THE_MIDDLE = Line(Point(50, 0), Point(50, 100))


def test_the_positive_side_is_at_the_left_hand_of_who_walks_along_the_line() -> None:
    assert DOWN_THE_MIDDLE.distance(Point(60, 30)) == pytest.approx(10)
    assert DOWN_THE_MIDDLE.distance(Point(45, 99)) == pytest.approx(-5)


@pytest.mark.parametrize(
    ("before", "after", "is_crossed"),
    [
        (Point(40, 50), Point(60, 50), True),
        (Point(60, 50), Point(40, 50), True),
        (Point(40, 50), Point(49, 50), False),
        (Point(51, 50), Point(70, 50), False),
        (Point(40, 108), Point(60, 108), True),  # beyond the end, within the slack
        (Point(40, 115), Point(60, 115), False),
        (Point(40, 0), Point(60, -60), False),  # crosses the endless line at -30
        (Point(50, 10), Point(50, 60), False),  # along it
    ],
)
def test_a_way_crosses_a_line_between_its_ends_only(before: Point, after: Point, is_crossed: bool) -> None:
    assert DOWN_THE_MIDDLE.is_crossed(before, after) is is_crossed


def test_a_region_is_scaled_to_the_picture() -> None:
    mask = region_mask((Point(0, 0.5), Point(1, 0.5), Point(1, 1), Point(0, 1)), 40, 20)

    assert mask.shape == (20, 40)
    assert mask[:9].max() == 0
    assert mask[11:].min() == 255


def test_without_corners_the_region_is_the_whole_picture() -> None:
    assert np.all(region_mask(None, 8, 6) == 255)


def test_boxes_that_do_not_touch_share_nothing() -> None:
    assert Box(0, 0, 10, 10).overlap(Box(20, 20, 30, 30)) == 0
    assert Box(0, 0, 10, 10).overlap(Box(5, 5, 30, 30)) == 25

# SPDX-License-Identifier: MIT
"""Places in a picture, said as fractions of its width and height: they hold for every size of the same view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Point:
    """A place in pixels or as fractions; x to the right, y down."""

    x: float
    y: float

    def __add__(self, other: Point) -> Point:
        return Point(self.x + other.x, self.y + other.y)

    def __sub__(self, other: Point) -> Point:
        return Point(self.x - other.x, self.y - other.y)

    def times(self, factor: float) -> Point:
        """Return this point seen from the origin, `factor` times as far."""
        return Point(self.x * factor, self.y * factor)

    def dot(self, other: Point) -> float:
        """Return the scalar product."""
        return self.x * other.x + self.y * other.y

    @property
    def length(self) -> float:
        """Distance from the origin."""
        return float(np.hypot(self.x, self.y))


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle in pixels: left and top are inside, right and bottom are the first outside."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Pixels across."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Pixels down."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """Pixels; 0 for a box that is nowhere."""
        return max(0.0, self.width) * max(0.0, self.height)

    @property
    def center(self) -> Point:
        """The middle."""
        return Point((self.left + self.right) / 2, (self.top + self.bottom) / 2)

    def moved(self, by: Point) -> Box:
        """Return the box at another place."""
        return Box(self.left + by.x, self.top + by.y, self.right + by.x, self.bottom + by.y)

    def overlap(self, other: Box) -> float:
        """Return how many pixels both have."""
        return Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        ).area


@dataclass(frozen=True, slots=True)
class Line:
    """A line between two points, with two sides.

    Who walks from start to end has the positive side at the left hand, as seen in the picture (where y goes down).
    """

    start: Point
    end: Point

    def scaled(self, width: int, height: int) -> Line:
        """Return a line of fractions in pixels of a picture of that size."""
        return Line(
            Point(self.start.x * width, self.start.y * height),
            Point(self.end.x * width, self.end.y * height),
        )

    @property
    def normal(self) -> Point:
        """The direction of length 1 that points from the line to its positive side."""
        along = self.end - self.start
        return Point(along.y, -along.x).times(1 / along.length)

    def distance(self, point: Point) -> float:
        """Return the distance of a point from the endless line, positive on the positive side."""
        return (point - self.start).dot(self.normal)

    def is_crossed(self, before: Point, after: Point, *, slack: float = 0.1) -> bool:
        """Return whether the way between two points leads through the line, whose ends are `slack` lengths longer."""
        distance_before, distance_after = self.distance(before), self.distance(after)
        if distance_before * distance_after > 0 or distance_before == distance_after:
            return False
        way = distance_before / (distance_before - distance_after)
        crossing = before + (after - before).times(way)
        along = self.end - self.start
        position = (crossing - self.start).dot(along) / along.dot(along)
        return -slack <= position <= 1 + slack


def region_mask(corners: Sequence[Point] | None, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return a mask (height, width), 255 inside the polygon whose corners are fractions; all of it without corners."""
    if corners is None:
        return np.full((height, width), 255, np.uint8)
    mask = np.zeros((height, width), np.uint8)
    pixels = np.array([[round(corner.x * width), round(corner.y * height)] for corner in corners], np.int32)
    cv2.fillPoly(mask, [pixels], [255])
    return mask


def rectangle(box: Box) -> tuple[Point, ...]:
    """Return the corners of a box of fractions."""
    return (
        Point(box.left, box.top),
        Point(box.right, box.top),
        Point(box.right, box.bottom),
        Point(box.left, box.bottom),
    )

# SPDX-License-Identifier: MIT
"""From pixels that move to things that may be vehicles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from services.geometry import Box, Point
from services.movement import Scene

if TYPE_CHECKING:
    import numpy.typing as npt

_LEAST_FILLING = 0.25  # of its box; outlines and cracks fill less
_SAME_TEXTURE = 0.75  # correlation of fine structure from which the ground shines through: light, nothing solid
_PIECE = 0.4  # of the largest part: wheels under a body that has the grey of the road
_UNDER = 0.5  # of a piece's length, that lies beside the part it belongs to; wheels reach beyond windows
_LEAST_TEXTURE = 3.0  # grey levels; below there is only noise to be compared


@dataclass(frozen=True, slots=True)
class Blob:
    """One connected thing that moves.

    Attributes:
        box: around it, in pixels.
        area: its pixels, without those of its box that do not move.
        center: its centre of mass.
        colour: mean blue, green, red.
        is_cut: whether it touches the border of the picture, so that a part of it is not seen.
    """

    box: Box
    area: float
    center: Point
    colour: tuple[float, float, float]
    is_cut: bool


class BlobFinder:
    """Finds blobs.

    Args:
        width, height: of the pictures, in pixels.
        least_area: pixels; smaller ones are birds, rain and noise.
        travel: the direction in which vehicles go: holes and gaps (windows, a trailer) are closed along it, and less
            across it, where the next lane is.
    """

    def __init__(self, width: int, height: int, *, least_area: float, travel: Point) -> None:
        self._size = (width, height)
        self._least_area = least_area
        long, short = max(3, round(0.022 * width)), max(3, round(0.008 * width))
        self._is_level = abs(travel.x) >= abs(travel.y)
        across, down = (long, short) if self._is_level else (short, long)
        self._close = np.ones((down | 1, across | 1), np.uint8)
        self._open = np.ones((max(3, round(0.01 * width) | 1),) * 2, np.uint8)  # streaks of rain are narrower

    def find(self, scene: Scene) -> list[Blob]:
        """Return the blobs of a picture."""
        mask = cv2.morphologyEx(scene.moving, cv2.MORPH_OPEN, self._open)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, self._close)
        count, labels, stats, centers = cv2.connectedComponentsWithStats(mask, connectivity=8)
        large = [label for label in range(1, count) if stats[label, cv2.CC_STAT_AREA] >= self._least_area]
        if not large:
            return []
        fine = _fine_structure(scene.picture), _fine_structure(scene.background)
        blobs, insides = [], []
        for label in large:
            left, top, across, down, area = (int(value) for value in stats[label])
            if area < _LEAST_FILLING * across * down:
                continue
            part = np.s_[top : top + down, left : left + across]
            inside = labels[part] == label
            if _is_only_light(fine[0][part][inside], fine[1][part][inside]):
                continue
            blue, green, red = (float(value) for value in scene.picture[part][inside].mean(axis=0))
            box = Box(left, top, left + across, top + down)
            center = Point(float(centers[label][0]), float(centers[label][1]))
            blobs.append(Blob(box, float(area), center, (blue, green, red), self._is_cut(box)))
            row = int(np.argmax(inside.any(axis=1)))
            insides.append((top + row, left + int(np.argmax(inside[row]))))
        return self._whole(blobs, insides, cv2.bitwise_or(mask, scene.shaded)) if len(blobs) > 1 else blobs

    def _whole(self, blobs: list[Blob], insides: list[tuple[int, int]], joined: cv2.typing.MatLike) -> list[Blob]:
        """Put small pieces to the part beside them that something joins them to, if only what may be a shadow.

        Being near is not enough: a motorcycle in the next lane is small and near, too. Pieces that nothing joins are
        known by going together (`Tracker`).
        """
        _, group = cv2.connectedComponents(joined, connectivity=8)
        groups = [int(group[place]) for place in insides]
        order = sorted(range(len(blobs)), key=lambda index: -blobs[index].area)
        whole: list[tuple[int, Blob]] = []
        for index in order:
            blob = blobs[index]
            for place, (of_group, large) in enumerate(whole):
                is_small = of_group == groups[index] and blob.area < _PIECE * large.area
                if is_small and self._is_under(blob.box, large.box):
                    whole[place] = (of_group, self._together(large, blob))
                    break
            else:
                whole.append((groups[index], blob))
        return [blob for _, blob in whole]

    def _is_under(self, piece: Box, large: Box) -> bool:
        if self._is_level:
            shared, length = min(piece.right, large.right) - max(piece.left, large.left), piece.width
        else:
            shared, length = min(piece.bottom, large.bottom) - max(piece.top, large.top), piece.height
        return shared > _UNDER * length

    def _together(self, large: Blob, piece: Blob) -> Blob:
        one, two = large.box, piece.box
        box = Box(
            min(one.left, two.left), min(one.top, two.top), max(one.right, two.right), max(one.bottom, two.bottom)
        )
        return Blob(box, large.area + piece.area, large.center, large.colour, self._is_cut(box))

    def _is_cut(self, box: Box) -> bool:
        width, height = self._size
        return box.left <= 1 or box.top <= 1 or box.right >= width - 1 or box.bottom >= height - 1


def _fine_structure(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.float32)
    return grey - np.asarray(cv2.blur(grey, (9, 9)), np.float32)


def _is_only_light(now: npt.NDArray[np.float32], before: npt.NDArray[np.float32]) -> bool:
    """Return whether the ground is still seen there: a lamp, a patch of sun or the edge of a cloud's shadow."""
    spread_now, spread_before = float(now.std()), float(before.std())
    if min(spread_now, spread_before) < _LEAST_TEXTURE:
        return False
    alike = float(np.mean((now - now.mean()) * (before - before.mean()))) / (spread_now * spread_before)
    return alike > _SAME_TEXTURE

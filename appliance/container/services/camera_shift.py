# SPDX-License-Identifier: MIT
"""How far a picture is shifted against another of the same view: a pole in the wind, a truck that shakes the bridge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np

from services.geometry import Point

if TYPE_CHECKING:
    import numpy.typing as npt

Pixel = TypeVar("Pixel", np.uint8, np.float32)

_LEAST_RESPONSE = 0.08  # of 1; unrelated pictures and mere noise stay below 0.05
_STILL = 0.15  # pixels; what phase correlation finds in two pictures of a camera that stands still
_TILES = (6, 8)  # down and across, which are asked whether they moved along


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the view has moved.

    Attributes:
        by: pixels, to the right and down.
        is_certain: whether the two pictures show the same view at all; `by` means nothing otherwise.
    """

    by: Point
    is_certain: bool

    @property
    def is_still(self) -> bool:
        """Whether there is nothing to undo."""
        return abs(self.by.x) < _STILL and abs(self.by.y) < _STILL


class ShiftFinder:
    """Finds shifts by phase correlation, which light does not lead astray, and asks all of the picture about them.

    Something large with hard edges that drives off where it stood for long is a shift, too, as far as the correlation
    of the whole can tell; but most of the picture did not move along. Only shifts: a camera that turns or zooms is
    beyond it.

    Args:
        width, height: of the pictures, in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        # A window, as the borders of a shifted picture show something else; made once, it takes as long as the rest.
        self._window = cv2.createHanningWindow((width, height), cv2.CV_32F)

    def find(self, reference: npt.NDArray[np.float32], picture: npt.NDArray[np.float32]) -> Shift:
        """Return how far `picture` is shifted against `reference`; both (height, width), grey, float32."""
        (x, y), response = cv2.phaseCorrelate(reference, picture, self._window)
        shift = Shift(Point(x, y), response >= _LEAST_RESPONSE)
        if not shift.is_certain or shift.is_still:
            return shift
        moved = _likeness(reference, undone(picture, shift)) - _likeness(reference, picture)
        has_moved = np.count_nonzero(moved > 0) >= np.count_nonzero(moved < 0)
        return shift if has_moved else Shift(Point(0, 0), is_certain=True)


def _likeness(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the correlation (-1..1) of each tile of two pictures, whatever the light; 0 where nothing is seen."""
    down, across = _TILES
    height, width = one.shape[0] // down, one.shape[1] // across
    tiles = [
        part[: down * height, : across * width].reshape(down, height, across, width).swapaxes(1, 2)
        for part in (one, other)
    ]
    first, second = (part.reshape(down * across, -1) - part.mean(axis=(2, 3)).reshape(-1, 1) for part in tiles)
    spread = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.asarray((first * second).sum(axis=1) / np.maximum(spread, 1e-6), np.float32)


def undone(picture: npt.NDArray[Pixel], shift: Shift) -> npt.NDArray[Pixel]:
    """Return the picture as a camera that had not moved would have seen it; its border is repeated outwards."""
    height, width = picture.shape[:2]
    matrix = np.array([[1, 0, shift.by.x], [0, 1, shift.by.y]], np.float32)
    # The matrix says where in the picture each pixel of the result is found.
    moved = cv2.warpAffine(
        picture, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, picture.dtype)

# SPDX-License-Identifier: MIT
"""The sizes a reader can have: the frame, its half, its quarter and its eighth.

A JPEG decoder makes these at a fraction of the cost of the full picture, and exactly (the discrete cosine transform is
scaled, nothing is resampled). Proportions stay. What a program asks for is taken as the nearest of them.
"""

from __future__ import annotations

import math
from typing import Literal, cast

Divisor = Literal[1, 2, 4, 8]
DIVISORS: tuple[Divisor, ...] = (1, 2, 4, 8)
LORES_WIDTH = 640  # as the ring's own lores stream


def scaled(size: tuple[int, int], divisor: int) -> tuple[int, int]:
    """Return the width and height of a frame of that size at 1/divisor: rounded up, as libjpeg does."""
    return -(-size[0] // divisor), -(-size[1] // divisor)


def nearest_divisor(
    size: tuple[int, int], width: float | None, height: float | None, *, height_decides: bool = False
) -> Divisor:
    """Return the divisor whose size is nearest to the one asked for, by ratio.

    Args:
        size: of the frame, in pixels.
        width, height: asked for; None or not positive = no wish.
        height_decides: which of the two counts when both are equally far off: programs set one after the other, and
            the one set last is the newer wish. Without a difference the larger size is taken.
    """

    def distance(divisor: Divisor) -> tuple[float, float]:
        offs = [
            abs(math.log(side / wish)) if wish is not None and wish > 0 else 0.0
            for side, wish in zip(scaled(size, divisor), (width, height), strict=True)
        ]
        return round(sum(offs), 2), offs[1 if height_decides else 0]  # rounded: 1/8 of 3039 is no exact half of 1/4

    return min(DIVISORS, key=distance)


def lores_divisor(size: tuple[int, int]) -> Divisor:
    """Return the divisor for a small picture: at most `LORES_WIDTH` wide and never the full size."""
    return cast("Divisor", next((divisor for divisor in (2, 4) if scaled(size, divisor)[0] <= LORES_WIDTH), 8))

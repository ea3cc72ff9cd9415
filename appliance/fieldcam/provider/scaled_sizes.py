# SPDX-License-Identifier: MIT
"""The sizes a reader can have: the frame, its half, its quarter and its eighth.

A JPEG decoder makes these at a fraction of the cost of the full picture, and nothing is resampled. Proportions stay.
What a program asks for is taken as the nearest of them.
"""

from __future__ import annotations

import math

from fieldcam.core.jpeg import DIVISORS, Divisor

Size = tuple[int, int]


def scaled(size: Size, divisor: int) -> Size:
    """Return the width and height of a frame of that size at 1/divisor: rounded up, as libjpeg does."""
    return -(-size[0] // divisor), -(-size[1] // divisor)


def nearest_divisor(size: Size, width: float | None, height: float | None, *, height_decides: bool = False) -> Divisor:
    """Return the divisor whose size is nearest to the one asked for, by ratio.

    Args:
        size: of the frame, in pixels.
        width: asked for; None or not positive = no wish.
        height: the same.
        height_decides: which of the two counts when two sizes are equally far off: programs set one side after the
            other, and the one set last is the newer wish. Without a difference the larger size is taken.
    """

    def distance(divisor: Divisor) -> tuple[float, float]:
        offs = [
            abs(math.log(side / wish)) if wish is not None and wish > 0 else 0.0
            for side, wish in zip(scaled(size, divisor), (width, height), strict=True)
        ]
        # Rounded, as 1/8 of an odd side is no exact half of 1/4.
        return round(sum(offs), 2), round(offs[1 if height_decides else 0], 2)

    return min(DIVISORS, key=distance)

# SPDX-License-Identifier: MIT
"""What happened to the light of the whole picture: clouds, exposure, white balance. Not what moves in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_GRID = 64  # points across and down that are compared; thousands are plenty for two numbers per channel
_ROUNDS = 3
_LEAST_POINTS = 200
_LEAST_SPREAD = 4.0
_LEAST_GAIN = 0.1
_SHADOWS, _HIGHLIGHTS = 8, 247  # clipped values say nothing about the light


@dataclass(frozen=True, slots=True)
class Light:
    """Turns a picture of the one light into a picture of the other: `gain * value + offset`, per channel.

    Attributes:
        gains, offsets: blue, green, red.
        unlike: share of the points (0..1) that do not follow; vehicles are few, so more than half is another scene.
    """

    gains: tuple[float, float, float]
    offsets: tuple[float, float, float]
    unlike: float

    @property
    def largest_change(self) -> float:
        """How much stronger or weaker a middle grey became, as a factor of 1 or more."""
        factors = [(gain * 128 + offset) / 128 for gain, offset in zip(self.gains, self.offsets, strict=True)]
        return max(max(factor, 1 / factor) if factor > 0.01 else 100.0 for factor in factors)

    def reversed(self) -> Light:
        """Return the way back."""
        gains = [max(gain, 0.01) for gain in self.gains]
        blue, green, red = (-offset / gain for gain, offset in zip(gains, self.offsets, strict=True))
        return Light((1 / gains[0], 1 / gains[1], 1 / gains[2]), (blue, green, red), self.unlike)

    def applied(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the picture (height, width, 3) in the other light."""
        values = np.arange(256, dtype=np.float32)[:, None]
        table = values * np.array(self.gains, np.float32) + np.array(self.offsets, np.float32)
        lut = np.clip(np.rint(table), 0, 255).astype(np.uint8).reshape(1, 256, 3)
        return np.asarray(cv2.LUT(picture, lut), np.uint8)


def compare_light(
    before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8]
) -> Light | None:
    """Return what turns `before` into `after`; None when too little of them can be compared.

    A straight line is fitted to pairs of values, and again without the pairs that do not lie on it: those are what
    moves.

    Args:
        before: BGR uint8, (height, width, 3).
        after: the same view in another light.
        mask: uint8, (height, width); where it is 0 nothing is compared.
    """
    height, width = mask.shape
    rows = np.linspace(0, height - 1, min(_GRID, height)).astype(np.intp)[:, None]
    columns = np.linspace(0, width - 1, min(_GRID, width)).astype(np.intp)[None, :]
    old = before[rows, columns].reshape(-1, 3).astype(np.float64)
    new = after[rows, columns].reshape(-1, 3).astype(np.float64)
    extremes = np.concatenate((old, new), axis=1)
    usable = (mask[rows, columns].reshape(-1) > 0) & (extremes.min(1) > _SHADOWS) & (extremes.max(1) < _HIGHLIGHTS)
    if usable.sum() < _LEAST_POINTS:
        return None
    old, new = old[usable], new[usable]
    (blue, blue_off), (green, green_off), (red, red_off) = (
        _robust_line(old[:, channel], new[:, channel]) for channel in range(3)
    )
    unlike = float(np.mean(np.max((blue_off, green_off, red_off), axis=0) > 3.0))
    if min(blue[0], green[0], red[0]) < _LEAST_GAIN:
        unlike = 1.0  # what was bright is dark and the other way round: no light does that
    return Light((blue[0], green[0], red[0]), (blue[1], green[1], red[1]), unlike)


def _robust_line(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> tuple[tuple[float, float], npt.NDArray[np.float64]]:
    """Return (gain, offset), and how far each point is off, in multiples of what is usual."""
    # The start must not be led astray by a bus: a median of ratios is not.
    gain, offset = float(np.median(y / x)), 0.0
    off, usual = _misses(x, y, gain, offset)
    for _ in range(_ROUNDS):
        near = off < 2.5 * usual
        # Points that are all of one brightness would invent a slope.
        if near.any() and float(np.std(x[near])) > _LEAST_SPREAD:
            centred = x[near] - x[near].mean()
            gain = float((centred * y[near]).sum() / (centred**2).sum())
            offset = float(y[near].mean() - gain * x[near].mean())
            off, usual = _misses(x, y, gain, offset)
    return (gain, offset), off / usual


def _misses(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], gain: float, offset: float
) -> tuple[npt.NDArray[np.float64], float]:
    """Return how far each point is from the line, and how far is usual (noise and compression give 4)."""
    off = np.abs(y - gain * x - offset)
    return off, max(4.0, 1.5 * float(np.median(off)))

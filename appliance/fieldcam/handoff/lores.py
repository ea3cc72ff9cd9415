# SPDX-License-Identifier: MIT
"""The small frames: how large they are and how they are made, for the ring and for whoever makes them from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fieldcam.core.jpeg import DIVISORS, decode_scaled, read_size

if TYPE_CHECKING:
    import numpy.typing as npt

LORES_WIDTH = 640


def lores_size(width: int, height: int, lores_width: int = LORES_WIDTH) -> tuple[int, int]:
    """Return width and height of the small frame; a frame that is small already stays as it is."""
    if width <= lores_width:
        return width, height
    return lores_width, max(1, round(height * lores_width / width))


def shrink(pixels: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8]) -> None:
    """Scale BGR pixels down into `out`, both uint8 of shape (height, width, 3)."""
    height, width = out.shape[:2]
    if pixels.shape == out.shape:
        np.copyto(out, pixels)
        return
    try:
        import cv2
    except ImportError:
        rows = np.arange(height) * pixels.shape[0] // height
        columns = np.arange(width) * pixels.shape[1] // width
        np.copyto(out, pixels[rows[:, None], columns])
        return
    cv2.resize(pixels, (width, height), dst=out, interpolation=cv2.INTER_AREA)


def decode_for(jpeg: bytes, width: int) -> npt.NDArray[np.uint8]:
    """Decode a JPEG at the smallest of the decoder's sizes that is at least `width` wide, or whole.

    Raises:
        ImageInvalidError: it cannot be decoded.
    """
    full_width, _ = read_size(jpeg)
    return decode_scaled(jpeg, divisor=max(d for d in DIVISORS if d == 1 or full_width // d >= width))


def decode_lores(jpeg: bytes, lores_width: int = LORES_WIDTH) -> npt.NDArray[np.uint8]:
    """Return the small frame of a JPEG.

    Raises:
        ImageInvalidError: it cannot be decoded.
    """
    width, height = lores_size(*read_size(jpeg), lores_width)
    out = np.empty((height, width, 3), np.uint8)
    shrink(decode_for(jpeg, width), out)
    return out

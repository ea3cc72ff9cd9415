# SPDX-License-Identifier: MIT
"""Decoding JPEG without OpenCV: whole, in grey, or smaller in a fraction of the memory.

simplejpeg brings libjpeg-turbo along, so a container needs nothing else, and it is faster than cv2.imdecode (57 against
81 ms for 4056×3040). The size is looked at before anything is allocated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import simplejpeg

from fieldcam.core.errors import ImageInvalidError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAX_SIDE = 16_384  # core.config refuses larger sizes, so nothing asked for is refused here
MAX_PIXELS = 120_000_000  # the largest sensors in use have 64 million; decoded this is 360 MB

Divisor = Literal[1, 2, 4, 8]
DIVISORS: tuple[Divisor, ...] = (1, 2, 4, 8)


def check_size(width: int, height: int) -> None:
    """Refuse a size that no camera has.

    Raises:
        ImageInvalidError: it is too large, or nothing.
    """
    if width < 1 or height < 1:
        raise ImageInvalidError(f"the image has no size: {width}x{height}")
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageInvalidError(
            f"the image is too large: {width}x{height}, "
            f"at most {MAX_SIDE} a side and {MAX_PIXELS // 1_000_000} million pixels"
        )


def read_size(data: bytes) -> tuple[int, int]:
    """Return width and height out of the headers of a JPEG.

    Raises:
        ImageInvalidError: it is broken, too large, or no JPEG.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, TypeError) as error:
        raise ImageInvalidError(f"the image cannot be decoded: {error}") from None
    check_size(width, height)
    return int(width), int(height)


def decode(data: bytes, *, out: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
    """Return the BGR pixels of a JPEG, uint8 of shape (height, width, 3).

    Args:
        data: a JPEG.
        out: filled and returned when it fits: contiguous, uint8, of that shape; otherwise a new array is made.

    Raises:
        ImageInvalidError: it is broken, too large, or no JPEG.
    """
    width, height = read_size(data)
    if out is not None and out.shape == (height, width, 3) and out.dtype == "uint8" and _takes_pixels(out):
        _decode(data, "BGR", buffer=out)
        return out
    return _decode(data, "BGR")


def decode_gray(data: bytes) -> npt.NDArray[np.uint8]:
    """Return the brightness of a JPEG, uint8 of shape (height, width).

    Raises:
        ImageInvalidError: it is broken, too large, or no JPEG.
    """
    read_size(data)
    return _decode(data, "GRAY")[:, :, 0]


def decode_scaled(data: bytes, *, divisor: Divisor, gray: bool = False) -> npt.NDArray[np.uint8]:
    """Return a JPEG at a half, a quarter or an eighth of its size, rounded up; the decoder leaves the rest out.

    Raises:
        ImageInvalidError: it is broken, too large, or no JPEG.
        ValueError: the divisor is none of 1, 2, 4, 8.
    """
    if divisor not in DIVISORS:
        raise ValueError(f"divisor is {divisor!r}: 1, 2, 4 and 8 are possible")
    width, height = read_size(data)
    pixels = _decode(data, "GRAY" if gray else "BGR", min_width=-(-width // divisor), min_height=-(-height // divisor))
    return pixels[:, :, 0] if gray else pixels


def decode_at_least(data: bytes, *, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return the BGR pixels of a JPEG, uint8 of shape (h, w, 3), at the smallest of the decoder's own sizes.

    Args:
        data: a JPEG.
        width: in pixels, that is enough; an image that is smaller comes as it is.
        height: the same.

    Raises:
        ImageInvalidError: it is broken, too large, or no JPEG.
    """
    read_size(data)
    return _decode(data, "BGR", min_width=width, min_height=height)


def _takes_pixels(array: npt.NDArray[np.uint8]) -> bool:
    return bool(array.flags.c_contiguous and array.flags.writeable)


def _decode(
    data: bytes,
    colours: str,
    *,
    buffer: npt.NDArray[np.uint8] | None = None,
    min_width: int = 0,
    min_height: int = 0,
) -> npt.NDArray[np.uint8]:
    try:
        pixels = simplejpeg.decode_jpeg(data, colours, min_width=min_width, min_height=min_height, buffer=buffer)
    except (ValueError, TypeError) as error:
        raise ImageInvalidError(f"the image cannot be decoded: {error}") from None
    return cast("npt.NDArray[np.uint8]", pixels)

# SPDX-License-Identifier: MIT
"""A frame that was taken and is not decoded yet: a lease of the ring, or the bytes of a JPEG."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np

from fieldcam.core.clock import Clock
from fieldcam.core.frame import Sidecar
from fieldcam.core.jpeg import DIVISORS, Divisor, decode, decode_gray, decode_scaled, read_size
from fieldcam.handoff.lores import decode_lores
from fieldcam.handoff.ring_reader import Lease

if TYPE_CHECKING:
    import numpy.typing as npt

Source = Literal["ring", "file"]
# ITU-R BT.601, as libjpeg and OpenCV weigh blue, green and red, in 1/65536.
_BLUE, _GREEN, _RED = 7471, 38470, 19595


def new_array(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return an array of uint8 with any content."""
    return np.empty(shape, np.uint8)


class HeldFrame:
    """A frame of one's own until it is closed.

    Attributes:
        sequence: of the frame.
        sidecar: what is known of it.
        stream: `main` or `lores`.
        source: where it came from.
        jpeg: the very bytes of the file; None for a frame out of the ring, or one that is decoded already.

    Args:
        sidecar: of the frame.
        clock: time.
        stream: `main` or `lores`.
        lease: the frame in the ring; closed with this object.
        jpeg: the bytes of its file.
        picture: its pixels, decoded from the file before, which nobody changes.
        empty: returns memory for a whole picture out of the ring or a file. A copy of `picture` has memory of its own,
            as that one is kept beside it already.
    """

    def __init__(
        self,
        sidecar: Sidecar,
        clock: Clock,
        *,
        stream: str,
        lease: Lease | None = None,
        jpeg: bytes | None = None,
        picture: npt.NDArray[np.uint8] | None = None,
        empty: Callable[[tuple[int, ...]], npt.NDArray[np.uint8]] = new_array,
    ) -> None:
        self.sidecar = sidecar
        self.sequence = sidecar.sequence
        self.stream = stream
        self.jpeg = jpeg
        self.source: Source = "file" if lease is None else "ring"
        self._lease = lease
        self._clock = clock
        self._empty = empty
        self._pixels = picture if lease is None else lease.pixels

    @property
    def age(self) -> float:
        """Seconds since the exposure began, now."""
        return (self._clock.boottime_ns() - self.sidecar.monotonic_ns) / 1e9

    def metadata(self) -> dict[str, Any]:
        """Return the sidecar and `age`, in seconds."""
        return {**self.sidecar.to_dict(), "age": self.age}

    @property
    def view(self) -> npt.NDArray[np.uint8] | None:
        """The pixels, read-only, valid until `close`; None for a frame that is not decoded yet."""
        if self._pixels is None:
            return None
        view: npt.NDArray[np.uint8] = self._pixels.view()
        view.flags.writeable = False
        return view

    def image(
        self, *, gray: bool = False, divisor: Divisor = 1, out: npt.NDArray[np.uint8] | None = None
    ) -> npt.NDArray[np.uint8]:
        """Return the pixels as an array of the caller's own.

        Args:
            gray: brightness only, shape (height, width), instead of BGR, shape (height, width, 3).
            divisor: 1, 2, 4 or 8: sides divided by it, rounded up.
            out: filled and returned when its shape fits and it can be written.

        Raises:
            ImageInvalidError: the JPEG is damaged.
            ValueError: another divisor, or the frame was closed.
        """
        if divisor not in DIVISORS:
            raise ValueError(f"divisor is {divisor!r}: 1, 2, 4 and 8 are possible")
        if self._pixels is not None:
            if self._lease is None or gray or divisor != 1:
                return _own(_reduced(self._pixels, gray=gray, divisor=divisor), self._pixels, out)
            fits = out is not None and _fits(out, self._pixels)
            return self._lease.copy(out if fits else self._empty(self._pixels.shape))
        if self.jpeg is None:
            raise ValueError("the frame was closed")
        if self.stream == "lores":
            pixels = decode_lores(self.jpeg)
            return _own(_reduced(pixels, gray=gray, divisor=divisor), None, out)
        if gray or divisor != 1:
            pixels = decode_gray(self.jpeg) if divisor == 1 else decode_scaled(self.jpeg, divisor=divisor, gray=gray)
            return _own(pixels, None, out)
        if out is None or not out.flags.writeable:
            width, height = read_size(self.jpeg)
            out = self._empty((height, width, 3))
        return decode(self.jpeg, out=out)

    def close(self) -> None:
        """Give the slot back. Idempotent."""
        self._pixels = None
        if self._lease is not None:
            self._lease.close()
            self._lease = None
        self.jpeg = None

    def __enter__(self) -> Self:
        """Hold it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        self.close()


def _own(
    pixels: npt.NDArray[np.uint8], shared: npt.NDArray[np.uint8] | None, out: npt.NDArray[np.uint8] | None
) -> npt.NDArray[np.uint8]:
    """Return pixels that nobody else changes."""
    if out is not None and _fits(out, pixels):
        np.copyto(out, pixels)
        return out
    return pixels.copy() if pixels is shared or not pixels.flags.writeable else pixels


def _fits(out: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint8]) -> bool:
    return out.shape == pixels.shape and out.dtype == np.uint8 and out.flags.writeable


def _reduced(pixels: npt.NDArray[np.uint8], *, gray: bool, divisor: int) -> npt.NDArray[np.uint8]:
    """Return pixels in grey, or smaller, by the mean of each block as libjpeg does; the same array when neither."""
    if divisor != 1:
        pixels = _shrunk(pixels, divisor)
    return _gray(pixels) if gray else pixels


def _shrunk(pixels: npt.NDArray[np.uint8], divisor: int) -> npt.NDArray[np.uint8]:
    height, width = -(-pixels.shape[0] // divisor), -(-pixels.shape[1] // divisor)
    try:
        import cv2
    except ImportError:
        pass
    else:
        return cast("npt.NDArray[np.uint8]", cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))
    low, right = height * divisor - pixels.shape[0], width * divisor - pixels.shape[1]
    padded = np.pad(pixels, ((0, low), (0, right), (0, 0)), mode="edge")
    blocks = padded.reshape(height, divisor, width, divisor, 3)
    shrunk: npt.NDArray[np.uint8] = np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)
    return shrunk


def _gray(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    try:
        import cv2
    except ImportError:
        pass
    else:
        return cast("npt.NDArray[np.uint8]", cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))
    weighed = pixels[..., 0].astype(np.uint32) * _BLUE + pixels[..., 1] * np.uint32(_GREEN)
    weighed += pixels[..., 2] * np.uint32(_RED) + np.uint32(32768)
    gray: npt.NDArray[np.uint8] = (weighed >> np.uint32(16)).astype(np.uint8)
    return gray

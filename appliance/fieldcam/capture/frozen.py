# SPDX-License-Identifier: MIT
"""Noticing a sensor that hangs: it goes on delivering, but always the same picture.

A real sensor never gives the same picture twice, because of its noise. So pictures are compared, not files: rpicam
writes the time into the header of every JPEG, whatever the sensor does. Pixels are compared by a sample, which takes
2 ms of 12 million; a sensor that says when it exposed is believed when it says the same moment again.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fieldcam.core.frame import Shot

SENSOR_TIME = "SensorTimestamp"  # libcamera's name (control_ids), in what rpicam and picamera2 report
_SAMPLED_PIXELS = 2**18


@dataclass(frozen=True, slots=True)
class _Trace:
    """What is kept of a frame to compare the next one with."""

    exposed_at_ns: int
    sensor_ns: object
    size: tuple[int, int]
    picture: bytes
    starts_at: int

    def is_same_as(self, other: _Trace) -> bool:
        if self.exposed_at_ns == other.exposed_at_ns:
            return True
        if self.sensor_ns is not None and self.sensor_ns == other.sensor_ns:
            return True
        length = len(self.picture) - self.starts_at
        # The lengths differ nearly always, so nothing is copied to be compared.
        return (
            self.size == other.size
            and length == len(other.picture) - other.starts_at
            and self.picture[self.starts_at :] == other.picture[other.starts_at :]
        )


class IdenticalFrames:
    """Counts how many frames in a row are the same as the one before. One camera, one thread."""

    def __init__(self) -> None:
        self._last: _Trace | None = None
        self._count = 0

    def count(self, shot: Shot) -> int:
        """Return how many frames directly before this one were the same: 0 when it is a new picture."""
        if shot.jpeg is not None:
            picture, starts_at = shot.jpeg, picture_offset(shot.jpeg)
        else:
            picture, starts_at = _sample(shot.pixels), 0
        return self._compare(
            _Trace(shot.exposed_at_ns, shot.settings.get(SENSOR_TIME), (shot.width, shot.height), picture, starts_at)
        )

    def count_jpeg(self, jpeg: bytes, exposed_at_ns: int, size: tuple[int, int]) -> int:
        """Return the same for a frame of a preview stream, of which no more is known."""
        return self._compare(_Trace(exposed_at_ns, None, size, jpeg, picture_offset(jpeg)))

    def _compare(self, trace: _Trace) -> int:
        is_same = self._last is not None and trace.is_same_as(self._last)
        self._count = self._count + 1 if is_same else 0
        self._last = trace
        return self._count


def picture_offset(jpeg: bytes) -> int:
    """Return where the picture of a JPEG begins, after the application and comment segments in front of it.

    Tolerates anything: whether it is a whole JPEG is proved elsewhere.
    """
    position = 2
    while (
        position + 4 <= len(jpeg)
        and jpeg[position] == 0xFF
        and (0xE0 <= jpeg[position + 1] <= 0xEF or jpeg[position + 1] == 0xFE)
    ):
        position += 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
    return min(position, len(jpeg))


def _sample(pixels: npt.NDArray[np.uint8] | None) -> bytes:
    if pixels is None:
        return b""
    step = max(1, math.isqrt(pixels.shape[0] * pixels.shape[1] // _SAMPLED_PIXELS))
    return hashlib.blake2b(pixels[::step, ::step].tobytes(), digest_size=16).digest()

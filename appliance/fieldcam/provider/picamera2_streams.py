# SPDX-License-Identifier: MIT
"""The two streams of a configuration, `main` and `lores`: their formats, sizes and pictures.

The main picture has the nearest of the sizes that cost nothing to make. The small one has exactly the size that was
asked for: programs feed it to networks that take no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from fieldcam.core.jpeg import Divisor
from fieldcam.handoff.lores import LORES_WIDTH, decode_for, lores_size, shrink
from fieldcam.provider.frame_source import TakenFrame
from fieldcam.provider.picamera2_configuration import CHANNELS, RGB, Configuration, stream_settings
from fieldcam.provider.picamera2_frame import in_format
from fieldcam.provider.scaled_sizes import Size, nearest_divisor, scaled

if TYPE_CHECKING:
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]

LORES: Literal["lores"] = "lores"


class Streams:
    """Makes pictures as the configuration says.

    Attributes:
        config: None = full size, R, G, B.
    """

    def __init__(self) -> None:
        self.config: Configuration | None = None

    def source(self, name: str) -> Literal["main", "lores"]:
        """Return which stream of the ring has what the pictures of a stream are made of."""
        return LORES if name == LORES and self._stream(name)["size"][0] <= LORES_WIDTH else "main"

    def array(self, frame: TakenFrame, name: str) -> Image:
        """Return the picture of a stream in its format."""
        return in_format(self.bgr(frame, name), self._format(name))

    def bgr(self, frame: TakenFrame, name: str) -> Image:
        """Return the picture of a stream as BGR; the frame may be of either stream."""
        full = _full_size(frame)
        if name != LORES:
            return frame.image(divisor=self._divisor(full))
        width, height = self._lores_size(full)
        pixels = decode_for(frame.jpeg, width) if frame.jpeg is not None else frame.image()
        if pixels.shape[:2] == (height, width):
            return pixels
        small = np.empty((height, width, 3), np.uint8)
        shrink(pixels, small)
        return small

    def is_whole(self, frame: TakenFrame, name: str) -> bool:
        """Return whether the picture of a stream is the frame as it is."""
        return name != LORES and self._divisor(_full_size(frame)) == 1

    def described(self, name: str, full: Size | None) -> Configuration:
        """Return `size`, `format`, `stride` and `framesize` of a stream's pictures; `full` = None: not known yet."""
        size, format_name = (0, 0), self._format(name)
        if full is not None:
            size = self._lores_size(full) if name == LORES else scaled(full, self._divisor(full))
        if format_name == "YUV420":
            size = size[0] - size[0] % 2, size[1] - size[1] % 2
        stride = size[0] * CHANNELS[format_name]
        rows = size[1] * 3 // 2 if format_name == "YUV420" else size[1]
        return Configuration(size=size, format=format_name, stride=stride, framesize=stride * rows)

    def _stream(self, name: str) -> Configuration:
        stream = self.config.get(LORES if name == LORES else "main") if self.config is not None else None
        return stream if stream is not None else stream_settings({}, (0, 0))

    def _format(self, name: str) -> str:
        wanted = self._stream(name)["format"]
        return wanted if wanted in CHANNELS else RGB

    def _divisor(self, full: Size) -> Divisor:
        return nearest_divisor(full, *self._stream("main")["size"])

    def _lores_size(self, full: Size) -> Size:
        """Return the size of the small picture: as asked for, else at most 640 wide and never the full size."""
        width, height = self._stream(LORES)["size"]
        if width > 0 and height > 0:
            return min(width, full[0]), min(height, full[1])
        small = lores_size(*full)
        return small if small != full else scaled(full, 2)


def _full_size(frame: TakenFrame) -> Size:
    metadata = frame.metadata()
    return metadata["width"], metadata["height"]

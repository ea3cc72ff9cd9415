# SPDX-License-Identifier: MIT
"""JPEG: prove an image whole without decoding it, encode, scale. core.jpeg decodes.

Decoders forgive too much for a camera: libjpeg paints the missing half of a cut file grey and calls it a warning. So
what a camera delivers is walked segment by segment (ITU-T T.81, annex B) up to an end marker that must be the last
thing in the data. The walk of a 5 MB image takes about 5 ms, a full decode 160 ms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
import simplejpeg

from fieldcam.core.errors import ImageInvalidError
from fieldcam.core.jpeg import check_size, decode_at_least

if TYPE_CHECKING:
    import numpy.typing as npt

PREVIEW_QUALITY = 80

_MAX_SEGMENTS = 4096  # a photo has tens; without a bound, crafted data costs seconds
_SOI = b"\xff\xd8"
_EOI, _SOS = 0xD9, 0xDA
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive: what every decoder reads
_OTHER_FRAMES = frozenset({0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
_WITHOUT_LENGTH = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
# In image data an FF is followed by 00 (stuffed) or a restart number; FF FF is filling before a marker.
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@dataclass(frozen=True, slots=True)
class JpegInfo:
    """What the headers of a JPEG say.

    Attributes:
        width, height: of the pixel matrix, in pixels; an EXIF orientation is not applied.
        components: 1 (grey) or 3 (colour).
        progressive: whether it is a progressive JPEG.
        size_bytes: length up to and with the end marker.
    """

    width: int
    height: int
    components: int
    progressive: bool
    size_bytes: int


def inspect_jpeg(data: bytes) -> JpegInfo:
    """Prove that `data` is one whole JPEG and nothing else, and return its dimensions.

    Raises:
        ImageInvalidError: it is not; the message says why.
    """
    info = _walk(data)
    if info.size_bytes != len(data):
        raise ImageInvalidError(f"{len(data) - info.size_bytes} bytes follow the end of the image")
    return info


def cut_jpeg(data: bytes) -> tuple[bytes, JpegInfo]:
    """Return the image at the start of `data` without what follows it (phones append previews and videos).

    Raises:
        ImageInvalidError: there is no whole JPEG at the start.
    """
    info = _walk(data)
    return (data if info.size_bytes == len(data) else data[: info.size_bytes]), info


def encode(pixels: npt.NDArray[np.uint8], quality: int) -> bytes:
    """Return BGR pixels, uint8 of shape (height, width, 3), as JPEG with 4:2:0 colour.

    Raises:
        ImageInvalidError: the array has another shape or type, or no pixels.
    """
    try:
        return cast("bytes", simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "BGR", "420", fastdct=False))
    except (ValueError, TypeError) as error:
        raise ImageInvalidError(f"the pixels cannot be encoded: {error}") from None


def scale_jpeg(data: bytes, *, max_width: int) -> tuple[bytes, int, int]:
    """Return a JPEG at most `max_width` pixels wide, its width and its height; the same bytes if it is already.

    Raises:
        ImageInvalidError: it is broken, too large, or no JPEG.
    """
    info = inspect_jpeg(data)
    if info.width <= max_width:
        return data, info.width, info.height
    size = (max_width, scaled_height(info.width, info.height, max_width))
    pixels = cv2.resize(decode_at_least(data, width=size[0], height=size[1]), size, interpolation=cv2.INTER_AREA)
    return encode(cast("npt.NDArray[np.uint8]", pixels), PREVIEW_QUALITY), *size


def scaled_height(width: int, height: int, new_width: int) -> int:
    """Return the height that keeps the proportions at `new_width`."""
    return max(1, round(height * new_width / width))


def _walk(data: bytes) -> JpegInfo:
    """Go from marker to marker up to the end of the image.

    Segments are stepped over by their length, so a thumbnail inside EXIF is never looked at.
    """
    if not data:
        raise ImageInvalidError("the image is empty")
    if not data.startswith(_SOI):
        raise ImageInvalidError("it is no JPEG: the start marker is missing")
    frame: JpegInfo | None = None
    scan_bytes = 0
    position = 2
    for _ in range(_MAX_SEGMENTS):
        marker, position = _marker(data, position)
        if marker == _EOI:
            return _ended(frame, scan_bytes, position)
        if marker in _WITHOUT_LENGTH:
            raise ImageInvalidError(f"the image is damaged: marker FF{marker:02X} at byte {position - 2}")
        end = _segment_end(data, position)
        if marker in _OTHER_FRAMES:
            raise ImageInvalidError(f"a JPEG of an unusual kind (frame FF{marker:02X}), which not every program reads")
        if marker in _FRAMES:
            if frame is not None:
                raise ImageInvalidError("the image is damaged: it has two frame headers")
            frame = _frame(data[position + 2 : end], progressive=marker == 0xC2)
        position = end
        if marker == _SOS:
            if frame is None:
                raise ImageInvalidError("the image is damaged: image data come before their header")
            found = _MARKER_IN_SCAN.search(data, end)
            if found is None:
                raise ImageInvalidError(f"the image is cut off: {len(data)} bytes and no end marker")
            position = found.start()
            scan_bytes += position - end
    raise ImageInvalidError(f"the image is damaged: more than {_MAX_SEGMENTS} segments")


def _marker(data: bytes, position: int) -> tuple[int, int]:
    """Return the marker at `position` and where its segment begins."""
    start = position
    while data[position : position + 1] == b"\xff":
        position += 1
    if position >= len(data):
        raise ImageInvalidError(f"the image is cut off: {len(data)} bytes and no end marker")
    if position == start or data[position] == 0:
        raise ImageInvalidError(f"the image is damaged: no marker at byte {start}")
    return data[position], position + 1


def _segment_end(data: bytes, position: int) -> int:
    length = int.from_bytes(data[position : position + 2], "big")
    if position + 2 <= len(data) and length < 2:
        raise ImageInvalidError(f"the image is damaged: a segment of length {length} at byte {position}")
    if position + length > len(data) or position + 2 > len(data):
        raise ImageInvalidError(f"the image is cut off in its header, after {len(data)} bytes")
    return position + length


def _frame(header: bytes, *, progressive: bool) -> JpegInfo:
    if len(header) < 6:
        raise ImageInvalidError("the image is damaged: its frame header is too short")
    precision, components = header[0], header[5]
    height, width = int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:5], "big")
    check_size(width, height)
    if precision != 8:
        raise ImageInvalidError(f"{precision} bits per sample; only 8 are read")
    if components not in {1, 3}:
        raise ImageInvalidError(f"{components} colour components; only 1 and 3 are read")
    return JpegInfo(width, height, components, progressive, 0)


def _ended(frame: JpegInfo | None, scan_bytes: int, end: int) -> JpegInfo:
    if frame is None or scan_bytes == 0:
        raise ImageInvalidError("the JPEG has no image data")
    # A block of 8x8 pixels has at least two Huffman codes of one bit; a progressive image may bundle empty blocks.
    if not frame.progressive and scan_bytes * 256 < frame.width * frame.height:
        raise ImageInvalidError(
            f"the image is damaged: {scan_bytes} bytes of image data cannot fill {frame.width}x{frame.height} pixels"
        )
    return JpegInfo(frame.width, frame.height, frame.components, frame.progressive, end)

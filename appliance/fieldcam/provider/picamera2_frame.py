# SPDX-License-Identifier: MIT
"""A captured frame in the shapes that Picamera2 gives: arrays by format name, libcamera's metadata, files."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import simplejpeg

from fieldcam.core.durable import replace_file
from fieldcam.core.errors import RequestInvalidError
from fieldcam.provider.picamera2_configuration import RGB

if TYPE_CHECKING:
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]

_JPEG_NAMES = frozenset({"jpg", "jpeg"})
DEFAULT_QUALITY = 90  # as Picamera2


def in_format(bgr: Image, format_name: str) -> Image:
    """Return BGR pixels of shape (height, width, 3) as libcamera's format of that name, R, G, B for an unknown one.

    `BGR888` is R, G, B and `RGB888` is B, G, R; `XBGR8888` and `XRGB8888` have 255 besides; `YUV420` is of shape
    (height * 3 / 2, width) with full range (ITU-R BT.601, as in a JPEG).
    """
    if format_name == "RGB888":
        return bgr
    if format_name == "YUV420":
        return _yuv420(bgr)
    if format_name in {"XBGR8888", "XRGB8888"}:
        wide = np.full((*bgr.shape[:2], 4), 255, np.uint8)
        wide[..., :3] = bgr if format_name == "XRGB8888" else bgr[..., ::-1]
        return wide
    return np.ascontiguousarray(bgr[..., ::-1])


def libcamera_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a frame's metadata under libcamera's names, and under ours.

    What the camera reported is kept (lists become tuples, as Picamera2 has them). ExposureTime is in microseconds;
    SensorTimestamp is the start of the exposure on CLOCK_BOOTTIME, in nanoseconds.
    """
    reported = metadata.get("settings") or {}
    found = {name: tuple(value) if isinstance(value, list) else value for name, value in reported.items()}
    if metadata.get("exposure") is not None:
        found.setdefault("ExposureTime", round(metadata["exposure"] * 1000))
    if metadata.get("gain") is not None and "AnalogueGain" not in found:
        found |= {"AnalogueGain": float(metadata["gain"]), "DigitalGain": 1.0}
    if metadata.get("monotonic_ns") is not None:
        found["SensorTimestamp"] = metadata["monotonic_ns"]
    return {**found, **metadata}


def pil_image(bgr: Image) -> Any:
    """Return BGR pixels as `PIL.Image.Image`.

    Raises:
        ImportError: Pillow is not there; the message says what to install.
    """
    try:
        pillow = import_module("PIL.Image")
    except ImportError as error:
        raise ImportError("a PIL image needs Pillow, which is not installed here: `pip install pillow`") from error
    return pillow.fromarray(in_format(bgr, RGB))


def format_of(target: Any, format_name: str | None) -> str:
    """Return the format a file is to have: as named, else by its suffix.

    Raises:
        RequestInvalidError: neither tells.
    """
    if format_name is None and isinstance(target, str | os.PathLike):
        format_name = Path(target).suffix
    name = (format_name or "").removeprefix(".").lower()
    if not name:
        raise RequestInvalidError("what format the file shall have cannot be told: give it a suffix, or a format")
    return name


def is_jpeg(format_name: str) -> bool:
    """Return whether a format is JPEG."""
    return format_name in _JPEG_NAMES


def encoded(bgr: Image, format_name: str, options: Mapping[str, Any]) -> bytes:
    """Return BGR pixels as an image file of that format: JPEG always, others through Pillow or OpenCV.

    Raises:
        ImportError: neither of them is there.
        RequestInvalidError: they do not know the format.
    """
    quality = int(options.get("quality", DEFAULT_QUALITY))
    if is_jpeg(format_name):
        return cast("bytes", simplejpeg.encode_jpeg(np.ascontiguousarray(bgr), quality, "BGR", "420", fastdct=False))
    try:
        image = pil_image(bgr)
    except ImportError:
        return _encoded_by_opencv(bgr, format_name)
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=format_name, compress_level=int(options.get("compress_level", 1)), quality=quality)
    except (KeyError, ValueError, OSError):
        raise _unknown(format_name) from None
    return buffer.getvalue()


def write(target: Any, data: bytes) -> None:
    """Write a file, whole or not at all and safe from a power cut; an open file just gets the bytes.

    Raises:
        StorageFullError, StorageUnavailableError, SharedVolumeError: nothing was written; a former file is as it was.
    """
    if isinstance(target, str | os.PathLike):
        replace_file(Path(target), data, durable=True)
    else:
        target.write(data)


def _encoded_by_opencv(bgr: Image, format_name: str) -> bytes:
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            f"writing {format_name} needs Pillow or OpenCV, and neither is installed here: `pip install pillow`; "
            "jpg needs neither"
        ) from error
    try:
        _, data = cv2.imencode(f".{format_name}", bgr)
    except cv2.error:
        raise _unknown(format_name) from None
    return data.tobytes()


def _unknown(format_name: str) -> RequestInvalidError:
    return RequestInvalidError(f"images cannot be written as {format_name!r}; jpg and png can")


def _yuv420(bgr: Image) -> Image:
    height, width = (side - side % 2 for side in bgr.shape[:2])
    blue, green, red = np.moveaxis(bgr[:height, :width].astype(np.float32), 2, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = [luma.ravel()]
    for colour, weight in ((blue, 1.772), (red, 1.402)):
        chroma = (colour - luma) / weight + 128.0
        planes.append(chroma.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3)).ravel())
    joined = np.concatenate(planes)
    whole: Image = np.clip(np.rint(joined), 0, 255).astype(np.uint8)
    return whole.reshape(height * 3 // 2, width)

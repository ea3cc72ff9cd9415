# SPDX-License-Identifier: MIT
"""What the replay camera plays: a folder of photos or a video file, one picture after another, for ever."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import cv2
import numpy as np

from fieldcam.camera.jpeg import cut_jpeg
from fieldcam.core.clock import Clock
from fieldcam.core.errors import CameraNotAvailableError, CaptureTimeoutError, ImageInvalidError
from fieldcam.core.jpeg import decode_at_least
from fieldcam.core.logs import get_logger

if TYPE_CHECKING:
    import numpy.typing as npt

_log = get_logger(__name__)

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe"})
PHOTO_SUFFIXES = JPEG_SUFFIXES | {".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
MAX_FILE_BYTES = 256 * 1024 * 1024
_NAMES_SHOWN = 5
_PHOTOS_LOOKED_AT = 16  # for the sizes on offer; a folder may hold thousands
_USUAL_FPS = 25.0
_MOST_FPS = 1000.0
_SECONDS_STEPPED_OVER = 2.0  # more than that is jumped, which costs a decode from the key frame before


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of the media: the bytes of a JPEG file, or BGR pixels.

    Attributes:
        source: file name, for a video with the number of the frame.
    """

    source: str
    width: int
    height: int
    jpeg: bytes | None = None
    pixels: npt.NDArray[np.uint8] | None = None

    def fitted(self, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Return BGR pixels of exactly that size: what does not fit the proportions is cut off at the sides.

        Raises:
            ImageInvalidError: the JPEG is broken.
        """
        if self.pixels is not None:
            pixels = self.pixels
        else:
            pixels = decode_at_least(cast("bytes", self.jpeg), width=width, height=height)
        return _fit(pixels, width, height)


class Media(Protocol):
    """What is played."""

    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Return the sizes (width, height) found in the media."""

    def next(self, *, deadline_ns: int) -> Picture:
        """Return the picture whose turn it is.

        Raises:
            CameraNotAvailableError: nothing usable is left.
            CaptureTimeoutError: CLOCK_BOOTTIME reached `deadline_ns` first.
        """

    def close(self) -> None:
        """Let go of the media. Idempotent."""


def open_media(path: Path, clock: Clock) -> Media:
    """Open a folder of photos, a single photo or a video file.

    Raises:
        CameraNotAvailableError: there is nothing usable at `path`; the message says what was found.
    """
    if path.is_dir():
        return PhotoFolder(path, clock)
    if not path.exists():
        raise CameraNotAvailableError(f"media: {path} does not exist; give a folder of photos or a video file")
    if not path.is_file():
        raise CameraNotAvailableError(f"media: {path} is neither a folder nor a file")
    return PhotoFolder(path, clock) if path.suffix.lower() in PHOTO_SUFFIXES else VideoFile(path, clock)


class PhotoFolder:
    """The photos of a folder by name, again and again. Sub-folders and hidden files are left out.

    The folder is listed anew after each round, so photos may come and go. A photo that cannot be used is skipped and
    named in the log once.

    Args:
        path: the folder, or one photo.
        clock: for deadlines.

    Raises:
        CameraNotAvailableError: there is no usable photo; the message names what was found instead.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._reported: set[str] = set()
        self._round: Iterator[Path] = iter(())
        self._sizes = self._look_around()

    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Return the sizes of the first photos."""
        return self._sizes

    def next(self, *, deadline_ns: int) -> Picture:
        """Return the next photo; see `Media.next`."""
        for _ in range(2):  # the rest of this round, and a whole one
            for file in self._round:
                if self._clock.boottime_ns() >= deadline_ns:
                    raise CaptureTimeoutError(f"reading the photos in {self._path} took too long")
                picture = self._read(file)
                if picture is not None:
                    return picture
            self._round = iter(self._list())
        raise CameraNotAvailableError(self._nothing_usable())

    def close(self) -> None:
        """Nothing is held open."""

    def _look_around(self) -> tuple[tuple[int, int], ...]:
        found = []
        for file in self._list():
            picture = self._read(file)
            if picture is not None:
                found.append((picture.width, picture.height))
                if len(found) >= _PHOTOS_LOOKED_AT:
                    break
        if not found:
            raise CameraNotAvailableError(self._nothing_usable())
        return tuple(dict.fromkeys(found))

    def _list(self) -> list[Path]:
        try:
            files = [self._path] if self._path.is_file() else sorted(self._path.iterdir())
            return [
                file
                for file in files
                if file.suffix.lower() in PHOTO_SUFFIXES and not file.name.startswith(".") and file.is_file()
            ]
        except OSError as error:
            raise CameraNotAvailableError(f"media: {self._path} cannot be read: {error.strerror}") from None

    def _read(self, file: Path) -> Picture | None:
        try:
            return _read_photo(file)
        except (ImageInvalidError, OSError) as error:
            if file.name not in self._reported:
                self._reported.add(file.name)
                reason = error.message if isinstance(error, ImageInvalidError) else error.strerror or str(error)
                _log.event(logging.WARNING, "REPLAY_PHOTO_SKIPPED", reason, file=file)
            return None

    def _nothing_usable(self) -> str:
        try:
            names = [self._path.name] if self._path.is_file() else sorted(entry.name for entry in self._path.iterdir())
        except OSError:
            names = []
        if not names:
            found = "it is empty"
        else:
            more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
            found = f"found only {', '.join(names[:_NAMES_SHOWN])}{more}"
        return f"media: no usable photo in {self._path}: {found}; put whole JPEG or PNG files there"


class VideoFile:
    """A video at its own speed, again and again: each call gives a later frame than the one before.

    Args:
        path: the file.
        clock: where in the video it is.

    Raises:
        CameraNotAvailableError: it is not a video this machine can decode.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        # FFmpeg alone: with any backend OpenCV would take some names for patterns of numbered images.
        self._video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        readable, frame = self._video.read() if self._video.isOpened() else (False, None)
        if not readable or frame is None:
            self._video.release()
            raise CameraNotAvailableError(
                f"media: {path} is neither a photo nor a video that can be decoded; "
                "give a folder of photos or a video file"
            )
        self._size = (int(frame.shape[1]), int(frame.shape[0]))
        fps = self._video.get(cv2.CAP_PROP_FPS)
        self._fps = fps if math.isfinite(fps) and 0 < fps <= _MOST_FPS else _USUAL_FPS
        self._count = int(max(0.0, self._video.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._number = 0  # of the frame that comes next
        self._started_ns = 0  # when frame 0 was or would have been due
        self._jump_to(0)

    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Return the size of the video."""
        return (self._size,)

    def next(self, *, deadline_ns: int) -> Picture:
        """Return the frame of this moment; see `Media.next`."""
        due = int((self._clock.boottime_ns() - self._started_ns) / 1e9 * self._fps)
        if due - self._number > self._fps * _SECONDS_STEPPED_OVER:
            due = due % self._count if self._count else 0
            self._jump_to(due)
        while self._number < due:
            if self._clock.boottime_ns() >= deadline_ns:
                raise CaptureTimeoutError(f"decoding {self._path} took too long")
            if not self._video.grab():
                self._jump_to(0)
                break
            self._number += 1
        readable, frame = self._video.read()
        if not readable:
            self._jump_to(0)
            readable, frame = self._video.read()
        if not readable or frame is None:
            raise CameraNotAvailableError(f"media: {self._path} cannot be decoded any more")
        pixels = cast("npt.NDArray[np.uint8]", frame)
        picture = Picture(f"{self._path.name}#{self._number}", pixels.shape[1], pixels.shape[0], pixels=pixels)
        self._number += 1
        return picture

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._video.release()

    def _jump_to(self, number: int) -> None:
        if not self._video.set(cv2.CAP_PROP_POS_FRAMES, number) and number == 0:
            self._video.open(str(self._path), cv2.CAP_FFMPEG)
        self._number = number
        self._started_ns = self._clock.boottime_ns() - int(number / self._fps * 1e9)


def _read_photo(file: Path) -> Picture:
    """Read a photo; the bytes of a JPEG are kept as they are."""
    size = file.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ImageInvalidError(f"the file has {size} bytes, more than {MAX_FILE_BYTES}")
    data = file.read_bytes()
    if data.startswith(b"\xff\xd8"):
        jpeg, info = cut_jpeg(data)
        return Picture(file.name, info.width, info.height, jpeg=jpeg)
    if not data or file.suffix.lower() in JPEG_SUFFIXES:
        raise ImageInvalidError("the file is empty" if not data else "it is no JPEG")
    try:
        # As the bytes of a JPEG are handed on with their orientation mark, the matrix is not turned here either.
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageInvalidError(f"it cannot be decoded: {error}") from None
    if decoded is None:
        raise ImageInvalidError("it cannot be decoded")
    pixels = cast("npt.NDArray[np.uint8]", decoded)
    return Picture(file.name, pixels.shape[1], pixels.shape[0], pixels=pixels)


def _fit(pixels: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    have_height, have_width = pixels.shape[:2]
    if (have_width, have_height) == (width, height):
        return pixels
    scale = max(width / have_width, height / have_height)
    part_width = min(have_width, max(1, round(width / scale)))
    part_height = min(have_height, max(1, round(height / scale)))
    left, top = (have_width - part_width) // 2, (have_height - part_height) // 2
    part = pixels[top : top + part_height, left : left + part_width]
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cast("npt.NDArray[np.uint8]", cv2.resize(part, (width, height), interpolation=method))

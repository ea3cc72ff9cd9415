# SPDX-License-Identifier: MIT
"""Small previews of captures, made in a thread of their own so that announcements never wait for a decoder.

JPEG is decoded at a fraction of its size (libjpeg-turbo scales while decoding), then resized to the exact width. A
thumbnail can always be made again, so it is dropped when the queue is full; reconciling asks for it later.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import simplejpeg

from fieldcam.core.durable import make_folder, replace_file
from fieldcam.core.errors import SharedVolumeError
from fieldcam.core.logs import get_logger
from fieldcam.manager.sources import Sources
from fieldcam.store.volume import Volume

_log = get_logger(__name__)
WIDTH = 320
QUALITY = 80
QUEUE = 256
MAX_IMAGE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """A thumbnail to be made."""

    camera: str
    filename: str


class Thumbnailer:
    """Makes thumbnails until closed.

    Args:
        sources: where images and thumbnails are.
        done: called from the thread after each one, so that the manager looks at `take_made`.
    """

    def __init__(self, sources: Sources, done: Callable[[], None]) -> None:
        self._sources = sources
        self._done = done
        self._queue: queue.Queue[Wanted | None] = queue.Queue(QUEUE)
        self._waiting: set[Wanted] = set()
        self._made: deque[tuple[str, str, str]] = deque()
        self._thread = threading.Thread(target=self._run, name="thumbnails", daemon=True)
        self._thread.start()

    def want(self, camera: str, filename: str) -> bool:
        """Ask for a thumbnail; return False when the queue is full. One that waits already is not asked for twice."""
        wanted = Wanted(camera, filename)
        if wanted in self._waiting:
            return True
        self._waiting.add(wanted)
        try:
            self._queue.put_nowait(wanted)
        except queue.Full:
            self._waiting.discard(wanted)
            return False
        return True

    def take_made(self) -> list[tuple[str, str, str]]:
        """Return (camera, filename, path relative to the archive) of those made since the last call."""
        made = []
        while self._made:
            made.append(self._made.popleft())
        return made

    def close(self, timeout_seconds: float = 3.0) -> None:
        """End the thread after the thumbnail under way; those that wait are made after the next start."""
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                break
        self._queue.put(None)
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while (wanted := self._queue.get()) is not None:
            try:
                if self._make(wanted):
                    relative = self._sources.relative_thumbnail(wanted.camera, wanted.filename)
                    self._made.append((wanted.camera, wanted.filename, relative))
                    self._done()
            except (SharedVolumeError, OSError, ValueError) as error:
                _log.event(logging.WARNING, "THUMBNAIL_FAILED", str(error), camera=wanted.camera, image=wanted.filename)
            finally:
                self._waiting.discard(wanted)

    def _make(self, wanted: Wanted) -> bool:
        source = self._sources.image(wanted.camera, wanted.filename, "capture")
        target = self._sources.thumbnail(wanted.camera, wanted.filename)
        try:
            if source.lstat().st_size > MAX_IMAGE_BYTES:
                raise ValueError(f"larger than {MAX_IMAGE_BYTES} bytes")
            data = source.read_bytes()
        except FileNotFoundError:
            return False  # removed meanwhile
        thumbnail = make_thumbnail(data)
        Volume.open(self._sources.layout.archive_dir, "archive")
        make_folder(target.parent)
        replace_file(target, thumbnail, durable=True)
        return True


def make_thumbnail(jpeg: bytes) -> bytes:
    """Return a JPEG of `WIDTH` pixels, or as wide as the image is when that is less.

    Raises:
        ValueError: the bytes are not a whole JPEG.
    """
    import cv2  # 30 MB, and a manager that never sees a capture never needs it

    pixels = simplejpeg.decode_jpeg(jpeg, "BGR", fastdct=True, fastupsample=True, min_width=WIDTH, min_factor=1)
    height, width = pixels.shape[:2]
    if width > WIDTH:
        size = (WIDTH, max(1, round(height * WIDTH / width)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    encoded: bytes = simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorspace="BGR")
    return encoded

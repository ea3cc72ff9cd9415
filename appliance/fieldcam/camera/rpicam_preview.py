# SPDX-License-Identifier: MIT
"""The preview stream of a Pi camera: rpicam-vid writes one JPEG after another, a thread keeps the newest.

The thread reads whatever happens. If it waited for the watcher, the tool would block: its frames would be old when
they come, and it would no longer heed signals.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from fieldcam.camera.base import PreviewFrame
from fieldcam.camera.jpeg import inspect_jpeg
from fieldcam.camera.rpicam_reports import complaint
from fieldcam.camera.tool import Child, Finished, ToolRunner
from fieldcam.core.clock import Clock
from fieldcam.core.errors import CaptureServiceError, CaptureTimeoutError, ImageInvalidError

FIRST_FRAME_SECONDS = 10.0
NEXT_FRAME_SECONDS = 5.0
_MAX_FRAME_BYTES = 32 * 1024 * 1024
_LOOK_SECONDS = 0.1  # how long a wish to stop may go unnoticed between frames
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"


class MjpegSplitter:
    """Cuts a stream of bare JPEGs into frames. Exact for rpicam-vid, whose frames have no thumbnails."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the stream; return the frames that are complete now."""
        self._buffer += data
        frames = []
        while True:
            if not self._buffer.startswith(_SOI):
                self._drop_until_start()
            end = self._buffer.find(_EOI, max(2, self._searched - 1))
            if end < 0:
                self._searched = len(self._buffer)
                break
            frames.append(bytes(self._buffer[: end + 2]))
            del self._buffer[: end + 2]
            self._searched = 0
        if len(self._buffer) > _MAX_FRAME_BYTES:
            self._buffer.clear()
            self._searched = 0
        return frames

    def _drop_until_start(self) -> None:
        start = self._buffer.find(_SOI)
        keep_last = self._buffer.endswith(b"\xff")
        cut = start if start >= 0 else len(self._buffer) - keep_last
        del self._buffer[:cut]
        self._searched = 0


class RpicamPreview:
    """One run of rpicam-vid.

    Args:
        runner: starts the tool.
        start: starts it with the sink for its output, in the thread that iterates.
        clock: when frames arrive.
        fps: frames a second that were asked for.
    """

    def __init__(
        self, runner: ToolRunner, start: Callable[[Callable[[bytes], None]], Child], clock: Clock, fps: float
    ) -> None:
        self._runner = runner
        self._start = start
        self._clock = clock
        self._interval_ns = round(1e9 / fps)
        self._splitter = MjpegSplitter()
        self._changed = threading.Condition()
        self._newest: tuple[bytes, int] | None = None
        self._stop = threading.Event()
        self._finished: Finished | None = None
        self._thread: threading.Thread | None = None

    def frames(self) -> Iterator[PreviewFrame]:
        """Yield the newest frame each time, until stopped.

        Raises:
            CaptureTimeoutError: no frame comes any more.
            CaptureServiceError: the tool ended.
        """
        child = self._start(self._sort)
        self._thread = threading.Thread(target=self._drain, args=(child,), name="rpicam-vid", daemon=True)
        self._thread.start()
        patience = FIRST_FRAME_SECONDS
        try:
            while (taken := self._next(patience)) is not None:
                patience = NEXT_FRAME_SECONDS
                jpeg, arrived_ns = taken
                with suppress(ImageInvalidError):
                    info = inspect_jpeg(jpeg)
                    # No time comes with the frames: it was exposed during the interval before its arrival.
                    yield PreviewFrame(jpeg, arrived_ns - self._interval_ns, info.width, info.height)
        finally:
            self.stop()

    def stop(self) -> None:
        """End the tool, and the iteration with it. Idempotent; from any thread but the drain's."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _next(self, patience_seconds: float) -> tuple[bytes, int] | None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._newest is not None or self._finished is not None or self._stop.is_set(), patience_seconds
            )
            if self._stop.is_set():
                return None
            taken, self._newest = self._newest, None
            if taken is None and self._finished is not None:
                raise complaint("rpicam-vid", self._finished)
            if taken is None:
                raise CaptureTimeoutError(f"no preview frame for {patience_seconds:g} s")
            return taken

    def _sort(self, data: bytes) -> None:
        """Take what the tool wrote; runs in the draining thread."""
        frames = self._splitter.feed(data)
        if frames:
            with self._changed:
                self._newest = (frames[-1], self._clock.boottime_ns())
                self._changed.notify_all()

    def _drain(self, child: Child) -> None:
        ended = False
        while not ended and not self._stop.is_set():
            ended = child.pump(_LOOK_SECONDS)
        if not ended:
            with suppress(CaptureServiceError):
                self._runner.end(child)
        with self._changed:
            self._finished = Finished(-9 if child.returncode is None else child.returncode, b"", child.stderr)
            self._changed.notify_all()

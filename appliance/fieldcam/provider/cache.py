# SPDX-License-Identifier: MIT
"""The newest images as compressed bytes: ten decoded frames of 12 million pixels would be 370 MB."""

from __future__ import annotations

import threading

from fieldcam.core.errors import CacheError
from fieldcam.provider.files import LiveFrame


class ImageCache:
    """Holds the bytes of the newest frames. Safe for several threads.

    Args:
        size: how many frames; 0 keeps nothing.

    Raises:
        CacheError: the size is no whole number of 0 or more.
    """

    def __init__(self, size: int) -> None:
        given: object = size  # from a caller without types
        if not isinstance(given, int) or isinstance(given, bool) or given < 0:
            raise CacheError(f"cache_size is {size!r}: a whole number of 0 or more is possible")
        self.size = size
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._frames: dict[int, tuple[LiveFrame, bytes]] = {}

    def __len__(self) -> int:
        """Return how many frames are held."""
        return len(self._frames)

    def __contains__(self, frame: LiveFrame) -> bool:
        """Return whether a frame is held."""
        return self._held(frame) is not None

    def read(self, frame: LiveFrame) -> tuple[bytes, bool]:
        """Return the bytes of a frame, and whether they were here already.

        Raises:
            ImageNotFoundError, StorageUnavailableError: as `LiveFrame.read`.
        """
        known = self._held(frame)
        if known is not None:
            return known, True
        # One after the other: the monitoring thread and whoever waits hear of a file at the same moment.
        with self._reading:
            known = self._held(frame)
            if known is not None:
                return known, True
            data = frame.read()
            with self._lock:
                if self.size:
                    self._frames[frame.sidecar.sequence] = (frame, data)
                    while len(self._frames) > self.size:
                        del self._frames[min(self._frames)]
        return data, False

    def forget(self, frame: LiveFrame) -> None:
        """Let go of a frame that turned out to be damaged."""
        with self._lock:
            self._frames.pop(frame.sidecar.sequence, None)

    def newest_first(self) -> list[tuple[LiveFrame, bytes]]:
        """Return what is held."""
        with self._lock:
            return [self._frames[sequence] for sequence in sorted(self._frames, reverse=True)]

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._frames.clear()

    def _held(self, frame: LiveFrame) -> bytes | None:
        with self._lock:
            known = self._frames.get(frame.sidecar.sequence)
        return known[1] if known is not None and (known[0] is frame or known[0] == frame) else None

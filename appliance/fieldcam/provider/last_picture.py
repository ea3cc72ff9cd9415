# SPDX-License-Identifier: MIT
"""The picture that was decoded last, for whoever asks for the same frame again: a copy takes 5 ms, a decode 60.

Keeping it costs a copy, as the caller's array is his own. So it is kept only for a caller that does ask again: from the
second request for a frame on, and at once when the frame before was asked for twice.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from fieldcam.core.frame import Sidecar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

KEEP_SECONDS = 2.0


class LastPicture:
    """Holds at most one decoded picture, 37 MB for 12 million pixels. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stream = ""
        self._sidecar: Sidecar | None = None
        self._image: npt.NDArray[np.uint8] | None = None
        self._used_at = 0.0
        self._asked: tuple[str, int] = ("", -1)
        self._times = 0

    def get(self, stream: str, sidecar: Sidecar) -> npt.NDArray[np.uint8] | None:
        """Return the picture of a frame if it is the one that is kept. Nobody may change it."""
        with self._lock:
            if self._image is None or self._stream != stream:
                return None
            if self._sidecar is not sidecar and self._sidecar != sidecar:  # comparing thirty fields takes 15 µs
                return None
            self._used_at = time.monotonic()
            return self._image

    def put(self, stream: str, sidecar: Sidecar, image: npt.NDArray[np.uint8]) -> None:
        """Keep a picture instead of the one before."""
        with self._lock:
            self._stream, self._sidecar, self._image = stream, sidecar, image
            self._used_at = time.monotonic()

    def is_worth_keeping(self, stream: str, sequence: int) -> bool:
        """Note that a frame was asked for; return whether it will probably be asked for again."""
        with self._lock:
            if self._asked == (stream, sequence):
                self._times += 1
                return True
            asks_again = self._times > 1
            self._asked, self._times = (stream, sequence), 1
            return asks_again

    def let_go(self, idle_seconds: float = KEEP_SECONDS) -> None:
        """Give the memory back when nobody asked for so long."""
        with self._lock:
            if self._image is not None and time.monotonic() - self._used_at > idle_seconds:
                self._image = self._sidecar = None

    def clear(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._image = self._sidecar = None

# SPDX-License-Identifier: MIT
"""Memory for pictures that are the caller's own, used again when he has let go of it.

The kernel makes a new array of 37 MB page by page and zeroes each: as much work as the copy that follows. A consumer
that drops each picture before it asks for the next gets the same memory again and again, and cannot tell.

What is handed out is a view of an array that nobody sees. NumPy lets every view, of whatever view it was made, refer to
the array that owns the memory, and what else looks at it (a memoryview, an OpenCV call, a thread) refers to one of
these. So when nothing refers to the owner but its buffer here, nothing can look at the memory any more. That counts
references as CPython does while it has its lock; elsewhere each picture gets memory of its own.
"""

from __future__ import annotations

import math
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING

import numpy as np

from fieldcam.provider.last_picture import KEEP_SECONDS

if TYPE_CHECKING:
    import numpy.typing as npt

# One that the caller still looks at while the other is filled.
MOST_BUFFERS = 2
LEAST_BYTES = 2**20  # malloc itself uses the memory of smaller pictures again, without asking the kernel
_COUNTS_REFERENCES = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()


class PictureBuffers:
    """At most two buffers. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buffers: list[_Buffer] = []  # the one handed out last at the end
        self._used_at = 0.0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._buffers)

    def take(self, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """Return an array of uint8 with any content, contiguous and writeable, whose memory nobody else uses."""
        size = math.prod(shape)
        if size < LEAST_BYTES or not _COUNTS_REFERENCES:
            return np.empty(shape, np.uint8)
        with self._lock:
            self._used_at = time.monotonic()
            buffer = next((buffer for buffer in self._buffers if buffer.is_free(size)), None)
            if buffer is None:
                buffer = _Buffer(size)
            else:
                self._buffers.remove(buffer)
            # One that its caller keeps is forgotten here, and goes when he lets go of it.
            self._buffers = [*self._buffers, buffer][-MOST_BUFFERS:]
            return buffer.view(shape)

    def let_go(self, idle_seconds: float = KEEP_SECONDS) -> None:
        """Give the memory back when nobody asked for so long."""
        with self._lock:
            if self._buffers and time.monotonic() - self._used_at > idle_seconds:
                self._buffers = []

    def clear(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._buffers = []


class _Buffer:
    """Memory, and whether somebody looks at it."""

    __slots__ = ("_alone", "_memory")

    def __init__(self, size: int) -> None:
        self._memory: npt.NDArray[np.uint8] = np.empty(size, np.uint8)
        self._alone = self._references()  # counted, as releases of Python differ in what they count on the way

    def is_free(self, size: int) -> bool:
        """Whether nobody looks at it, and it is as it was made: who has a view can find the owner, and change it."""
        return (
            self._references() == self._alone
            and weakref.getweakrefcount(self._memory) == 0
            and self._memory.shape == (size,)
            and self._memory.dtype == np.uint8
            and self._memory.flags.carray
            and self._memory.flags.owndata
        )

    def view(self, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """Return it in a shape of its size."""
        return self._memory.reshape(shape)

    def _references(self) -> int:
        return sys.getrefcount(self._memory)

# SPDX-License-Identifier: MIT
"""Whether anybody reads: a shared lock on `readers.<stream>`, let go by the kernel when a reader dies.

Decoding 12 million pixels takes 60 ms; with nobody there it is not done. A reader that took the lock exclusively, which
it can, keeps other readers from it and is taken for one itself: the worst it does is to have frames decoded.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from fieldcam.core.clock import Clock

REST_SECONDS = 3.0


def presence_name(stream: str) -> str:
    """Return the file name of a stream's presence file."""
    return f"readers.{stream}"


class PresenceMark:
    """A reader's sign that it is there."""

    def __init__(self, folder: Path, stream: str, clock: Clock) -> None:
        self._path = folder / presence_name(stream)
        self._clock = clock
        self._descriptor: int | None = None
        self._last_ns = 0

    def touch(self) -> None:
        """Say that something was read just now."""
        self._last_ns = self._clock.boottime_ns()
        if self._descriptor is not None and not _is_still_there(self._descriptor):
            self.close()
        if self._descriptor is None:
            self._descriptor = _lock_shared(self._path)

    def rest(self) -> None:
        """Let the mark go when nothing was read for a while."""
        if self._descriptor is not None and self._clock.boottime_ns() - self._last_ns > REST_SECONDS * 1e9:
            self.close()

    def close(self) -> None:
        """Let the mark go. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class PresenceWatch:
    """The writer's view of it. The file is made again when somebody removed it."""

    def __init__(self, folder: Path, stream: str) -> None:
        self._path = folder / presence_name(stream)
        self._descriptor: int | None = None

    def is_read(self) -> bool:
        """Return whether somebody reads.

        Raises:
            OSError: the folder is gone or full.
        """
        if self._descriptor is not None and not _is_still_there(self._descriptor):
            self.close()
        if self._descriptor is None:
            flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            self._descriptor = os.open(self._path, flags, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return False

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _is_still_there(descriptor: int) -> bool:
    return os.fstat(descriptor).st_nlink > 0


def _lock_shared(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None  # no ring, or not yet
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor

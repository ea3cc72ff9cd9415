# SPDX-License-Identifier: MIT
"""Whether anybody reads: a shared lock on `readers.<stream>`, let go by the kernel when a reader dies.

Decoding 12 million pixels takes 60 ms; with nobody there it is not done. A reader that goes on reading opens the file
anew about once a second, and the writer hears of that by inotify. So a reader that keeps its lock and reads no more (a
program that opened a camera and forgot it, a stopped process) counts for 3 s and needs no thread to say that it rests.

A reader can take the lock exclusively. It keeps others from it and is taken for one itself: the worst it does is to
have frames decoded.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from inotify_simple import INotify, flags

from fieldcam.core.clock import Clock
from fieldcam.handoff.slot import STREAMS, Stream

REST_SECONDS = 3.0
RENEW_SECONDS = 1.0
_FILE_MODE = 0o644
_TRIES = 3  # the writer has the lock for microseconds while it asks
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


def presence_name(stream: str) -> str:
    """Return the file name of a stream's presence file."""
    return f"readers.{stream}"


class PresenceMark:
    """A reader's sign that it is there."""

    def __init__(self, folder: Path, stream: str, clock: Clock) -> None:
        self._descriptor: int | None = None
        self._path = folder / presence_name(stream)
        self._clock = clock
        self._renewed_ns = self._touched_ns = 0

    def touch(self) -> None:
        """Say that something is read just now."""
        now = self._touched_ns = self._clock.boottime_ns()
        if self._descriptor is not None and not _is_still_there(self._descriptor):
            self.close()
        if self._descriptor is None or not 0 <= now - self._renewed_ns < RENEW_SECONDS * 1e9:
            before, self._descriptor = self._descriptor, _lock_shared(self._path)
            self._renewed_ns = now
            if before is not None:
                if self._descriptor is None:
                    self._descriptor = before  # better an old sign than none
                else:
                    os.close(before)

    def rest(self) -> bool:
        """Let the mark go when nothing was read for a while; return whether that is so."""
        rests = self._clock.boottime_ns() - self._touched_ns > REST_SECONDS * 1e9
        if rests:
            self.close()
        return rests

    def close(self) -> None:
        """Let the mark go. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.close()


@dataclass(slots=True)
class _Sign:
    """A presence file as the writer has it."""

    descriptor: int
    watch: int | None
    opened_ns: int


class PresenceWatch:
    """The writer's view of all streams. A file is made again when somebody removed it.

    Args:
        folder: of the ring.
        clock: time.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._signs: dict[Stream, _Sign] = {}
        self._inotify: INotify | None = None
        with suppress(OSError):  # the user's limit of instances: the lock alone must do
            self._inotify = INotify(inheritable=False, nonblocking=True)

    def streams_read(self) -> frozenset[Stream]:
        """Return the streams that somebody reads.

        Raises:
            OSError: the folder is gone or full, or something else has the name of a presence file.
        """
        now = self._clock.boottime_ns()
        self._hear(now)
        found = set()
        for stream in STREAMS:
            sign = self._sign(stream, now)
            is_heard = sign.watch is None or 0 <= now - sign.opened_ns <= REST_SECONDS * 1e9
            if is_heard and _is_locked(sign.descriptor):
                found.add(stream)
        return frozenset(found)

    def close(self) -> None:
        """Close the files. Idempotent."""
        for stream in STREAMS:
            self._forget(stream)
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def _hear(self, now: int) -> None:
        """Note which files were opened since the last call."""
        if self._inotify is None:
            return
        events = list(self._inotify.read(timeout=0))
        heard = {event.wd for event in events}
        is_overflown = any(event.mask & flags.Q_OVERFLOW for event in events)
        for sign in self._signs.values():
            if is_overflown or sign.watch in heard:
                sign.opened_ns = now

    def _sign(self, stream: Stream, now: int) -> _Sign:
        sign = self._signs.get(stream)
        if sign is not None and not _is_still_there(sign.descriptor):
            self._forget(stream)
            sign = None
        if sign is None:
            path = self._folder / presence_name(stream)
            descriptor = _make(path)
            watch = None
            with suppress(OSError):  # the user's limit of watches
                watch = self._inotify.add_watch(path, flags.OPEN) if self._inotify is not None else None
            # A reader may have the lock already and opens the file again within a second.
            sign = self._signs[stream] = _Sign(descriptor, watch, now)
        return sign

    def _forget(self, stream: Stream) -> None:
        sign = self._signs.pop(stream, None)
        if sign is None:
            return
        os.close(sign.descriptor)
        if self._inotify is not None and sign.watch is not None:
            with suppress(OSError):  # the kernel forgot it already, with the file
                self._inotify.rm_watch(sign.watch)


def _make(path: Path) -> int:
    """Open the presence file for asking; make it, readable for everybody, when it is missing or something else."""
    for _ in range(_TRIES):
        try:
            descriptor = os.open(path, _OPEN | os.O_CREAT, _FILE_MODE)
        except OSError as error:
            if error.errno == errno.EISDIR:
                break
            if error.errno != errno.ELOOP:
                raise
        else:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                with suppress(PermissionError):  # somebody else's file: whoever can read it can lock it
                    os.fchmod(descriptor, _FILE_MODE)  # whatever the umask
                return descriptor
            os.close(descriptor)
        path.unlink()
    raise OSError(errno.EEXIST, f"{path.name} is something else: remove it", str(path))


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _is_still_there(descriptor: int) -> bool:
    return os.fstat(descriptor).st_nlink > 0


def _lock_shared(path: Path) -> int | None:
    try:
        descriptor = os.open(path, _OPEN)
    except OSError:
        return None  # no ring, or not yet
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            continue
        return descriptor
    os.close(descriptor)
    return None

# SPDX-License-Identifier: MIT
"""Notice that something new is in a folder: inotify where it works, a poll where it does not.

inotify tells within 0.2 ms, but only what happens through this kernel's own file system: on a network or FUSE file
system, or through an overlay, it is silent. There, and where its limits are used up, the folders are looked at every
`poll_interval`. Beside inotify, too, it is worth a look every second: a folder may have been mounted over.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from inotify_simple import INotify, flags

from fieldcam.handoff.file_system import WITHOUT_NOTICE, file_system_type

_NEWS = flags.MOVED_TO | flags.CREATE | flags.CLOSE_WRITE
_ENDS = flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT
SLOW_LOOK_SECONDS = 1.0
_SHORTEST_POLL_SECONDS = 0.001


class _Watched(NamedTuple):
    """A folder as inotify has it."""

    watch: int
    identity: tuple[int, int]


class FolderWatch:
    """Waits for news in some folders. `wait` is for one thread, `wake` and `close` for any other.

    Names that begin with a dot are no news: they are files on their way to another name.

    Args:
        folders: to watch; one that is missing is watched as soon as it is there.
        poll_interval: seconds between looks where inotify does not work.
        force_poll: never use inotify.
    """

    def __init__(self, folders: Sequence[Path], *, poll_interval: float = 0.1, force_poll: bool = False) -> None:
        self._closed = threading.Event()
        self._is_waiting = False
        self._lock = threading.Lock()
        self._inotify = None if force_poll else _open_inotify()
        self._wake = -1
        self._folders = tuple(folders)
        self._poll_interval = max(poll_interval, _SHORTEST_POLL_SECONDS)
        self._watched: dict[Path, _Watched] = {}
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        if self._inotify is not None:
            self._poll.register(self._inotify.fileno(), select.POLLIN)
            self._look()
        self._look_at = time.monotonic() + self._interval

    @property
    def mode(self) -> Literal["inotify", "poll"]:
        """How news are noticed."""
        return "inotify" if self._inotify is not None else "poll"

    def wait(self, timeout: float) -> bool:
        """Return True when it is worth looking again, False when `timeout` seconds passed without that.

        True comes with something new, with `wake`, and when the time for a look has come: each `poll_interval` where
        inotify does not work, each second where it does. After `close` it is False at once.
        """
        with self._lock:
            if self._closed.is_set():
                return False
            self._is_waiting = True
        try:
            return self._wait(time.monotonic() + timeout)
        finally:
            with self._lock:
                self._is_waiting = False
                if self._closed.is_set():
                    self._let_go()

    def wake(self) -> None:
        """End the wait of another thread, or the next one."""
        with self._lock:
            if not self._closed.is_set():
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Give the descriptors back; a wait in another thread ends. Idempotent."""
        with self._lock:
            if self._closed.is_set():
                return
            self._closed.set()
            if self._is_waiting:
                os.eventfd_write(self._wake, 1)  # whoever waits closes what it waits for
            else:
                self._let_go()

    def __del__(self) -> None:
        self.close()

    @property
    def _interval(self) -> float:
        return self._poll_interval if self._inotify is None else SLOW_LOOK_SECONDS

    def _wait(self, deadline: float) -> bool:
        while True:
            now = time.monotonic()
            pause = max(0.0, min(deadline, self._look_at) - now)
            ready = {descriptor for descriptor, _ in self._poll.poll(pause * 1000)}
            if self._closed.is_set():
                return False
            if self._wake in ready:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._wake)
                return True
            if ready and self._hear():
                return True
            now = time.monotonic()
            if now >= self._look_at:
                self._look()
                self._look_at = now + self._interval
                return True
            if now >= deadline:
                return False

    def _hear(self) -> bool:
        """Read what inotify has to say; return whether it is news."""
        if self._inotify is None:
            return False
        news = False
        for event in list(self._inotify.read(timeout=0)):
            if event.mask & (_ENDS | flags.IGNORED):
                self._forget(event.wd)
                news |= self._look() or bool(event.mask & _ENDS)
            # An overflow has no name, and is news.
            elif not event.name.startswith("."):
                news = True
        return news

    def _forget(self, watch: int) -> None:
        if self._inotify is not None:
            with suppress(OSError):  # gone with its folder, unless that was only moved away
                self._inotify.rm_watch(watch)
        self._watched = {folder: seen for folder, seen in self._watched.items() if seen.watch != watch}

    def _look(self) -> bool:
        """Watch what came into being or was replaced; return whether that is so."""
        news = False
        for folder in self._folders:
            if self._inotify is None:
                break
            try:
                news |= self._look_at_folder(self._inotify, folder)
            except OSError:
                # Without notice on this file system, or without a watch to spare.
                self._poll.unregister(self._inotify.fileno())
                self._inotify.close()
                self._inotify = None
                self._watched = {}
                news = True
        return news

    def _look_at_folder(self, inotify: INotify, folder: Path) -> bool:
        seen = self._watched.get(folder)
        try:
            status = folder.stat()
            if seen is not None and seen.identity == (status.st_dev, status.st_ino):
                return False
            if file_system_type(folder) in WITHOUT_NOTICE:
                raise OSError("a file system without notice")
            watch = inotify.add_watch(folder, _NEWS | _ENDS | flags.ONLYDIR)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            if seen is not None:
                self._forget(seen.watch)
            return seen is not None
        if seen is not None:
            self._forget(seen.watch)
        self._watched[folder] = _Watched(watch, (status.st_dev, status.st_ino))
        return True

    def _let_go(self) -> None:
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1


def _open_inotify() -> INotify | None:
    try:
        return INotify(inheritable=False, nonblocking=True)
    except OSError:  # the user's limit of instances
        return None

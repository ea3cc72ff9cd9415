# SPDX-License-Identifier: MIT
"""Notice that something new is in a folder: inotify where it works, a poll where it does not.

inotify tells within 0.2 ms, but only what happens through this kernel's own file system: on a network or FUSE file
system, or through an overlay, it is silent. There, and where its limits are used up, the folders are looked at every
`poll_interval`. A slow look stands beside inotify too, for a folder that was replaced or mounted over.
"""

from __future__ import annotations

import ctypes
import os
import select
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from inotify_simple import INotify, flags

_REMOTE = {
    0x6969,  # NFS
    0xFF534D42,  # CIFS
    0xFE534D42,  # SMB2
    0x517B,  # SMB
    0x65735546,  # FUSE
    0x794C7630,  # overlayfs
    0x01021997,  # 9p
    0x00C36400,  # Ceph
    0x6A656A63,  # virtiofs and others
}
_NEWS = flags.MOVED_TO | flags.CREATE | flags.CLOSE_WRITE
_ENDS = flags.DELETE_SELF | flags.MOVE_SELF
SLOW_LOOK_SECONDS = 1.0


class FolderWatch:
    """Waits for news in some folders. `wait` is for one thread, `wake` for any other.

    Args:
        folders: to watch; one that is missing is watched as soon as it is there.
        poll_interval: seconds between looks where inotify does not work.
        force_poll: never use inotify.
    """

    def __init__(self, folders: Sequence[Path], *, poll_interval: float = 0.1, force_poll: bool = False) -> None:
        self._folders = tuple(folders)
        self._poll_interval = max(poll_interval, 0.001)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._inotify: INotify | None = None
        self._watched: dict[Path, tuple[int, tuple[int, int]]] = {}
        self._looked = 0.0
        self._closed = False
        self._lock = threading.Lock()
        if not force_poll:
            with suppress(OSError):  # the user's limit of instances
                self._inotify = INotify(inheritable=False, nonblocking=True)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        if self._inotify is not None:
            self._poll.register(self._inotify.fileno(), select.POLLIN)
        self._look()

    @property
    def mode(self) -> Literal["inotify", "poll"]:
        """How news are noticed."""
        return "inotify" if self._inotify is not None else "poll"

    def wait(self, timeout: float) -> bool:
        """Return True when it is worth looking again, False when `timeout` seconds passed without news."""
        deadline = time.monotonic() + timeout
        while not self._closed:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            pause = min(left, self._poll_interval if self._inotify is None else SLOW_LOOK_SECONDS)
            ready = {descriptor for descriptor, _ in self._poll.poll(max(1, round(pause * 1000)))}
            if self._wake in ready:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._wake)
                return True
            if ready:
                self._drain()
                return True
            if self._inotify is None:
                return pause < left or left <= self._poll_interval
            if self._look():
                return True
        return False

    def wake(self) -> None:
        """End the wait of another thread."""
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Give the descriptors back. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._inotify is not None:
                self._inotify.close()
            os.close(self._wake)

    def _drain(self) -> None:
        if self._inotify is None:
            return
        for event in self._inotify.read(timeout=0):
            if event.mask & (_ENDS | flags.IGNORED | flags.UNMOUNT):
                self._watched = {path: seen for path, seen in self._watched.items() if seen[0] != event.wd}
        self._look()

    def _look(self) -> bool:
        """Watch what came into being or was replaced; return whether that is so."""
        if self._inotify is None:
            return False
        news = False
        for folder in self._folders:
            try:
                status = folder.stat()
            except OSError:
                self._watched.pop(folder, None)
                continue
            identity = (status.st_dev, status.st_ino)
            seen = self._watched.get(folder)
            if seen is not None and seen[1] == identity:
                continue
            if seen is not None:
                with suppress(OSError):
                    self._inotify.rm_watch(seen[0])
            try:
                if _file_system(folder) in _REMOTE:
                    raise OSError("a file system without notice")
                self._watched[folder] = (self._inotify.add_watch(folder, _NEWS | _ENDS), identity)
            except FileNotFoundError:
                continue
            except OSError:
                self._poll.unregister(self._inotify.fileno())
                self._inotify.close()
                self._inotify = None
                self._watched = {}
                return True
            news = True
        return news


def _file_system(folder: Path) -> int:
    buffer = ctypes.create_string_buffer(256)  # struct statfs: f_type comes first
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(folder), buffer) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(folder))
    return int.from_bytes(buffer.raw[: ctypes.sizeof(ctypes.c_long)], "little")

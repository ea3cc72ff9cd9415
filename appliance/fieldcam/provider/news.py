# SPDX-License-Identifier: MIT
"""Waiting for news in the folders of a camera, for all threads of a provider: one inotify descriptor, not one each.

One thread at a time watches and tells the others. A thread marks before it looks and waits with that mark, so what
comes between the look and the wait is not missed, whoever heard of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fieldcam.handoff.watch import FolderWatch


class News:
    """Tells when it is worth looking again. Opens nothing before the first mark.

    Args:
        folders: to watch; may be missing.
        poll_interval: seconds between looks where the system gives no notice.
    """

    def __init__(self, folders: Sequence[Path], poll_interval: float) -> None:
        self._folders = tuple(folders)
        self._poll_interval = poll_interval
        self._condition = threading.Condition()
        self._watch: FolderWatch | None = None
        self._count = 0
        self._is_watching = self._closed = False

    def mark(self) -> int:
        """Begin to watch if nobody did yet; return a mark for `wait`."""
        with self._condition:
            if self._watch is None and not self._closed:
                with suppress(OSError):  # no descriptor left: `wait` is a poll then
                    self._watch = FolderWatch(self._folders, poll_interval=self._poll_interval)
            return self._count

    def wait(self, mark: int, timeout: float) -> None:
        """Wait until there was news since the mark, at most `timeout` seconds; return at once after `close`."""
        deadline = time.monotonic() + timeout
        while True:
            with self._condition:
                left = deadline - time.monotonic()
                watch = self._watch
                if self._count != mark or left <= 0 or self._closed:
                    return
                if watch is None:
                    self._condition.wait(min(left, self._poll_interval))
                    return
                if self._is_watching:
                    self._condition.wait(left)
                    continue
                self._is_watching = True
            heard = False
            try:
                heard = watch.wait(left)
            finally:
                self._watched(heard)

    def wake(self) -> None:
        """End all waits."""
        with self._condition:
            self._count += 1
            if self._watch is not None:
                self._watch.wake()
            self._condition.notify_all()

    def rest(self) -> None:
        """Give the descriptors back unless somebody waits; the next mark opens them again."""
        with self._condition:
            if not self._is_watching:
                self._close_watch()

    def close(self) -> None:
        """Give the descriptors back and end all waits, for good. Idempotent."""
        self.wake()
        with self._condition:
            self._closed = True
            if not self._is_watching:
                self._close_watch()

    def _watched(self, heard: bool) -> None:
        with self._condition:
            self._is_watching = False
            self._count += heard
            if self._closed:
                self._close_watch()
            self._condition.notify_all()

    def _close_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

# SPDX-License-Identifier: MIT
"""The thread that reads new images as they appear. It does not keep alive the provider it works for."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

from fieldcam.provider.news import News

TICK_SECONDS = 1.0


class Monitor:
    """Calls `look` at each new file, and about once a second.

    Args:
        news: tells of new files.
        look: a bound method; when its object is gone the thread ends.
    """

    def __init__(self, news: News, look: Callable[[], object]) -> None:
        self._news = news
        self._stop = threading.Event()
        self._look = weakref.WeakMethod(look)
        self._thread = threading.Thread(target=self._run, name="image-monitor", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs; a process that was forked off does not have it."""
        return self._thread.is_alive() and not self._stop.is_set()

    def tell(self) -> None:
        """Let the thread end."""
        self._stop.set()
        self._news.wake()

    def stop(self) -> None:
        """Let the thread end and wait for it. Idempotent."""
        self.tell()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            mark = self._news.mark()
            look = self._look()
            if look is None:
                return
            look()
            del look  # or this thread would keep the provider
            if not self._stop.is_set():
                self._news.wait(mark, TICK_SECONDS)


class Background:
    """What outlives a call and must not outlive the provider: its thread and its descriptors.

    Args:
        news: tells of new files; closed at the end.
    """

    def __init__(self, news: News) -> None:
        self.news = news
        self._lock = threading.Lock()
        self._monitor: Monitor | None = None

    @property
    def is_active(self) -> bool:
        """Whether the thread runs."""
        monitor = self._monitor
        return monitor is not None and monitor.is_alive

    def start(self, look: Callable[[], object]) -> None:
        """Start the thread unless it runs."""
        if self.is_active:
            return
        with self._lock:
            if not self.is_active:
                self._monitor = Monitor(self.news, look)

    def stop(self) -> None:
        """End the thread and wait for it."""
        with self._lock:
            monitor, self._monitor = self._monitor, None
        if monitor is not None:
            monitor.stop()
            self.news.rest()

    def end(self) -> None:
        """Give everything back, waiting for nothing: the garbage collector may be who calls."""
        monitor = self._monitor
        if monitor is not None:
            monitor.tell()
        self.news.close()

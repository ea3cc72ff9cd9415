# SPDX-License-Identifier: MIT
"""A thread that reads new images as they appear. It does not keep alive the provider it works for."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from fieldcam.handoff.watch import FolderWatch

TICK_SECONDS = 1.0


class Monitor:
    """Calls `look` at each new file, and about once a second.

    Args:
        folder: to watch.
        interval: seconds between looks where there is no notice.
        look: a bound method; when its object is gone the thread ends.
    """

    def __init__(self, folder: Path, interval: float, look: Callable[[], object]) -> None:
        self._watch = FolderWatch([folder], poll_interval=interval)
        self._stop = threading.Event()
        self._look = weakref.WeakMethod(look)
        self._thread = threading.Thread(target=self._run, name="image-monitor", daemon=True)
        self._thread.start()

    def stop(self, *, wait: bool = True) -> None:
        """End the thread. Idempotent."""
        self._stop.set()
        self._watch.wake()
        if wait and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                look = self._look()
                if look is None:
                    return
                look()
                del look  # or this thread would keep the provider
                self._watch.wait(TICK_SECONDS)
        finally:
            self._watch.close()

# SPDX-License-Identifier: MIT
"""The design of the reference documents, in as few lines as show its cost. The baseline, never a part of the appliance.

One process spawned per shot; whoever wants the image lists the folder every 0.1 s and decodes it with OpenCV for
itself; the loop captures, writes to the disk, and then sleeps for the interval.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from fieldcam.bench.row import NotMeasuredError
from fieldcam.bench.waiting import pause

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

POLL_SECONDS = 0.1
NOTICE_SECONDS = 10.0
CACHED_IMAGES = 10


class Poller:
    """Lists a folder every 0.1 s, at whatever moment, and notes when it first saw a name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._seen: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def wait_for(self, name: str) -> float:
        """Return when (`time.perf_counter`) the name was first seen.

        Raises:
            NotMeasuredError: it was not.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: name in self._seen, NOTICE_SECONDS):
                raise NotMeasuredError(f"{name} did not appear in {self._folder}")
            return self._seen[name]

    def _run(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            names = {path.name for path in self._folder.glob("*.jpg")}
            now = time.perf_counter()
            with self._changed:
                for name in names - self._seen.keys():
                    self._seen[name] = now
                self._changed.notify_all()


class DocumentedConsumer:
    """A container as documented: list the folder every 0.1 s, load the newest image with `cv2.imread`.

    It takes the newest by name, which costs less than the documented look at every file's time, and it never meets a
    half-written file, as it would with the documented writer.

    Args:
        folder: live/.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache: deque[npt.NDArray[np.uint8]] = deque(maxlen=CACHED_IMAGES)
        self._image: npt.NDArray[np.uint8] | None = None
        self._name = self._newest()

    def wait(self, timeout: float) -> tuple[str, int] | None:
        """Return the name of a new image and when (CLOCK_BOOTTIME) it was seen; None when none came."""
        deadline = time.monotonic() + timeout
        while (name := self._newest()) == self._name:
            if time.monotonic() >= deadline:
                return None
            pause(POLL_SECONDS)
        self._name = name
        return name, time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def load(self, name: str, *, keep: bool = False) -> npt.NDArray[np.uint8]:
        """Decode an image, and put it into the cache when asked to.

        Raises:
            NotMeasuredError: OpenCV gave nothing.
        """
        import cv2

        image = cv2.imread(str(self._folder / name))
        if image is None:
            raise NotMeasuredError(f"cv2.imread gave nothing for {name}")
        self._image = cast("npt.NDArray[np.uint8]", image)
        if keep:
            self._cache.append(self._image)
        return self._image

    def _newest(self) -> str:
        return max((path.name for path in self._folder.glob("*.jpg")), default="")


def capture_by_spawning(source: Path, folder: Path, name: str, poller: Poller) -> float:
    """Spawn the least process that leaves a JPEG, wait until the poll has seen it; return the seconds.

    A real camera tool takes 1 to 3 s to start; `cp` takes 1 ms, so this flatters the documented design.
    """
    tool = shutil.which("cp")
    if tool is None:
        raise NotMeasuredError("cp is not on PATH: there is no process to spawn per shot")
    started = time.perf_counter()
    subprocess.run([tool, str(source), str(folder / name)], check=True)
    return poller.wait_for(name) - started


def capture_then_sleep(
    take: Callable[[], bytes], folder: Path, *, turns: int, interval_seconds: float, step: Callable[[], None]
) -> list[float]:
    """Run the documented loop; return when each turn began, in seconds since the first."""
    began: list[float] = []
    for turn in range(turns):
        began.append(time.monotonic())
        (folder / f"image_{turn:06d}.jpg").write_bytes(take())
        pause(interval_seconds)
        step()
    return [moment - began[0] for moment in began]

# SPDX-License-Identifier: MIT
"""Captures that wait for the camera: put in by the control thread, taken out by the owner loop."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

from fieldcam.capture.pipeline import Taken
from fieldcam.core.clock import Clock
from fieldcam.core.errors import CameraNotAvailableError, CaptureInProgressError
from fieldcam.core.frame import CaptureRequest
from fieldcam.store.writer import Stored

# Of the time a capture may take, what is left to answer it within.
_SHARE = 0.95
# A signal handler may not take the lock, so a stop it asks for is noticed at the next look.
LOOK_SECONDS = 1.0


@dataclass(slots=True)
class Job:
    """A capture somebody waits for.

    Attributes:
        request: what is asked for.
        accepted_ns: CLOCK_BOOTTIME at which it was accepted.
        deadline_ns: CLOCK_BOOTTIME by which it must be answered.
        store: False for a test frame, which is taken and checked but not kept.
        rehearse: for a test frame: also write it where captures are stored, and remove it.
        answer: what was stored (None for a test frame) and the frame itself.
    """

    request: CaptureRequest
    accepted_ns: int
    deadline_ns: int
    store: bool
    answer: Future[tuple[Stored | None, Taken]]
    rehearse: bool = False


class Jobs:
    """The queue.

    Args:
        clock: time.
        most: how many may wait.
        timeout_seconds: how long a capture may take, waiting included.
    """

    def __init__(self, clock: Clock, *, most: int, timeout_seconds: float) -> None:
        self._clock = clock
        self._most = most
        self._timeout_ns = int(timeout_seconds * _SHARE * 1e9)
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._stopping = False

    @property
    def are_over(self) -> bool:
        """Whether no more come and none waits."""
        return self._stopping and not self._waiting

    @property
    def want_the_camera(self) -> bool:
        """Whether one waits, or the loop is to end."""
        return self._stopping or bool(self._waiting)

    def submit(
        self, request: CaptureRequest, *, store: bool, rehearse: bool = False
    ) -> Future[tuple[Stored | None, Taken]]:
        """Queue a capture.

        Raises:
            CaptureInProgressError: too many wait already, or the process is stopping.
        """
        now = self._clock.boottime_ns()
        job = Job(request, now, now + self._timeout_ns, store, Future(), rehearse)
        with self._changed:
            if self._stopping:
                raise CaptureInProgressError("the capture process is stopping; try again")
            if len(self._waiting) >= self._most:
                raise CaptureInProgressError(
                    f"{len(self._waiting)} captures are waiting already; try again in a moment"
                )
            self._waiting.append(job)
            self._changed.notify()
        return job.answer

    def next(self) -> Job | None:
        """Return the one that waits longest."""
        with self._changed:
            return self._waiting.popleft() if self._waiting else None

    def wait_until(self, boottime_ns: int) -> None:
        """Wait until then, or until there is something to do; at most a second."""
        seconds = (boottime_ns - self._clock.boottime_ns()) / 1e9
        with self._changed:
            if not self.want_the_camera and seconds > 0:
                self._changed.wait(min(seconds, LOOK_SECONDS))

    def stop(self) -> None:
        """Accept no more. Takes no lock, so that a signal handler may call it; noticed within a second."""
        self._stopping = True

    def refuse_all(self) -> None:
        """Tell those that still wait that they wait in vain."""
        with self._changed:
            left, self._waiting = list(self._waiting), deque()
        for job in left:
            job.answer.set_exception(CameraNotAvailableError("the capture process is stopping"))

# SPDX-License-Identifier: MIT
"""Frames of the hand-off area, each given once, for one thread that reads and any other that closes.

A camera gives each frame once and makes its reader wait for the next, so this does. The first is the newest fresh one,
at once. Whoever gets none has waited for it: a loop over a dead volume must not eat the processor.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fieldcam.core.clock import Clock, SystemClock, is_fresh
from fieldcam.core.errors import CameraNotAvailableError, FieldcamError, ImageInvalidError, SharedVolumeError
from fieldcam.core.frame import Sidecar
from fieldcam.provider.frame_rate import frame_rate
from fieldcam.provider.held import HeldFrame
from fieldcam.provider.place import default_area
from fieldcam.provider.provider import SharedVolumeImageProvider
from fieldcam.provider.scaled_sizes import Size

# A wait is cut into pieces this long, between which another thread's `close` is noticed.
_PIECE_SECONDS = 0.25


class SharedFrames:
    """A `FrameSource` over the hand-off area.

    Args:
        folder: the hand-off area, or the folder of one camera in it; None = as `SharedVolumeImageProvider`.
        max_age_seconds: older frames are not given.
        ring_dir: as `SharedVolumeImageProvider`.
        clock: for tests.

    Attributes:
        timeout: how long `take` waits, in seconds.
        taken: number of frames taken since it was opened.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        max_age_seconds: float = 5.0,
        *,
        ring_dir: str | Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.folder = Path(folder if folder is not None else default_area())
        self.timeout = float(max_age_seconds)
        self._max_age = float(max_age_seconds)
        self._ring_dir = ring_dir
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._session: _Session | None = None
        self.open()

    def open(self) -> None:
        """Open it; again is as new."""
        self.close()
        with self._lock:
            self._session = self._new_session()
            self.taken = 0
            self._sequence = -1
            self._sidecar: Sidecar | None = None

    @property
    def is_open(self) -> bool:
        """Whether frames may be asked for, be there some or not."""
        return self._session is not None

    def take(self, stream: str = "main", *, only_files: bool = False) -> HeldFrame:
        """Wait for the next frame, at most `timeout` seconds; the caller closes it.

        Raises:
            CameraNotAvailableError: it is not open, or was closed while waiting.
            StorageUnavailableError, ImageNotFoundError, ImageTooOldError: no fresh frame came in time.
        """
        with self._using() as session:
            if only_files:
                with self._provider(ring_dir="") as files:
                    held = self._wait_for(session, files, stream)
            else:
                held = self._wait_for(session, session.provider, stream)
        with self._lock:
            if self._session is session:
                self._sequence, self._sidecar = held.sequence, held.sidecar
                self.taken += 1
                return held
        held.close()
        raise CameraNotAvailableError("the camera was released while a frame was waited for")

    def has_recent(self) -> bool:
        """Return whether there is a fresh frame, be it one that was taken already."""
        with self._lock:
            sidecar = self._sidecar
        # The usual loop asks before every read, so what was taken last answers where it can.
        if sidecar is not None and is_fresh(self._age(sidecar), self._max_age):
            return True
        return self._peek(self._max_age) is not None

    def newest_sidecar(self) -> Sidecar | None:
        """Return that of the frame taken last, else of the newest there is, however old; None when there is none."""
        with self._lock:
            sidecar = self._sidecar
        return sidecar or self._peek(math.inf)

    @property
    def last_sidecar(self) -> Sidecar | None:
        """That of the frame taken last."""
        return self._sidecar

    def describe(self) -> dict[str, Any]:
        """Return the metadata of the frame taken last, else of the newest there is; empty when nothing is known."""
        sidecar = self.newest_sidecar()
        return {} if sidecar is None else {**sidecar.to_dict(), "age": self._age(sidecar)}

    def size(self) -> Size | None:
        """Return width and height of the full frames, None when there is none yet."""
        sidecar = self.newest_sidecar()
        return (sidecar.width, sidecar.height) if sidecar is not None else None

    def frame_rate(self) -> float:
        """Return the camera's frames per second; 0.0 when that cannot be told."""
        return frame_rate(self.folder)

    def pause(self) -> None:
        """Let go of what costs something; the next `take` goes on."""
        with self._lock:
            session = self._session
            if session is not None:
                self._session = self._new_session()
        if session is not None:
            session.end()

    def close(self) -> None:
        """Let go of everything; a `take` that waits in another thread ends with an error, within 0.3 s."""
        with self._lock:
            session, self._session, self._sidecar = self._session, None, None
        if session is not None:
            session.end()

    def _provider(self, ring_dir: str | Path | None) -> SharedVolumeImageProvider:
        return SharedVolumeImageProvider(
            self.folder,
            cache_size=1,
            background_monitoring=False,  # whoever takes waits itself; a thread would read for nobody
            max_age_seconds=self._max_age,
            ring_dir=ring_dir,
            clock=self._clock,
        )

    def _new_session(self) -> _Session:
        return _Session(self._provider(self._ring_dir))

    @contextmanager
    def _using(self) -> Iterator[_Session]:
        with self._lock:
            session = self._session
            if session is None:
                raise CameraNotAvailableError("the camera is not open: it was released")
            session.enter()
        try:
            yield session
        finally:
            session.leave()

    def _wait_for(self, session: _Session, provider: SharedVolumeImageProvider, stream: str) -> HeldFrame:
        deadline = time.monotonic() + self.timeout
        while True:
            left = max(0.0, deadline - time.monotonic())
            try:
                return provider.hold(newer_than=self._sequence, timeout=min(left, _PIECE_SECONDS), stream=stream)
            except (SharedVolumeError, ImageInvalidError):
                if left <= _PIECE_SECONDS or session.has_ended:
                    raise

    def _peek(self, max_age_seconds: float) -> Sidecar | None:
        """Return the sidecar of the newest frame, waiting for nothing; None when there is none of that age."""
        try:
            with (
                self._using() as session,
                session.provider.hold(newer_than=-1, max_age_seconds=max_age_seconds) as held,
            ):
                return held.sidecar
        except FieldcamError:
            return None

    def _age(self, sidecar: Sidecar) -> float:
        return (self._clock.boottime_ns() - sidecar.monotonic_ns) / 1e9


class _Session:
    """A provider and those who use it now: the last one out closes it, so that it is never closed under a wait."""

    def __init__(self, provider: SharedVolumeImageProvider) -> None:
        self.provider = provider
        self.has_ended = False
        self._users = 0
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            closes = self.has_ended and self._users == 0
        if closes:
            self.provider.close()

    def end(self) -> None:
        with self._lock:
            self.has_ended = True
            closes = self._users == 0
        if closes:
            self.provider.close()

# SPDX-License-Identifier: MIT
"""Taking a chosen frame, decoding it and counting it: what every call of a provider goes through.

A frame is chosen under the lock, and read and decoded outside of it, so that threads do not wait for each other. A
frame that turns out to be damaged is passed over for the next one that may be given.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fieldcam.core.clock import Clock
from fieldcam.core.errors import (
    CacheError,
    FieldcamError,
    ImageInvalidError,
    ImageNotFoundError,
    ImageTooOldError,
    SharedVolumeError,
)
from fieldcam.core.frame import Sidecar
from fieldcam.handoff.ring_reader import Lease
from fieldcam.provider.cache import ImageCache
from fieldcam.provider.chooser import Chooser, Leased, Wanted
from fieldcam.provider.files import LiveFrame
from fieldcam.provider.held import HeldFrame, new_array
from fieldcam.provider.last_picture import LastPicture
from fieldcam.provider.monitor import Background
from fieldcam.provider.picture_buffers import PictureBuffers
from fieldcam.provider.tally import Tally

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_T = TypeVar("_T")


class FrameGiver:
    """Gives the frames of one camera. Safe for several threads.

    Args:
        chooser: says which; nobody else may use it.
        cache: of the bytes that were read.
        background: thread and descriptors of the provider.
        clock: time.
    """

    def __init__(self, chooser: Chooser, cache: ImageCache, background: Background, clock: Clock) -> None:
        self.tally = Tally()
        self._clock = clock
        self._cache = cache
        self._background = background
        self._last_picture = LastPicture()
        self._buffers = PictureBuffers()
        self._lock = threading.Lock()  # of the chooser and of what follows
        self._chooser = chooser
        self._volume_changes = 0
        self._newest_given: Sidecar | None = None
        self._reported = -1
        self._closed = False

    def last_given(self) -> tuple[int, int]:
        """Return the sequence of the newest frame given, -1 before the first, and of which volume it is."""
        with self._lock:
            self.require_open()
            return self._chooser.given, self._chooser.volume_changes

    def wait(self, wanted: Wanted, timeout: float, attempt: Callable[[], _T]) -> _T:
        """Try for so many seconds; each piece of news is worth a try. Raises what the last try raised."""
        news = self._background.news
        deadline = time.monotonic() + timeout
        while True:
            mark = news.mark() if timeout > 0 else 0
            try:
                return attempt()
            except CacheError:
                raise
            except SharedVolumeError:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise
            with self._lock:
                pause = self._chooser.wait_seconds(wanted)
            news.wait(mark, min(left, pause))

    def give(self, wanted: Wanted, prepare: Callable[[HeldFrame], _T]) -> tuple[HeldFrame, _T]:
        """Take the newest frame that can be prepared, and note that it was given. The caller closes it."""
        flaw: str | None = None
        while True:
            try:
                held, is_hit = self._take(wanted)
            except (ImageNotFoundError, ImageTooOldError):
                if flaw is None:
                    raise
                # A new error: one that was kept would keep its frames, and with them the caller's pictures.
                raise ImageNotFoundError(flaw) from None
            try:
                prepared = prepare(held)
            except ImageInvalidError as error:
                flaw = flaw or f"{held.sidecar.filename} is damaged: {error.message}"
                held.close()
                with self._lock:
                    self._chooser.note_damaged(held.sidecar)
                continue
            except BaseException:
                held.close()
                raise
            if self._note_given(held, is_hit=is_hit):
                return held, prepared
            held.close()  # while it was decoded, another thread was given a newer one

    def _take(self, wanted: Wanted) -> tuple[HeldFrame, bool]:
        """Return the newest frame that may be given, and whether no file was read for it."""
        unreadable: frozenset[Path] = frozenset()
        first: tuple[type[FieldcamError], str] | None = None
        while True:
            try:
                chosen = self._choose(wanted, unreadable)
            except (ImageNotFoundError, ImageTooOldError):
                if first is None:
                    raise
                raise first[0](first[1]) from None
            if isinstance(chosen, Leased):
                self.tally.note_loaded(chosen.sidecar.sequence, self._clock.wall_ns())
                return self._held(chosen.sidecar, wanted.stream, lease=chosen.lease), True
            sidecar = chosen.sidecar
            picture = self._last_picture.get(wanted.stream, sidecar)
            if picture is not None:
                return self._held(sidecar, wanted.stream, picture=picture), True
            try:
                data, was_cached = self._cache.read(chosen)
            except SharedVolumeError as error:
                first = first or (type(error), error.message)
                unreadable |= {chosen.path}
                continue
            self.tally.note_loaded(sidecar.sequence, self._clock.wall_ns())
            return self._held(sidecar, wanted.stream, jpeg=data), was_cached

    def _held(
        self,
        sidecar: Sidecar,
        stream: str,
        *,
        lease: Lease | None = None,
        jpeg: bytes | None = None,
        picture: npt.NDArray[np.uint8] | None = None,
    ) -> HeldFrame:
        return HeldFrame(
            sidecar, self._clock, stream=stream, lease=lease, jpeg=jpeg, picture=picture, empty=self._empty
        )

    def _empty(self, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """Return memory for a caller's picture; without a thread that gives it up again, it is not kept."""
        return self._buffers.take(shape) if self._background.is_active else new_array(shape)

    def _choose(self, wanted: Wanted, unreadable: frozenset[Path]) -> Leased | LiveFrame:
        with self._lock:
            self.require_open()
            try:
                return self._chooser.choose(wanted, unreadable)
            finally:
                self._follow_volume()

    def picture_of(self, held: HeldFrame) -> npt.NDArray[np.uint8]:
        """Return the pixels as the caller's own; keep some for whoever asks again."""
        is_worth_it = self._last_picture.is_worth_keeping(held.stream, held.sequence)
        if held.jpeg is not None and is_worth_it and self._background.is_active:
            self._last_picture.clear()  # its memory first
            picture = held.image()
            self._last_picture.put(held.stream, held.sidecar, picture)
            return picture.copy()
        return held.image()

    def view_of(self, held: HeldFrame) -> npt.NDArray[np.uint8]:
        """Return the pixels to be looked at; without a thread that gives them up again, they are not kept."""
        view = held.view
        if view is not None:
            return view
        if self._background.is_active:
            self._last_picture.clear()
        picture = held.image()
        picture.flags.writeable = False
        if self._background.is_active:
            self._last_picture.put(held.stream, held.sidecar, picture)
        return picture

    def _note_given(self, held: HeldFrame, *, is_hit: bool) -> bool:
        with self._lock:
            if self._closed:
                held.close()
            self.require_open()
            if held.sequence < self._chooser.given:
                return False
            self._chooser.note_given(held.sidecar)
            self._newest_given = held.sidecar
            self._reported = max(self._reported, held.sequence)
        self.tally.note_given(time.monotonic(), held.age, is_hit=is_hit)
        return True

    def look_in_background(self) -> None:
        """One look of the monitoring thread."""
        if self._cache.size:
            with suppress(SharedVolumeError):  # whoever asks for an image is told
                self.load_new()
        with self._lock:
            self._chooser.rest()
        self._last_picture.let_go()
        self._buffers.let_go()

    def load_new(self) -> int:
        """Read the newest files into the cache; return the highest sequence, -1 when there is none.

        Raises:
            StorageUnavailableError: the hand-off area cannot be read.
            CacheError: the provider was closed.
        """
        with self._lock:
            self.require_open()
            try:
                files = self._chooser.newest(max(1, self._cache.size))
            finally:
                self._follow_volume()
        newest = -1
        for frame in files:
            with suppress(ImageNotFoundError):  # rolled out meanwhile, or not whole
                self._cache.read(frame)
                self.tally.note_loaded(frame.sidecar.sequence, self._clock.wall_ns())
                newest = max(newest, frame.sidecar.sequence)
        if self._closed:
            self._cache.clear()
        return newest

    def _follow_volume(self) -> None:
        """Forget what belongs to another volume than the one that is there now."""
        if self._volume_changes != self._chooser.volume_changes:
            self._volume_changes = self._chooser.volume_changes
            self._newest_given, self._reported = None, -1
            self._cache.clear()
            self._last_picture.clear()
            self.tally.forget_loaded()

    def refresh(self) -> bool:
        """Load new files; return whether there are some that were neither given nor reported here. Raises as above."""
        newest = self.load_new()
        with self._lock:
            before, self._reported = self._reported, max(self._reported, newest)
        return newest > before

    def latest_age(self) -> float:
        """Return the age of the newest image in seconds, infinite when there is none."""
        now = self._clock.boottime_ns()
        with self._lock:
            if self._closed:
                return math.inf
            try:
                found = [frame.sidecar for frame in self._chooser.newest(3)]
            except SharedVolumeError:
                return math.inf
            finally:
                self._follow_volume()
            if self._newest_given is not None:
                found.append(self._newest_given)  # out of the ring, its file is still being written
        return min(
            ((now - sidecar.monotonic_ns) / 1e9 for sidecar in found if sidecar.monotonic_ns <= now), default=math.inf
        )

    def close(self) -> None:
        """Let go of everything; nothing is given from now on. Idempotent."""
        with self._lock:
            self._closed = True
            self._chooser.leave()
        self._cache.clear()
        self.forget_pictures()

    def forget_pictures(self) -> None:
        """Give the memory of decoded pictures back."""
        self._last_picture.clear()
        self._buffers.clear()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def require_open(self) -> None:
        """Raise CacheError after `close`."""
        if self._closed:
            raise CacheError("the provider was closed; make a new one")

# SPDX-License-Identifier: MIT
"""`SharedVolumeImageProvider`: frames of the host's camera for a process that has no camera (contract section 2).

Frames come out of the ring, decoded already, where there is one, and otherwise out of `live/`; whoever asks cannot
tell. The documented methods answer `(False, None, None)` when no frame may be given, the strict ones raise what is
wrong. docs/provider.md tells users when to take which.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fieldcam.core.clock import Clock, SystemClock
from fieldcam.core.errors import (
    CacheError,
    FieldcamError,
    ImageInvalidError,
    RequestInvalidError,
    SharedVolumeError,
)
from fieldcam.core.jpeg import DIVISORS, Divisor
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.handoff.slot import STREAMS
from fieldcam.provider.cache import ImageCache
from fieldcam.provider.chooser import Chooser, Wanted
from fieldcam.provider.frame import Frame, FrameView
from fieldcam.provider.giver import FrameGiver
from fieldcam.provider.held import HeldFrame
from fieldcam.provider.monitor import Background
from fieldcam.provider.news import News
from fieldcam.provider.place import default_area, ring_folder
from fieldcam.provider.settings import ImageProviderConfig, check, seconds

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Frame", "FrameView", "ImageProviderConfig", "SharedVolumeImageProvider"]

_log = get_logger(__name__)
_SHORTEST_INTERVAL_SECONDS = 0.01


class SharedVolumeImageProvider:
    """Gives the newest image of the host's camera. Safe for several threads.

    Args:
        shared_volume_dir: the hand-off area, or `cameras/<name>` in it; or an `ImageProviderConfig`. Without it the
            variable CAMERA_CAPTURE_DIR counts, and then /mnt/storage/camera_capture.
        cache_size: how many images are kept, compressed; 0 keeps none.
        background_monitoring: read new images as they appear, from the first use on.
        monitor_interval: seconds between looks where the system gives no notice of new files.
        max_age_seconds: older images are not given.
        enable_performance_monitoring: `get_status` has two figures more.
        ring_dir: where decoded frames are; None = CAMERA_RING_DIR, and then /mnt/storage/camera_ring; empty = none.
        clock: for tests.

    Raises:
        CacheError: `cache_size` is no whole number of 0 or more.
        ConfigError: another value is not possible.
    """

    def __init__(
        self,
        shared_volume_dir: str | Path | ImageProviderConfig | None = None,
        cache_size: int = 10,
        background_monitoring: bool = True,
        monitor_interval: float = 0.1,
        max_age_seconds: float = 5.0,
        enable_performance_monitoring: bool = False,
        *,
        ring_dir: str | Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        if isinstance(shared_volume_dir, ImageProviderConfig):
            config = shared_volume_dir
        else:
            config = ImageProviderConfig(
                default_area() if shared_volume_dir is None else shared_volume_dir,
                cache_size,
                background_monitoring,
                monitor_interval,
                max_age_seconds,
                enable_performance_monitoring,
            )
        check(config)
        folder = Path(config.shared_volume_dir)
        ring = ring_folder(folder, ring_dir)
        self._max_age = float(config.max_age_seconds)
        self._monitors = bool(config.background_monitoring)
        self._has_performance = bool(config.enable_performance_monitoring)
        self._clock = clock or SystemClock()
        self._cache = ImageCache(config.cache_size)
        interval = max(float(config.monitor_interval), _SHORTEST_INTERVAL_SECONDS)
        folders = [folder / "live"] if ring is None else [folder / "live", ring]
        self._background = Background(News(folders, interval))
        self._giver = FrameGiver(Chooser(folder, ring, self._clock), self._cache, self._background, self._clock)
        self._trouble = StateLog(_log, "NO_FRESH_IMAGE", folder=str(folder))
        self._trouble_lock = threading.Lock()
        self._closed = False
        # A provider that is dropped without `close` leaves neither its thread nor a descriptor.
        weakref.finalize(self, self._background.end)

    # --- documented -----------------------------------------------------------------------------------------------

    def get_latest_image(
        self, max_age_seconds: float | None = None
    ) -> tuple[bool, npt.NDArray[np.uint8] | None, dict[str, Any] | None]:
        """Return the newest image.

        Args:
            max_age_seconds: instead of the one given to the constructor.

        Returns:
            `(True, BGR uint8 of shape (height, width, 3), metadata)`, the array being the caller's, or
            `(False, None, None)` when there is no image, or none that is fresh. The log says once why.
        """
        try:
            frame = self.latest_frame(max_age_seconds)
        except (SharedVolumeError, RequestInvalidError) as error:
            self._log_trouble(error)
            return False, None, None
        if self._trouble.reason is not None:
            with self._trouble_lock:
                self._trouble.healed("there are fresh images again")
        return True, frame.image, frame.metadata

    def start_monitoring(self) -> None:
        """Read new images as they appear, in a thread. Idempotent.

        Raises:
            CacheError: the provider was closed.
        """
        self._giver.require_open()
        self._monitors = True
        self._background.start(self._giver.look_in_background)

    def stop_monitoring(self) -> None:
        """Stop that thread and wait for its end; it does not start again by itself. Idempotent."""
        self._monitors = False
        self._background.stop()
        self._giver.forget_pictures()

    def get_status(self) -> dict[str, Any]:
        """Return what the provider did and has.

        Returns:
            `monitoring_active`; `cache_size`, the number of images now kept; `latest_image_age`, in seconds, infinite
            when there is none; `total_images_loaded`; `cache_hit_rate`, percentage of requests served without reading
            a file; `last_update`, seconds since the epoch, or None. With performance monitoring also
            `average_image_age`, seconds, and `images_per_second`, both of what was given in the last ten seconds.
        """
        figures = self._giver.tally.figures(time.monotonic())
        status: dict[str, Any] = {
            "monitoring_active": self._background.is_active,
            "cache_size": len(self._cache),
            "latest_image_age": self._giver.latest_age(),
            "total_images_loaded": figures.loaded,
            "cache_hit_rate": figures.hit_rate,
            "last_update": figures.last_update,
        }
        if self._has_performance:
            status["average_image_age"] = figures.average_age
            status["images_per_second"] = figures.per_second
        return status

    def force_refresh(self) -> bool:
        """Look for new images now and load them.

        Returns:
            Whether there are images newer than all that were given or reported here before.
        """
        try:
            self._use()
            return self._giver.refresh()
        except SharedVolumeError as error:
            self._log_trouble(error)
            return False

    def get_cached_images(self) -> list[tuple[str, npt.NDArray[np.uint8], dict[str, Any]]]:
        """Return `(filename, BGR array, metadata)` of every image in the cache, newest first.

        They are decoded for this call: 37 MB each for 12 million pixels. After `close` there are none.
        """
        with suppress(CacheError):
            self._use()
        found = []
        for frame, data in self._cache.newest_first():
            with HeldFrame(frame.sidecar, self._clock, stream="main", jpeg=data) as held:
                try:
                    found.append((frame.path.name, held.image(), held.metadata()))
                except ImageInvalidError:
                    self._cache.forget(frame)
        return found

    # --- strict ---------------------------------------------------------------------------------------------------

    def latest_frame(
        self,
        max_age_seconds: float | None = None,
        *,
        stream: str = "main",
        gray: bool = False,
        divisor: Divisor = 1,
        newer_than: int | None = None,
        not_before: datetime | float | None = None,
    ) -> Frame:
        """Return the newest frame.

        Args:
            max_age_seconds: instead of the one given to the constructor.
            stream: `main`, or `lores` for about 640 pixels of width.
            gray: brightness only.
            divisor: 2, 4 or 8 for a smaller picture, decoded faster.
            newer_than: only a frame of a higher sequence.
            not_before: only a frame whose exposure began then or later; an aware datetime, or seconds since the epoch.

        Raises:
            StorageUnavailableError: the hand-off area is missing, not mounted, or may not be read.
            ImageNotFoundError: there is no frame of this boot, or none that is whole.
            ImageTooOldError: the newest one is too old, not newer than asked, or of a camera that froze.
            CacheError: the provider was closed.
            RequestInvalidError: an argument is not possible.
        """
        wanted = self._wanted(stream, max_age_seconds, -1 if newer_than is None else newer_than, not_before)
        held, image = self._giver.give(wanted, _decoder(gray=gray, divisor=divisor) or self._giver.picture_of)
        return _frame(held, image)

    def wait_for_frame(
        self,
        newer_than: int | None = None,
        timeout: float = 5.0,
        *,
        max_age_seconds: float | None = None,
        stream: str = "main",
        gray: bool = False,
        divisor: Divisor = 1,
        not_before: datetime | float | None = None,
    ) -> Frame:
        """Wait for a frame, at most `timeout` seconds; otherwise as `latest_frame`.

        Args:
            newer_than: only a frame of a higher sequence; None = newer than what this object gave last.
            timeout: seconds.
            max_age_seconds: as `latest_frame`.
            stream: as `latest_frame`.
            gray: as `latest_frame`.
            divisor: as `latest_frame`.
            not_before: as `latest_frame`.
        """
        wanted = self._wanted(stream, max_age_seconds, newer_than, not_before, waits=True)
        decode = _decoder(gray=gray, divisor=divisor) or HeldFrame.image
        held, image = self._giver.wait(wanted, seconds("timeout", timeout), lambda: self._giver.give(wanted, decode))
        return _frame(held, image)

    @contextmanager
    def latest_view(
        self, max_age_seconds: float | None = None, *, stream: str = "main", newer_than: int | None = None
    ) -> Iterator[FrameView]:
        """Look at the newest frame without a copy; arguments and errors as `latest_frame`.

        The picture is in shared memory, or in this object's; it is read-only, and must not be used after the block.
        """
        wanted = self._wanted(stream, max_age_seconds, -1 if newer_than is None else newer_than, None)
        held, view = self._giver.give(wanted, self._giver.view_of)
        with held:
            yield FrameView(view, held.sidecar, held.age, held.source)

    def hold(
        self,
        *,
        newer_than: int | None = None,
        timeout: float = 0.0,
        stream: str = "main",
        max_age_seconds: float | None = None,
    ) -> HeldFrame:
        """Take a frame without decoding it; arguments and errors as `wait_for_frame`. Close it when done."""
        wanted = self._wanted(stream, max_age_seconds, newer_than, None, waits=timeout > 0)
        held, _ = self._giver.wait(
            wanted, seconds("timeout", timeout), lambda: self._giver.give(wanted, lambda _: None)
        )
        return held

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        self._closed = True
        self._giver.close()
        self._background.stop()
        self._background.end()

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # --- inside ---------------------------------------------------------------------------------------------------

    def _wanted(
        self,
        stream: str,
        max_age: float | None,
        above: int | None,
        not_before: datetime | float | None,
        *,
        waits: bool = False,
    ) -> Wanted:
        if stream not in STREAMS:
            raise RequestInvalidError(f"stream is {stream!r}: main and lores are possible")
        age = self._max_age if max_age is None else seconds("max_age_seconds", max_age)
        not_before_ns = -1 if not_before is None else self._boottime_of(not_before)
        self._use()
        given, volume = self._giver.last_given()
        return Wanted(stream, age, given if above is None else above, not_before_ns, waits, volume)

    def _boottime_of(self, moment: datetime | float) -> int:
        if isinstance(moment, datetime):
            if moment.tzinfo is None:
                raise RequestInvalidError("not_before has no time zone: give an aware datetime or epoch seconds")
            moment = moment.timestamp()
        if not math.isfinite(moment):
            raise RequestInvalidError(f"not_before is {moment!r}: give an aware datetime or epoch seconds")
        return self._clock.boottime_ns() - (self._clock.wall_ns() - round(moment * 1e9))

    def _use(self) -> None:
        """Start what starts on first use."""
        self._giver.require_open()
        if self._monitors:
            self._background.start(self._giver.look_in_background)

    def _log_trouble(self, error: FieldcamError) -> None:
        with self._trouble_lock:
            if not self._closed:
                self._trouble.broken(error.message)


def _decoder(*, gray: bool, divisor: Divisor) -> Callable[[HeldFrame], npt.NDArray[np.uint8]] | None:
    """Return how to decode a frame other than as it is; None for that.

    Raises:
        RequestInvalidError: the divisor is not possible.
    """
    if divisor not in DIVISORS:
        raise RequestInvalidError(f"divisor is {divisor!r}: 1, 2, 4 and 8 are possible")
    return (lambda held: held.image(gray=gray, divisor=divisor)) if gray or divisor != 1 else None


def _frame(held: HeldFrame, image: npt.NDArray[np.uint8]) -> Frame:
    with held:
        return Frame(image, held.metadata(), held.sequence, held.source)

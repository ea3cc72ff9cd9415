# SPDX-License-Identifier: MIT
"""`SharedVolumeImageProvider`: frames of the host's camera for a process that has no camera (contract section 2).

Frames come out of the ring, decoded already, where there is one, and otherwise out of `live/`; whoever asks cannot
tell. What is too old, of another boot, frozen, copied or older than a frame given before is never given. The documented
methods answer `(False, None, None)` then, the strict ones raise what is wrong.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fieldcam.core.clock import Clock, SystemClock, is_fresh
from fieldcam.core.errors import (
    CacheError,
    ImageInvalidError,
    ImageNotFoundError,
    ImageTooOldError,
    RequestInvalidError,
    SharedVolumeError,
)
from fieldcam.core.frame import Sidecar
from fieldcam.core.jpeg import Divisor
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.handoff.ring_reader import Lease, RingReader
from fieldcam.handoff.watch import FolderWatch
from fieldcam.provider.cache import ImageCache
from fieldcam.provider.files import LiveFiles, LiveFrame
from fieldcam.provider.held import HeldFrame, Source
from fieldcam.provider.monitor import Monitor
from fieldcam.provider.place import DEFAULT_AREA, Place, PlaceFinder, default_area

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_log = get_logger(__name__)
# How long a new file waits for its decoded frame in the ring, before it is decoded here.
RING_PATIENCE_SECONDS = 1.0
# A decoded picture that nobody asked for again is given up after this.
KEEP_DECODED_SECONDS = 2.0
_RATE_WINDOW = 50


@dataclass
class ImageProviderConfig:
    """What `SharedVolumeImageProvider` can be given, as one object."""

    shared_volume_dir: str = DEFAULT_AREA
    cache_size: int = 10
    background_monitoring: bool = True
    monitor_interval: float = 0.1
    max_age_seconds: float = 5.0
    enable_performance_monitoring: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame.

    Attributes:
        image: BGR, uint8, shape (height, width, 3), or (height, width) in grey; the caller's own.
        metadata: the sidecar and `age`, in seconds when it was handed over. A frame that came before its file was
            written has an empty `filename`.
        sequence: rises with every frame of the camera within a boot.
        source: `ring` or `file`.
    """

    image: npt.NDArray[np.uint8]
    metadata: dict[str, Any]
    sequence: int
    source: Source


@dataclass(frozen=True, slots=True)
class FrameView:
    """A frame that is looked at without a copy; `image` is read-only and valid within the `with` block."""

    image: npt.NDArray[np.uint8]
    metadata: dict[str, Any]
    sequence: int
    source: Source


@dataclass(slots=True)
class _Decoded:
    stream: str
    image: npt.NDArray[np.uint8]
    sidecar: Sidecar
    described: dict[str, Any]
    used_at: float

    @property
    def sequence(self) -> int:
        return self.sidecar.sequence


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a caller accepts: a stream, an age, a sequence above `above`, an exposure not before `not_before_ns`."""

    stream: str
    max_age: float
    above: int
    not_before_ns: int


class SharedVolumeImageProvider:
    """Gives the newest image of the host's camera.

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
                str(shared_volume_dir) if shared_volume_dir is not None else default_area(),
                cache_size,
                background_monitoring,
                monitor_interval,
                max_age_seconds,
                enable_performance_monitoring,
            )
        self._config = config
        self._finder = PlaceFinder(Path(config.shared_volume_dir), ring_dir)
        self._clock = clock or SystemClock()
        self._cache = ImageCache(config.cache_size)
        self._lock = threading.RLock()
        self._place: Place | None = None
        self._files: LiveFiles | None = None
        self._rings: dict[str, RingReader] = {}
        self._ring_live: dict[str, tuple[int, float]] = {}
        self._watch: FolderWatch | None = None
        self._monitor: Monitor | None = None
        self._stop_monitor: weakref.finalize[..., Any] | None = None
        self._was_stopped = self._closed = False
        self._given = -1
        self._file_seen: tuple[int, float] = (-1, 0.0)
        self._previous_file = -1
        self._decoded: _Decoded | None = None
        self._damaged: deque[int] = deque(maxlen=100)
        self._requests = self._hits = 0
        self._last_update: float | None = None
        self._ages: deque[float] = deque(maxlen=_RATE_WINDOW)
        self._given_at: deque[float] = deque(maxlen=_RATE_WINDOW)
        self._trouble = StateLog(_log, "NO_FRESH_IMAGE", folder=config.shared_volume_dir)

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
        except (SharedVolumeError, ImageInvalidError) as error:
            if not self._closed:
                self._trouble.broken(error.message)
            return False, None, None
        self._trouble.healed("there are fresh images again")
        return True, frame.image, frame.metadata

    def start_monitoring(self) -> None:
        """Read new images as they appear, in a thread. Idempotent."""
        with self._lock:
            if self._closed or self._monitor is not None:
                return
            self._was_stopped = False
            folder = Path(self._config.shared_volume_dir) / "live"
            self._monitor = Monitor(folder, self._config.monitor_interval, self._look_in_background)
            self._stop_monitor = weakref.finalize(self, Monitor.stop, self._monitor, wait=False)

    def stop_monitoring(self) -> None:
        """Stop that thread and wait for its end. Idempotent."""
        with self._lock:
            monitor, self._monitor = self._monitor, None
            finalizer, self._stop_monitor = self._stop_monitor, None
            self._was_stopped = True
        if monitor is not None and finalizer is not None:
            finalizer.detach()
            monitor.stop()

    def get_status(self) -> dict[str, Any]:
        """Return what the provider did and has, as the contract lists it."""
        try:
            newest = self._newest_sidecar()
        except SharedVolumeError:
            newest = None
        with self._lock:
            status: dict[str, Any] = {
                "monitoring_active": self._monitor is not None,
                "cache_size": len(self._cache),
                "latest_image_age": self._age(newest) if newest is not None else math.inf,
                "total_images_loaded": self._cache.loaded,
                "cache_hit_rate": 100.0 * self._hits / self._requests if self._requests else 0.0,
                "last_update": self._last_update,
            }
            if self._config.enable_performance_monitoring:
                seconds = self._given_at[-1] - self._given_at[0] if len(self._given_at) > 1 else 0.0
                status["average_image_age"] = sum(self._ages) / len(self._ages) if self._ages else 0.0
                status["images_per_second"] = (len(self._given_at) - 1) / seconds if seconds > 0 else 0.0
        return status

    def force_refresh(self) -> bool:
        """Look for new images now; return whether some were found and loaded."""
        try:
            self._require_open()
            return self._load_new()
        except (SharedVolumeError, ImageInvalidError) as error:
            if not self._closed:
                self._trouble.broken(error.message)
            return False

    def get_cached_images(self) -> list[tuple[str, npt.NDArray[np.uint8], dict[str, Any]]]:
        """Return `(filename, BGR array, metadata)` of every image in the cache, newest first, decoded for this call."""
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
            ImageNotFoundError: there is no frame of this boot, or none that can be read.
            ImageTooOldError: the newest one is too old, not newer than asked, or of a camera that froze.
            ImageInvalidError: the newest ones are damaged.
            CacheError: the provider was closed.
            RequestInvalidError: an argument is not possible.
        """
        wanted = self._wanted(stream, max_age_seconds, newer_than, not_before)
        with self._lock:
            return self._frame(wanted, gray=gray, divisor=divisor, again=True)

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
        wanted = self._wanted(stream, max_age_seconds, self._given if newer_than is None else newer_than, not_before)
        deadline = time.monotonic() + timeout
        while True:
            try:
                with self._lock:
                    return self._frame(wanted, gray=gray, divisor=divisor, again=False, waits=True)
            except (SharedVolumeError, ImageInvalidError):
                if self._closed or not self._wait(deadline):
                    raise

    @contextmanager
    def latest_view(
        self, max_age_seconds: float | None = None, *, stream: str = "main", newer_than: int | None = None
    ) -> Iterator[FrameView]:
        """Look at the newest frame without a copy; arguments and errors as `latest_frame`.

        The picture is in shared memory, or in this object's; it is read-only, and must not be used after the block.
        """
        wanted = self._wanted(stream, max_age_seconds, newer_than, None)
        with self._lock:
            held: HeldFrame | None = None
            kept = self._kept(wanted)
            if kept is None:
                held = self._held(wanted)
                kept = self._keep(held) if held.view is None else None
            if kept is not None:
                image = kept.image.view()
                image.flags.writeable = False
                view = FrameView(image, self._with_age(kept), kept.sequence, "file")
            else:
                assert held is not None
                assert held.view is not None
                view = FrameView(held.view, held.metadata(), held.sequence, held.source)
            self._note(view.sequence, view.metadata["age"])
        try:
            yield view
        finally:
            if held is not None:
                held.close()

    def hold(
        self,
        *,
        newer_than: int | None = None,
        timeout: float = 0.0,
        stream: str = "main",
        max_age_seconds: float | None = None,
    ) -> HeldFrame:
        """Take a frame without decoding it; arguments and errors as `wait_for_frame`. Close it when done."""
        wanted = self._wanted(stream, max_age_seconds, self._given if newer_than is None else newer_than, None)
        deadline = time.monotonic() + timeout
        while True:
            try:
                with self._lock:
                    held = self._held(wanted, waits=timeout > 0)
                    self._note(held.sequence, held.age)
                    return held
            except (SharedVolumeError, ImageInvalidError):
                if self._closed or not self._wait(deadline):
                    raise

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        self.stop_monitoring()
        with self._lock:
            self._closed = True
            self._leave_place()
            self._cache.clear()
            if self._watch is not None:
                self._watch.close()
                self._watch = None

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # --- choosing a frame -----------------------------------------------------------------------------------------

    def _wanted(
        self, stream: str, max_age: float | None, newer_than: int | None, not_before: datetime | float | None
    ) -> _Wanted:
        if stream not in {"main", "lores"}:
            raise RequestInvalidError(f"stream is {stream!r}: main and lores are possible")
        self._require_open()
        if self._config.background_monitoring and self._monitor is None and not self._was_stopped:
            self.start_monitoring()
        return _Wanted(
            stream=stream,
            max_age=self._config.max_age_seconds if max_age is None else max_age,
            above=-1 if newer_than is None else newer_than,
            not_before_ns=self._boottime_of(not_before),
        )

    def _boottime_of(self, moment: datetime | float | None) -> int:
        if moment is None:
            return -1
        if isinstance(moment, datetime):
            if moment.tzinfo is None:
                raise RequestInvalidError("not_before has no time zone: give an aware datetime or epoch seconds")
            moment = moment.timestamp()
        if not math.isfinite(moment):
            raise RequestInvalidError(f"not_before is {moment!r}: give an aware datetime or epoch seconds")
        ago_ns = self._clock.wall_ns() - round(moment * 1e9)
        return self._clock.boottime_ns() - ago_ns

    def _frame(self, wanted: _Wanted, *, gray: bool, divisor: Divisor, again: bool, waits: bool = False) -> Frame:
        """Return a frame that is the caller's own; with `again` its pixels are kept for whoever asks once more."""
        keeps = again and not gray and divisor == 1
        if keeps and (kept := self._kept(wanted)) is not None:
            frame = Frame(kept.image.copy(), self._with_age(kept), kept.sequence, "file")
        else:
            frame = self._decoded_frame(wanted, gray=gray, divisor=divisor, keeps=keeps, waits=waits)
        self._note(frame.sequence, frame.metadata["age"])
        return frame

    def _decoded_frame(self, wanted: _Wanted, *, gray: bool, divisor: Divisor, keeps: bool, waits: bool) -> Frame:
        """Decode the newest frame that can be decoded."""
        damage: ImageInvalidError | None = None
        while True:
            try:
                held = self._held(wanted, waits=waits)
            except SharedVolumeError:
                if damage is not None:
                    try:
                        raise damage from None
                    finally:
                        del damage  # as in `_held_file`
                raise
            with held:
                try:
                    if keeps and held.view is None and self._monitor is not None:
                        image = self._keep(held).image.copy()
                    else:
                        image = self._decode(held, gray=gray, divisor=divisor)
                except ImageInvalidError as error:
                    damage = damage or error
                    continue
                return Frame(image, held.metadata(), held.sequence, held.source)

    def _held(self, wanted: _Wanted, *, waits: bool = False) -> HeldFrame:
        """Return the newest frame that may be given, whole as far as can be told without decoding.

        Raises:
            As `latest_frame`.
        """
        self._require_open()
        place = self._find_place()
        floor = max(wanted.above + 1, self._given)
        lease = self._lease(place, wanted.stream, floor)
        try:
            files = self._newest_files()
            newest = files[0].sidecar.sequence if files else -1
            if lease is not None and (lease.sequence >= newest or self._ring_is_coming(wanted.stream, newest)):
                self._check(lease.sidecar, wanted)
                held = HeldFrame(lease.sidecar, self._clock, stream=wanted.stream, lease=lease)
                self._requests += 1
                self._hits += 1
                lease = None
                return held
        finally:
            if lease is not None:
                lease.close()
        if waits and newest >= floor and self._ring_is_coming(wanted.stream, newest):
            raise ImageTooOldError("the next frame is being decoded for the ring")
        return self._held_file(files, wanted, floor)

    def _held_file(self, files: list[LiveFrame], wanted: _Wanted, floor: int) -> HeldFrame:
        if not files:
            raise ImageNotFoundError(
                f"there is no image of this boot in {self._config.shared_volume_dir}/live: does the camera deliver?",
                path=self._config.shared_volume_dir,
            )
        trouble: SharedVolumeError | None = None
        for frame in files:
            if frame.sidecar.sequence < floor:
                trouble = trouble or ImageTooOldError(
                    f"the newest image is {frame.path.name}, and it was given before or is not new enough"
                )
                break
            if frame.sidecar.sequence in self._damaged:
                trouble = trouble or ImageNotFoundError(f"{frame.path.name} is damaged")
                continue
            try:
                self._check(frame.sidecar, wanted)
                data, was_cached = self._cache.read(frame)
            except ImageTooOldError as error:
                trouble = trouble or error
                break  # those after it are older
            except ImageNotFoundError as error:
                trouble = trouble or error
                continue
            self._requests += 1
            self._hits += was_cached
            if not was_cached:
                self._last_update = self._clock.wall_ns() / 1e9
            return HeldFrame(frame.sidecar, self._clock, stream=wanted.stream, jpeg=data)
        try:
            raise trouble or ImageNotFoundError("there is no image")
        finally:
            # Error and frame would keep each other alive, and with them what the caller holds: 37 MB a picture.
            del trouble

    def _check(self, sidecar: Sidecar, wanted: _Wanted) -> None:
        age = self._age(sidecar)
        if sidecar.is_frozen:
            raise ImageTooOldError(
                f"the camera is frozen: {sidecar.identical_frames + 1} identical frames in a row", frozen=True
            )
        if not is_fresh(age, wanted.max_age):
            raise ImageTooOldError(
                f"the newest image is {age:.1f} s old, at most {wanted.max_age:g} s are allowed", age=age
            )
        if sidecar.monotonic_ns < wanted.not_before_ns:
            raise ImageTooOldError(f"the newest image was exposed {age:.1f} s ago, before the moment asked for")

    def _lease(self, place: Place, stream: str, floor: int) -> Lease | None:
        if place.ring is None:
            return None
        ring = self._rings.get(stream)
        if ring is None:
            ring = self._rings[stream] = RingReader(place.ring, stream, volume_id=place.volume.id, clock=self._clock)
        lease = ring.newest(newer_than=floor - 1)
        newest = ring.newest_sequence() if lease is None else lease.sequence
        if newest > self._ring_live.get(stream, (-1, 0.0))[0]:
            self._ring_live[stream] = newest, time.monotonic()
        return lease

    def _ring_is_coming(self, stream: str, newest_file: int) -> bool:
        """Return whether the ring gave frames lately, and will soon have that of the newest file."""
        sequence, moved_at = self._ring_live.get(stream, (-1, 0.0))
        now = time.monotonic()
        if newest_file != self._file_seen[0]:
            self._file_seen = newest_file, now
        # The one before the newest file was in the ring, and the newest is here for a moment only.
        lately = sequence >= 0 and moved_at > 0 and sequence >= self._previous_file
        return sequence < newest_file and lately and now - self._file_seen[1] < RING_PATIENCE_SECONDS

    def _newest_files(self) -> list[LiveFrame]:
        assert self._files is not None
        files = self._files.newest_first()
        self._previous_file = files[1].sidecar.sequence if len(files) > 1 else -1
        return files

    # --- pixels kept for a moment ---------------------------------------------------------------------------------

    def _kept(self, wanted: _Wanted) -> _Decoded | None:
        """Return the picture decoded last when it still is what would be given."""
        decoded = self._decoded
        if decoded is None or decoded.stream != wanted.stream or not wanted.above < decoded.sequence == self._given:
            return None
        self._find_place()
        ring = self._rings.get(wanted.stream)
        if ring is not None and ring.newest_sequence() > decoded.sequence:
            return None
        files = self._newest_files()
        if not files or files[0].sidecar.sequence != decoded.sequence:
            return None
        self._check(decoded.sidecar, wanted)
        decoded.used_at = time.monotonic()
        self._requests += 1
        self._hits += 1
        return decoded

    def _keep(self, held: HeldFrame) -> _Decoded:
        self._decoded = None  # its memory first
        image = self._decode(held)
        self._decoded = _Decoded(held.stream, image, held.sidecar, held.sidecar.to_dict(), time.monotonic())
        return self._decoded

    def _decode(self, held: HeldFrame, *, gray: bool = False, divisor: Divisor = 1) -> npt.NDArray[np.uint8]:
        try:
            return held.image(gray=gray, divisor=divisor)
        except ImageInvalidError as error:
            self._damaged.append(held.sequence)
            raise ImageInvalidError(f"{held.sidecar.filename}: {error.message}") from None

    def _with_age(self, kept: _Decoded) -> dict[str, Any]:
        return {**kept.described, "age": self._age(kept.sidecar)}

    # --- inside ---------------------------------------------------------------------------------------------------

    def _look_in_background(self) -> None:
        """One look of the monitoring thread."""
        with suppress(SharedVolumeError, ImageInvalidError):  # whoever asks for an image is told
            self._load_new()
        with self._lock:
            for ring in self._rings.values():
                ring.rest()
            if self._decoded is not None and time.monotonic() - self._decoded.used_at > KEEP_DECODED_SECONDS:
                self._decoded = None

    def _load_new(self) -> bool:
        with self._lock:
            self._find_place()
            files = [frame for frame in self._newest_files() if frame not in self._cache]
        loaded = False
        for frame in reversed(files):
            try:
                _, was_cached = self._cache.read(frame)
            except ImageNotFoundError:
                continue
            loaded |= not was_cached
        if loaded:
            self._last_update = self._clock.wall_ns() / 1e9
        return loaded

    def _find_place(self) -> Place:
        """Return the place; look again whether it is still the same one."""
        try:
            place = self._finder.find()
        except SharedVolumeError:
            self._leave_place()
            raise
        if place != self._place:
            self._leave_place()
            self._place = place
            self._files = LiveFiles(place, self._clock.boot_id())
        return place

    def _leave_place(self) -> None:
        for ring in self._rings.values():
            ring.close()
        self._rings.clear()
        self._ring_live.clear()
        self._place = self._files = self._decoded = None

    def _newest_sidecar(self) -> Sidecar | None:
        if self._closed:
            return None
        with self._lock:
            self._find_place()
            files = self._newest_files()
        return files[0].sidecar if files else None

    def _wait(self, deadline: float) -> bool:
        """Wait for news; return False when the time is over."""
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        with self._lock:
            if self._closed:
                return False
            if self._watch is None:
                folders = [Path(self._config.shared_volume_dir) / "live"]
                if self._place is not None and self._place.ring is not None:
                    folders.append(self._place.ring)
                self._watch = FolderWatch(folders, poll_interval=self._config.monitor_interval)
                return True  # what came before the watch was there
            watch = self._watch
        watch.wait(min(left, RING_PATIENCE_SECONDS / 4))
        return True

    def _note(self, sequence: int, age: float) -> None:
        self._given = max(self._given, sequence)
        self._ages.append(age)
        self._given_at.append(time.monotonic())

    def _age(self, sidecar: Sidecar) -> float:
        return (self._clock.boottime_ns() - sidecar.monotonic_ns) / 1e9

    def _require_open(self) -> None:
        if self._closed:
            raise CacheError("the provider was closed; make a new one")

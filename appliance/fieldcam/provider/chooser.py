# SPDX-License-Identifier: MIT
"""Which frame is given: the one place that knows what may be, be it in the ring or in a file.

Not given is what is too old or from the future, of another boot, frozen, a copy, damaged, or older than a frame given
before. The ring and the files hold the same frames, so whoever asks cannot tell which of the two answered.
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from fieldcam.core.clock import Clock, is_fresh
from fieldcam.core.errors import ImageNotFoundError, ImageTooOldError, SharedVolumeError
from fieldcam.core.frame import Sidecar
from fieldcam.handoff.ring_reader import Lease, RingReader
from fieldcam.provider.files import LiveFiles, LiveFrame
from fieldcam.provider.place import Place, PlaceFinder

# How long a new file waits for its decoded frame in the ring before it is decoded here; twice what a Pi 4 needs.
RING_PATIENCE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller accepts.

    Attributes:
        stream: `main` or `lores`.
        max_age: in seconds.
        above: only a higher sequence.
        not_before_ns: only an exposure that began then or later, on CLOCK_BOOTTIME.
        waits: the caller would rather wait for a moment than decode what the ring will have.
        volume_changes: of the chooser when `above` was said; sequences of another volume mean nothing.
    """

    stream: str
    max_age: float
    above: int = -1
    not_before_ns: int = -1
    waits: bool = False
    volume_changes: int = 0


@dataclass(frozen=True, slots=True)
class Leased:
    """A frame in the ring, with the sidecar of its file where that is written already."""

    lease: Lease
    sidecar: Sidecar


class Chooser:
    """Chooses among the frames of one camera. For one thread at a time.

    Args:
        folder: as `find_place`.
        ring: as `find_place`.
        clock: time.

    Attributes:
        given: the sequence of the newest frame that was given; an older one never is.
        volume_changes: rises when the hand-off area is another one than before: sequences begin anew there.
    """

    def __init__(self, folder: Path, ring: Path | None, clock: Clock) -> None:
        self._finder = PlaceFinder(folder, ring)
        self._clock = clock
        self._place: Place | None = None
        self._files: LiveFiles | None = None
        self._rings: dict[str, RingReader] = {}
        self._ring_at: dict[str, int] = {}
        self._file_seen: tuple[int, float] = (-1, 0.0)
        self._damaged: deque[tuple[int, str]] = deque(maxlen=100)
        self._volume_id: str | None = None
        self._given_ns = self._left_ns = -1
        self.given = -1
        self.volume_changes = 0

    def choose(self, wanted: Wanted, unreadable: frozenset[Path] = frozenset()) -> Leased | LiveFrame:
        """Return the newest frame that may be given; a lease is the caller's to close.

        Args:
            wanted: what is accepted.
            unreadable: files that were tried just now, in vain.

        Raises:
            StorageUnavailableError: the hand-off area is missing, not mounted, or may not be read.
            ImageNotFoundError: there is no frame of this boot that can be read.
            ImageTooOldError: there are only frames that are too old, given already, or of a frozen camera.
        """
        files = self._find()
        above = wanted.above if wanted.volume_changes == self.volume_changes else -1
        floor = max(above + 1, self.given)
        lease = self._lease(wanted.stream, floor)
        try:
            chosen = self._choose(files, lease, floor, wanted, unreadable)
            if chosen is lease:
                lease = None
        finally:
            if lease is not None:
                lease.close()
        if isinstance(chosen, Lease):
            return Leased(chosen, self._sidecar_of(chosen))
        return chosen

    def note_given(self, sidecar: Sidecar) -> None:
        """Give no older frame from now on."""
        self.given = max(self.given, sidecar.sequence)
        self._given_ns = max(self._given_ns, sidecar.monotonic_ns)

    def note_damaged(self, sidecar: Sidecar) -> None:
        """Never choose this file again: it cannot be decoded."""
        self._damaged.append((sidecar.sequence, sidecar.sha256))

    def newest(self, number: int) -> list[LiveFrame]:
        """Return the newest files of this boot, at most so many, newest first. Raises as `choose`."""
        return list(islice(self._find().newest_first(), number))

    def wait_seconds(self, wanted: Wanted) -> float:
        """Return after which time it is worth looking again without any news."""
        if self._is_ring_coming(wanted.stream, self._file_seen[0], self._ring_at.get(wanted.stream, -1)):
            return max(0.01, self._file_seen[1] + RING_PATIENCE_SECONDS - time.monotonic())
        return 1.0

    def rest(self) -> None:
        """Let the ring's writer know when nobody reads any more."""
        for ring in self._rings.values():
            ring.rest()

    def leave(self) -> None:
        """Let go of everything; the next `choose` finds it again."""
        for ring in self._rings.values():
            ring.close()
        self._rings.clear()
        self._ring_at.clear()
        self._place = self._files = None

    # --- inside ---------------------------------------------------------------------------------------------------

    def _find(self) -> LiveFiles:
        """Look whether the place is still the same one."""
        try:
            place = self._finder.find()
        except SharedVolumeError:
            self.leave()
            raise
        if place != self._place or self._files is None:
            self.leave()
            self._place = place
            self._files = LiveFiles(place, self._clock.boot_id())
            if self._volume_id not in {None, place.volume.id}:
                self.volume_changes += 1
                self.given, self._left_ns = -1, self._given_ns
                self._damaged.clear()
            self._volume_id = place.volume.id
        return self._files

    def _choose(
        self, files: LiveFiles, lease: Lease | None, floor: int, wanted: Wanted, unreadable: frozenset[Path]
    ) -> Lease | LiveFrame:
        in_ring = self._why_not(lease.sidecar, wanted) if lease is not None else None
        ring_frame = lease if in_ring is None else None
        trouble: SharedVolumeError | None = in_ring
        previous: LiveFrame | None = None
        frames = files.newest_first()
        for frame in frames:
            if ring_frame is not None and ring_frame.sequence >= frame.sidecar.sequence:
                return ring_frame
            if frame.sidecar.sequence < floor:
                trouble = trouble or _nothing_newer(frame)
                break
            if frame.path in unreadable or (frame.sidecar.sequence, frame.sidecar.sha256) in self._damaged:
                trouble = trouble or ImageNotFoundError(f"{frame.path} is damaged", path=str(frame.path))
                continue
            why_not = self._why_not(frame.sidecar, wanted)
            if why_not is not None:
                trouble = trouble or why_not
                if frame.sidecar.monotonic_ns > self._clock.boottime_ns():
                    continue  # nonsense: what follows may be fine
                break  # those after it are older still
            previous = next(frames, None)
            if not self._waits_for_ring(wanted.stream, frame, previous, lease):
                return frame
            if wanted.waits:
                raise ImageTooOldError("the next image is being decoded for the ring")
            return ring_frame or frame
        if ring_frame is not None:
            return ring_frame
        try:
            raise trouble or self._nothing(files)
        finally:
            # An error that the frame it was raised in still names would keep itself alive until the collector comes,
            # and with it what every caller holds: 37 MB a picture.
            trouble = in_ring = why_not = None

    def _why_not(self, sidecar: Sidecar, wanted: Wanted) -> ImageTooOldError | None:
        """Return why a frame may not be given; None when it may."""
        age = (self._clock.boottime_ns() - sidecar.monotonic_ns) / 1e9
        if sidecar.is_frozen:
            return ImageTooOldError(
                f"the camera is frozen: {sidecar.identical_frames + 1} identical images in a row", frozen=True
            )
        if not is_fresh(age, wanted.max_age):
            return ImageTooOldError(
                f"the newest image is {age:.1f} s old, at most {wanted.max_age:g} s are allowed", age=age
            )
        if sidecar.monotonic_ns < wanted.not_before_ns:
            return ImageTooOldError(f"the newest image was exposed {age:.1f} s ago, before the moment asked for")
        if sidecar.monotonic_ns < self._left_ns:
            return ImageTooOldError("the newest image is older than one given before, of another volume")
        return None

    def _nothing(self, files: LiveFiles) -> ImageNotFoundError:
        assert self._place is not None
        live = self._place.live
        why = files.flaw or ("does the camera deliver?" if live.is_dir() else "the folder is missing")
        return ImageNotFoundError(f"there is no image of this boot in {live}: {why}", path=str(live))

    # --- the ring -------------------------------------------------------------------------------------------------

    def _lease(self, stream: str, floor: int) -> Lease | None:
        assert self._place is not None
        if self._place.ring is None or not os.path.isdir(self._place.ring):  # noqa: PTH112 - asked by every call
            return None
        ring = self._rings.get(stream)
        if ring is None:
            ring = RingReader(self._place.ring, stream, volume_id=self._place.volume.id, clock=self._clock)
            self._rings[stream] = ring
        lease = ring.newest(newer_than=floor - 1)
        if lease is not None:
            self._ring_at[stream] = lease.sequence
        return lease

    def _sidecar_of(self, lease: Lease) -> Sidecar:
        """Return the sidecar of the file when it is written: it has the name."""
        if not lease.sidecar.filename and self._files is not None:
            for frame in self._files.newest_first():
                if frame.sidecar.sequence == lease.sequence:
                    return frame.sidecar
                if frame.sidecar.sequence < lease.sequence:
                    break
        return lease.sidecar

    def _waits_for_ring(self, stream: str, frame: LiveFrame, previous: LiveFrame | None, lease: Lease | None) -> bool:
        """Return whether the ring will soon have the frame of a new file.

        It will when it had the one before, and the file is here for a moment only.
        """
        sequence = frame.sidecar.sequence
        if sequence != self._file_seen[0]:
            self._file_seen = sequence, time.monotonic()
        if previous is None or stream not in self._rings or sequence <= self.given:
            return False
        before = previous.sidecar.sequence
        if lease is None and self._ring_at.get(stream, -1) < before:
            peeked = self._rings[stream].newest(newer_than=before - 1)
            if peeked is not None:
                self._ring_at[stream] = peeked.sequence
                peeked.close()
        ring_at = self._ring_at.get(stream, -1)
        return ring_at >= before and self._is_ring_coming(stream, sequence, ring_at)

    def _is_ring_coming(self, stream: str, sequence: int, ring_at: int) -> bool:
        waited = time.monotonic() - self._file_seen[1]
        return stream in self._rings and 0 <= ring_at < sequence and waited < RING_PATIENCE_SECONDS


def _nothing_newer(frame: LiveFrame) -> ImageTooOldError:
    return ImageTooOldError(
        f"the newest image is {frame.path.name}: it was given before, or is not as new as asked", path=str(frame.path)
    )

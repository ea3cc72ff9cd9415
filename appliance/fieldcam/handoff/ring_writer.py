# SPDX-License-Identifier: MIT
"""The writing half of the frame ring: decoded frames in shared memory, for readers that it never waits for.

A slot is taken only when it can be locked exclusively at once. Its header is zeroed, the pixels go in, the header comes
last, the lock is let go, and the file is renamed to the frame's sequence: the name is the notice and the index.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fieldcam.core.clock import Clock
from fieldcam.core.durable import rename_without_overwriting, storage_errors
from fieldcam.core.errors import ImageInvalidError, NameTakenError, StorageUnavailableError
from fieldcam.core.frame import Sidecar
from fieldcam.core.jpeg import check_size, decode, read_size
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.handoff.file_system import IN_RAM, file_system_type
from fieldcam.handoff.lores import LORES_WIDTH, decode_for, lores_size, shrink
from fieldcam.handoff.presence import PresenceWatch
from fieldcam.handoff.slot import (
    STREAMS,
    SlotHeader,
    Stream,
    pack_header,
    pack_metadata,
    slot_bytes,
    slot_name,
    volume_mark,
)
from fieldcam.handoff.slot_file import Fill, SlotFile
from fieldcam.handoff.slot_pool import SlotPool

if TYPE_CHECKING:
    import numpy.typing as npt

_log = get_logger(__name__)
IDLE_SECONDS = 30.0
# A frame that finds a slot between two that do not is no end of it.
STARVED_SECONDS = 10.0
_MOST_SEQUENCE = 2**64 - 1


@dataclass(frozen=True, slots=True)
class RingStats:
    """What the ring did and holds.

    Attributes:
        published, dropped: frames since the writer was made; one of two streams counts for itself.
        slots, slot_bytes: in use now.
        abandoned_bytes: of slots whose readers hold them for too long.
    """

    published: int
    dropped: int
    slots: int
    slot_bytes: int
    abandoned_bytes: int


class RingWriter:
    """Writes the ring of one camera. For one thread.

    Args:
        folder: of the ring; must be there, and in RAM.
        volume_id: id of the hand-off area whose frames these are.
        clock: time.
        max_bytes: of RAM: half for slots, half for those that readers do not let go. Two slots of `slot_bytes` for
            each stream are the least that works in each half.
        lores_width: width of the small stream in pixels.
        require_ram: refuse a folder on a disk, which would be written to with every frame.

    Raises:
        StorageUnavailableError: the folder is missing, cannot be written, or is not in RAM.
    """

    def __init__(
        self,
        folder: Path,
        *,
        volume_id: str,
        clock: Clock,
        max_bytes: int,
        lores_width: int = LORES_WIDTH,
        require_ram: bool = True,
    ) -> None:
        self._folder = folder
        self._volume = volume_mark(volume_id)
        self._clock = clock
        self._lores_width = lores_width
        self._pool = SlotPool(folder, volume=self._volume, clock=clock, max_bytes=max_bytes)
        self._published = self._dropped = 0
        self._read_ns = dict.fromkeys(STREAMS, clock.boottime_ns())
        self._dropped_ns = 0
        self._starved = StateLog(_log, "RING_STARVED", folder=str(folder))
        with storage_errors(folder):
            if require_ram and file_system_type(folder) not in IN_RAM:
                raise StorageUnavailableError(
                    f"{folder} is not in RAM: decoded frames would wear the disk out; mount a tmpfs there",
                    path=str(folder),
                )
            self._presence = PresenceWatch(folder, clock)
            try:
                self._presence.streams_read()  # readers find something to mark
                self._pool.take_over()
            except BaseException:
                self.close()
                raise

    # --- what it says ---------------------------------------------------------------------------------------------

    @property
    def stats(self) -> RingStats:
        """What it did and holds."""
        return RingStats(
            published=self._published,
            dropped=self._dropped,
            slots=self._pool.count,
            slot_bytes=self._pool.used_bytes,
            abandoned_bytes=self._pool.abandoned_bytes,
        )

    def wanted(self) -> frozenset[str]:
        """Return the streams that somebody reads now.

        Raises:
            SharedVolumeError: the folder is gone.
        """
        with storage_errors(self._folder):
            found = self._presence.streams_read()
        now = self._clock.boottime_ns()
        for stream in found:
            self._read_ns[stream] = now
        return frozenset(found)

    # --- publishing -----------------------------------------------------------------------------------------------

    def publish_pixels(self, sidecar: Sidecar, pixels: npt.NDArray[np.uint8]) -> int:
        """Publish BGR pixels, uint8 of shape (height, width, 3), in the streams that are read; return how many.

        Raises:
            ImageInvalidError: the array has another shape or type, or the sidecar does not fit into a slot.
            SharedVolumeError: the folder is gone or full.
        """
        wanted = self.wanted()
        if not wanted:
            return 0
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise ImageInvalidError(f"pixels of type {pixels.dtype} and shape {pixels.shape}, not BGR in uint8")
        height, width = pixels.shape[:2]
        check_size(width, height)
        metadata = pack_metadata(sidecar)
        count = 0
        if "main" in wanted:
            slot = self._publish("main", sidecar, metadata, (width, height), lambda out: np.copyto(out, pixels))
            count += slot is not None
        if "lores" in wanted:
            count += self._publish_lores(sidecar, metadata, pixels, (width, height))
        return count

    def publish_jpeg(self, sidecar: Sidecar, jpeg: bytes) -> int:
        """Decode a JPEG once, into the streams that are read; return how many.

        Raises:
            ImageInvalidError: it cannot be decoded, or the sidecar does not fit into a slot.
            SharedVolumeError: the folder is gone or full.
        """
        wanted = self.wanted()
        if not wanted:
            return 0
        size = read_size(jpeg)
        metadata = pack_metadata(sidecar)
        slot: SlotFile | None = None
        count = 0
        if "main" in wanted:
            slot = self._publish("main", sidecar, metadata, size, lambda out: decode(jpeg, out=out))
            count += slot is not None
        if "lores" in wanted:
            if slot is not None:
                # The newest slot is not written to, so what was just decoded can be looked at.
                pixels = slot.pixels(*size)
            else:
                pixels = decode_for(jpeg, lores_size(*size, self._lores_width)[0])
            count += self._publish_lores(sidecar, metadata, pixels, size)
        return count

    def _publish_lores(
        self, sidecar: Sidecar, metadata: bytes, pixels: npt.NDArray[np.uint8], full: tuple[int, int]
    ) -> bool:
        size = lores_size(*full, self._lores_width)
        return self._publish("lores", sidecar, metadata, size, lambda out: shrink(pixels, out)) is not None

    def _publish(
        self, stream: Stream, sidecar: Sidecar, metadata: bytes, size: tuple[int, int], fill: Fill
    ) -> SlotFile | None:
        """Publish one frame in one stream; return its slot, None when it was dropped."""
        if not 0 <= sidecar.sequence <= _MOST_SEQUENCE:
            raise ImageInvalidError(f"a frame of sequence {sidecar.sequence}")
        with storage_errors(self._folder):
            slot = self._pool.take(stream, slot_bytes(*size))
            if slot is None:
                self._drop(size)
                return None
            try:
                slot.begin()
                slot.fill(*size, fill)
                slot.end(self._header(stream, sidecar, metadata, size))
            finally:
                slot.unlock()
            return slot if self._name(slot, sidecar.sequence) else None

    def _header(self, stream: Stream, sidecar: Sidecar, metadata: bytes, size: tuple[int, int]) -> bytes:
        return pack_header(
            SlotHeader(
                sequence=sidecar.sequence,
                width=size[0],
                height=size[1],
                stream=stream,
                boot_id=sidecar.boot_id,
                volume=self._volume,
                exposed_at_ns=sidecar.monotonic_ns,
                published_at_ns=self._clock.boottime_ns(),
                metadata=metadata,
            )
        )

    def _name(self, slot: SlotFile, sequence: int) -> bool:
        """Give a slot the name of its frame: from now on readers find it."""
        target = self._folder / slot_name(slot.stream, sequence)
        try:
            rename_without_overwriting(slot.path, target)
        except (NameTakenError, FileNotFoundError):
            # Somebody removed the file or planted one of that name: a new slot is made next time.
            self._pool.drop(slot)
            self._dropped += 1
            return False
        slot.path, slot.sequence = target, sequence
        self._published += 1
        return True

    def _drop(self, size: tuple[int, int]) -> None:
        self._dropped += 1
        self._dropped_ns = self._clock.boottime_ns()
        if 2 * slot_bytes(*size) > self._pool.half_bytes:
            reason = f"two frames of {size[0]}x{size[1]} do not fit into half of the budget"
        else:
            reason = "readers hold every slot"
        self._starved.broken(f"{reason}: frames are left out of the ring, their files are there")

    # --- looking after the slots ----------------------------------------------------------------------------------

    def tidy(self) -> None:
        """About once a second: take memory back from readers that hold on, and all of it when nobody reads.

        Makes the slots that the next frames may need, which takes 20 ms for one of 37 MB.

        Raises:
            SharedVolumeError: the folder is gone.
        """
        wanted = self.wanted()
        now = self._clock.boottime_ns()
        self._pool.tidy(wanted)
        for stream in STREAMS:
            if now - self._read_ns[stream] > IDLE_SECONDS * 1e9:
                self._pool.empty(stream)
        if now - self._dropped_ns > STARVED_SECONDS * 1e9:
            self._starved.healed("no frame was left out for a while")

    def close(self) -> None:
        """Give all memory back. Idempotent."""
        self._pool.close()
        self._presence.close()

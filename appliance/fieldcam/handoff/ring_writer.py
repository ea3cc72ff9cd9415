# SPDX-License-Identifier: MIT
"""The writing half of the frame ring: decoded frames in shared memory, for readers that it never waits for.

A slot is taken only when it can be locked exclusively at once. Its header is zeroed, the pixels go in, the header comes
last, the lock is let go, and the file is renamed to the frame's sequence: the name is the notice and the index. A slow
reader costs the slot it holds. One that holds it longer than `LEASE_SECONDS` keeps its memory but not the place: the
file is unlinked and another may take its part of the budget, so that nobody can starve the others.
"""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import logging
import mmap
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fieldcam.core.clock import Clock
from fieldcam.core.durable import rename_without_overwriting, storage_errors
from fieldcam.core.errors import NameTakenError, StorageUnavailableError
from fieldcam.core.frame import Sidecar
from fieldcam.core.jpeg import decode, read_size
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.handoff.lores import decode_for, lores_size, shrink
from fieldcam.handoff.presence import PresenceWatch
from fieldcam.handoff.slot import (
    HEADER_BYTES,
    NO_HEADER,
    STREAMS,
    SlotHeader,
    Stream,
    pack_header,
    parse_slot_name,
    slot_name,
    unpack_header,
    volume_mark,
)

if TYPE_CHECKING:
    import numpy.typing as npt

_log = get_logger(__name__)
LEASE_SECONDS = 10.0
IDLE_SECONDS = 30.0
_FILE_MODE = 0o644
_FRESH_SUFFIX = ".fresh"
_IN_RAM = {0x01021994, 0x858458F6}  # tmpfs, ramfs: statfs(2)


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


@dataclass(slots=True, eq=False)
class _Slot:
    descriptor: int
    path: Path
    stream: str
    size: int
    sequence: int
    memory: mmap.mmap
    busy_since_ns: int | None = None
    pixels: npt.NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.pixels = np.frombuffer(self.memory, np.uint8, offset=HEADER_BYTES)

    def lock(self) -> bool:
        """Take the slot if nobody reads it."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        # The mapping goes with the last array on it.
        self.pixels = np.empty(0, np.uint8)
        with suppress(BufferError):
            self.memory.close()
        os.close(self.descriptor)


class RingWriter:
    """Writes the ring of one camera. For one thread.

    Args:
        folder: of the ring; must be there, and in RAM.
        volume_id: id of the hand-off area whose frames these are.
        clock: time.
        max_bytes: of RAM: half for slots, half for those that readers do not let go.
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
        lores_width: int = 640,
        require_ram: bool = True,
    ) -> None:
        self._folder = folder
        self._volume = volume_mark(volume_id)
        self._clock = clock
        self._half = max_bytes // 2
        self._lores_width = lores_width
        self._slots: dict[str, list[_Slot]] = {stream: [] for stream in STREAMS}
        self._abandoned: list[_Slot] = []
        self._published = self._dropped = 0
        self._read_ns = clock.boottime_ns()
        self._fresh = itertools.count()
        self._starved = StateLog(_log, "RING_STARVED", folder=str(folder))
        with storage_errors(folder):
            if require_ram and not _is_in_ram(folder):
                raise StorageUnavailableError(
                    f"{folder} is not in RAM: decoded frames would wear the disk out; mount a tmpfs there",
                    path=str(folder),
                )
            self._presence = {stream: PresenceWatch(folder, stream) for stream in STREAMS}
            self.wanted()
            self._take_over()

    # --- what it says ---------------------------------------------------------------------------------------------

    @property
    def stats(self) -> RingStats:
        """What it did and holds."""
        slots = [slot for group in self._slots.values() for slot in group]
        return RingStats(
            published=self._published,
            dropped=self._dropped,
            slots=len(slots),
            slot_bytes=sum(slot.size for slot in slots),
            abandoned_bytes=sum(slot.size for slot in self._abandoned),
        )

    def wanted(self) -> frozenset[Stream]:
        """Return the streams that somebody reads now.

        Raises:
            SharedVolumeError: the folder is gone.
        """
        with storage_errors(self._folder):
            found = frozenset(stream for stream in STREAMS if self._presence[stream].is_read())
        if found:
            self._read_ns = self._clock.boottime_ns()
        return found

    # --- publishing -----------------------------------------------------------------------------------------------

    def publish_pixels(self, sidecar: Sidecar, pixels: npt.NDArray[np.uint8]) -> int:
        """Publish BGR pixels, uint8 of shape (height, width, 3), in the streams that are read; return how many.

        Raises:
            SharedVolumeError: the folder is gone or full.
        """
        wanted = self.wanted()
        count = 0
        if "main" in wanted:
            count += self._publish("main", sidecar, pixels.shape[:2], lambda out: np.copyto(out, pixels))
        if "lores" in wanted:
            size = lores_size(pixels.shape[1], pixels.shape[0], self._lores_width)
            count += self._publish("lores", sidecar, size[::-1], lambda out: shrink(pixels, out))
        return count

    def publish_jpeg(self, sidecar: Sidecar, jpeg: bytes) -> int:
        """Decode a JPEG once, into the streams that are read; return how many.

        Raises:
            ImageInvalidError: it cannot be decoded.
            SharedVolumeError: the folder is gone or full.
        """
        wanted = self.wanted()
        if not wanted:
            return 0
        width, height = read_size(jpeg)
        count = 0
        if "main" in wanted:
            count += self._publish("main", sidecar, (height, width), lambda out: _decode_into(jpeg, out))
        if "lores" in wanted:
            size = lores_size(width, height, self._lores_width)
            small = decode_for(jpeg, size[0])
            count += self._publish("lores", sidecar, size[::-1], lambda out: shrink(small, out))
        return count

    def _publish(
        self, stream: Stream, sidecar: Sidecar, size: tuple[int, ...], fill: Callable[[npt.NDArray[np.uint8]], object]
    ) -> bool:
        height, width = size
        with storage_errors(self._folder):
            slot = self._locked_slot(stream, HEADER_BYTES + height * width * 3)
            if slot is None:
                self._dropped += 1
                self._starved.broken("every slot is held by a reader; frames are left out of the ring")
                return False
            try:
                slot.memory[: len(NO_HEADER)] = NO_HEADER
                fill(slot.pixels.reshape(height, width, 3))
                header = pack_header(
                    SlotHeader(
                        sequence=sidecar.sequence,
                        width=width,
                        height=height,
                        stream=stream,
                        boot_id=sidecar.boot_id,
                        volume=self._volume,
                        exposed_at_ns=sidecar.monotonic_ns,
                        published_at_ns=self._clock.boottime_ns(),
                        sidecar=sidecar,
                    )
                )
                slot.memory[len(NO_HEADER) : len(header)] = header[len(NO_HEADER) :]
                slot.memory[: len(NO_HEADER)] = header[: len(NO_HEADER)]
            finally:
                slot.unlock()
            target = self._folder / slot_name(stream, sidecar.sequence)
            try:
                rename_without_overwriting(slot.path, target)
            except (NameTakenError, FileNotFoundError):
                # Somebody removed the file or planted one of that name: the slot is made anew next time.
                self._drop_slot(slot)
                self._dropped += 1
                return False
        slot.path, slot.sequence = target, sidecar.sequence
        self._published += 1
        self._starved.healed("frames are handed over again")
        return True

    def _locked_slot(self, stream: Stream, size: int) -> _Slot | None:
        """Return a slot that nobody reads, oldest first, locked; None when there is none within the budget."""
        slots = self._slots[stream]
        newest = max((slot.sequence for slot in slots), default=-1)
        for slot in sorted(slots, key=lambda slot: slot.sequence):
            if slot.sequence == newest and slot.sequence >= 0:
                continue
            if slot.size == size and slot.lock():
                slot.busy_since_ns = None
                return slot
        for slot in [slot for slot in slots if slot.size != size]:
            self._let_go(slot)
        used = sum(slot.size for group in self._slots.values() for slot in group)
        if used + size > self._half:
            return None
        slot = self._new_slot(stream, size)
        return slot if slot.lock() else None

    # --- looking after the slots ----------------------------------------------------------------------------------

    def tidy(self) -> None:
        """About once a second: take memory back from readers that hold on, and all of it when nobody reads.

        Raises:
            SharedVolumeError: the folder is gone.
        """
        now = self._clock.boottime_ns()
        self.wanted()
        for slot in list(self._abandoned):
            if slot.lock():
                self._abandoned.remove(slot)
                slot.close()
        for group in self._slots.values():
            newest = max((slot.sequence for slot in group), default=-1)
            for slot in list(group):
                if slot.lock():
                    slot.unlock()
                    slot.busy_since_ns = None
                elif slot.busy_since_ns is None:
                    slot.busy_since_ns = now
                elif slot.sequence != newest and now - slot.busy_since_ns > LEASE_SECONDS * 1e9:
                    self._let_go(slot)
        if now - self._read_ns > IDLE_SECONDS * 1e9:
            for group in self._slots.values():
                for slot in list(group):
                    self._let_go(slot)

    def close(self) -> None:
        """Give all memory back. Idempotent."""
        for group in self._slots.values():
            for slot in list(group):
                self._drop_slot(slot)
        for slot in self._abandoned:
            slot.close()
        self._abandoned.clear()
        for presence in self._presence.values():
            presence.close()

    def _let_go(self, slot: _Slot) -> None:
        """Unlink a slot; while somebody still reads it, it counts as abandoned."""
        if slot.lock():
            self._drop_slot(slot)
            return
        held = sum(other.size for other in self._abandoned)
        if held + slot.size > self._half:
            return
        with suppress(OSError):
            slot.path.unlink()
        self._slots[slot.stream].remove(slot)
        self._abandoned.append(slot)

    def _drop_slot(self, slot: _Slot) -> None:
        with suppress(OSError):
            slot.path.unlink()
        self._slots[slot.stream].remove(slot)
        slot.close()

    def _new_slot(self, stream: Stream, size: int) -> _Slot:
        path = self._folder / f".{stream}-{os.getpid()}-{next(self._fresh)}{_FRESH_SUFFIX}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, _FILE_MODE)
        try:
            os.fchmod(descriptor, _FILE_MODE)
            # Without its memory a full tmpfs would end this process with SIGBUS in the middle of a frame.
            os.posix_fallocate(descriptor, 0, size)
            slot = _Slot(descriptor, path, stream, size, -1, mmap.mmap(descriptor, size))
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                path.unlink()
            raise
        self._slots[stream].append(slot)
        return slot

    def _take_over(self) -> None:
        """Go on with the slots of a writer that died; what does not fit is removed. Foreign files are left alone."""
        for entry in sorted(path.name for path in self._folder.iterdir()):
            path = self._folder / entry
            if entry.startswith(".") and entry.endswith(_FRESH_SUFFIX):
                with suppress(OSError):
                    path.unlink()
                continue
            if (name := parse_slot_name(entry)) is None:
                continue
            try:
                slot = self._adopt(path, *name)
            except (OSError, ValueError) as error:
                _log.event(logging.INFO, "RING_SLOT_REMOVED", f"{entry}: {error}", folder=str(self._folder))
                with suppress(OSError):
                    path.unlink()
                continue
            self._slots[slot.stream].append(slot)

    def _adopt(self, path: Path, stream: str, sequence: int) -> _Slot:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not _is_ours(status):
                raise ValueError("not a file of this process's user")
            header = unpack_header(os.pread(descriptor, HEADER_BYTES, 0))
            if (header.stream, header.sequence, header.volume) != (stream, sequence, self._volume):
                raise ValueError("a slot of another name or place")
            size = HEADER_BYTES + header.payload_bytes
            used = sum(slot.size for group in self._slots.values() for slot in group)
            if status.st_size != size or used + size > self._half:
                raise ValueError("a slot of another size")
            return _Slot(descriptor, path, stream, size, sequence, mmap.mmap(descriptor, size))
        except BaseException:
            os.close(descriptor)
            raise


def _is_ours(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1


def _decode_into(jpeg: bytes, out: npt.NDArray[np.uint8]) -> None:
    pixels = decode(jpeg, out=out)
    if not np.shares_memory(pixels, out):
        np.copyto(out, pixels)


def _is_in_ram(folder: Path) -> bool:
    buffer = ctypes.create_string_buffer(256)  # struct statfs: f_type comes first
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(folder), buffer) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(folder))
    return int.from_bytes(buffer.raw[: ctypes.sizeof(ctypes.c_long)], "little") in _IN_RAM

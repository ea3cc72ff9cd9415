# SPDX-License-Identifier: MIT
"""The reading half of the frame ring. Needs nothing but to read the folder: no device, no write access, no privilege.

A frame is opened by name, locked shared, checked against its header, and mapped read-only. The lock is the lease: while
it is kept the writer leaves the slot alone, and the kernel lets go of it when the reader dies.
"""

from __future__ import annotations

import fcntl
import os
import stat
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from fieldcam.core.clock import Clock
from fieldcam.core.frame import Sidecar
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.handoff.presence import PresenceMark
from fieldcam.handoff.slot import (
    CHANNELS,
    HEADER_BYTES,
    NO_MAGIC,
    SlotHeader,
    parse_slot_name,
    unpack_header,
    volume_mark,
)
from fieldcam.handoff.slot_mapping import SlotMapping, SlotMappings

if TYPE_CHECKING:
    import numpy.typing as npt

_log = get_logger(__name__)
# A camera that is faster than this reader: names may be gone before they are opened, and are listed again.
_LISTINGS = 4
_FOLDER = ""  # among names of what cannot be read
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class Lease:
    """A frame in shared memory, valid until it is closed. Keep it for milliseconds, not for seconds.

    Attributes:
        sequence: of the frame.
        stream: `main` or `lores`.
        pixels: BGR, uint8, shape (height, width, 3), read-only; not to be used after `close`.
        sidecar: what is known of the frame. Of a frame that is handed over before its file is written, `filename` and
            `sha256` are empty and `file_size` is 0.
        published_at_ns: CLOCK_BOOTTIME at which the writer was done with it.
    """

    def __init__(self, lock: _SharedLock, header: SlotHeader, sidecar: Sidecar, mapping: SlotMapping) -> None:
        self.sequence = header.sequence
        self.stream = header.stream
        self.sidecar = sidecar
        self.published_at_ns = header.published_at_ns
        self._mapping: SlotMapping | None = mapping
        flat = mapping.pixels(header.payload_bytes)
        self.pixels: npt.NDArray[np.uint8] = flat.reshape(header.height, header.width, CHANNELS)
        # Whatever is made of the pixels refers to this one array, which is the lease's alone though the mapping is not.
        # So its end is the end of the lease.
        weakref.finalize(flat, lock.end).atexit = False

    def copy(self, out: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
        """Return the pixels as an array of the caller's own: `out` when it fits, a new one otherwise.

        Raises:
            ValueError: the lease was closed.
        """
        if self._mapping is None:
            raise ValueError("the lease was closed")
        self._mapping.populate()
        if out is not None and out.shape == self.pixels.shape and out.dtype == np.uint8 and out.flags.writeable:
            np.copyto(out, self.pixels)
            return out
        return self.pixels.copy()

    def close(self) -> None:
        """Give the slot back. Idempotent.

        An array that the caller kept against the rule keeps the memory mapped and the slot leased until it is gone, so
        even then nothing is torn and nothing crashes.
        """
        self._mapping = None
        self.pixels = np.empty((0, 0, CHANNELS), np.uint8)

    def __enter__(self) -> Self:
        """Hold the slot."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the slot back."""
        self.close()


class _SharedLock:
    """The lock of one lease, on an open file description of its own: two leases of one slot end each for itself.

    Args:
        descriptor: of the slot, which is this object's from now on.
    """

    __slots__ = ("_descriptor", "_process")

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._process = os.getpid()

    def end(self) -> None:
        """Let it go. Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        # Closing is not enough: a mapping that was made with it, or a child process that was forked meanwhile, has the
        # same lock and would keep it. The child itself must not take the lease from its parent.
        if os.getpid() == self._process:
            with suppress(OSError):  # planted, and of a kind that has no locks
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


class _MovedOnError(Exception):
    """The slot has another frame by now."""


class RingReader:
    """Reads one stream of a camera's ring. For one thread at a time.

    Args:
        folder: of the ring; may be missing.
        stream: `main`, or `lores` for the small frames.
        volume_id: id of the hand-off area; frames of any other are not seen.
        clock: time.
    """

    def __init__(self, folder: Path, stream: str = "main", *, volume_id: str, clock: Clock) -> None:
        self._folder = folder
        self._stream = stream
        self._volume = volume_mark(volume_id)
        self._boot_id = clock.boot_id()
        self._presence = PresenceMark(folder, stream, clock)
        self._damage = StateLog(_log, "RING_UNREADABLE", folder=str(folder), stream=stream)
        self._damaged: set[str] = set()
        self._mappings = SlotMappings()

    def newest(self, *, newer_than: int = -1) -> Lease | None:
        """Return the newest frame of this boot, if its sequence is above `newer_than`; None when there is none.

        Whoever calls this counts as a reader for 3 s; who waits for frames calls it about once a second.
        """
        self._presence.touch()
        for _ in range(_LISTINGS - 1):
            with suppress(_MovedOnError):
                return self._newest(newer_than)
        with suppress(_MovedOnError):
            return self._newest(newer_than, or_older=True)
        return None

    def newest_sequence(self) -> int:
        """Return the sequence of the newest name in the folder, -1 when there is none; nothing is opened."""
        return max((sequence for sequence, name in self._listing() if name not in self._damaged), default=-1)

    def rest(self) -> None:
        """Let the writer know that nobody reads here, and let go of the slots, if nothing was read for 3 s."""
        if self._presence.rest():
            self._mappings.clear()

    def close(self) -> None:
        """Let the writer know that nobody reads here, and let go of the slots. Idempotent."""
        self._presence.close()
        self._mappings.clear()

    def _newest(self, newer_than: int, *, or_older: bool = False) -> Lease | None:
        listing = self._listing()
        for sequence, name in listing:
            if sequence <= newer_than:
                break
            try:
                lease = self._lease(name, sequence)
            except BlockingIOError:
                continue  # being written, or held by another reader alone: an older one may do
            except (FileNotFoundError, _MovedOnError):
                if not or_older:
                    raise _MovedOnError from None
            except (OSError, ValueError) as error:
                self._damaged.add(name)
                self._damage.broken(f"{name}: {error}")
            else:
                self._damaged.discard(name)
                return lease
        return None

    def _listing(self) -> list[tuple[int, str]]:
        """Return sequences and names of this stream, newest first."""
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 - a Path for each name costs more than the listing
        except OSError as error:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                self._damaged.add(_FOLDER)
                self._damage.broken(f"the folder cannot be read: {error.strerror}")
            return []
        if self._damage.reason is not None:
            self._damaged &= set(names)
            if not self._damaged:
                self._damage.healed("what could not be read is gone, or can be read")
        parsed = ((parse_slot_name(name), name) for name in names)
        return sorted(((found[1], name) for found, name in parsed if found and found[0] == self._stream), reverse=True)

    def _lease(self, name: str, sequence: int) -> Lease:
        """Return the frame.

        Raises:
            _MovedOnError: there is another one in the slot, or none.
            OSError, ValueError: it is no slot of ours, or may not be read.
        """
        descriptor = os.open(self._folder / name, _FLAGS)
        lock = _SharedLock(descriptor)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("no regular file")
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            data = os.pread(descriptor, HEADER_BYTES, 0)
            if data.startswith(NO_MAGIC):
                raise _MovedOnError  # its writer died, or gave the frame up
            header = unpack_header(data)
            if (header.volume, header.boot_id) != (self._volume, self._boot_id):
                raise ValueError("a slot of another appliance or boot")
            if (header.stream, header.sequence) != (self._stream, sequence):
                raise _MovedOnError
            # The size as it is now, under the lock: the writer does not make a file shorter that may be mapped.
            status = os.fstat(descriptor)
            if status.st_size < header.file_bytes:
                raise ValueError("cut off")
            sidecar = header.sidecar()
            return Lease(lock, header, sidecar, self._mappings.get(descriptor, status, header.file_bytes))
        except BaseException:
            lock.end()
            raise

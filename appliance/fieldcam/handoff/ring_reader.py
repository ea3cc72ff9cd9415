# SPDX-License-Identifier: MIT
"""The reading half of the frame ring. Needs nothing but to read the folder: no device, no write access, no privilege.

A frame is opened by name, locked shared, checked against its header, and mapped read-only. The lock is the lease: while
it is kept the writer leaves the slot alone, and the kernel lets go of it when the reader dies.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from fieldcam.core.clock import Clock
from fieldcam.core.frame import Sidecar
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.handoff.presence import PresenceMark
from fieldcam.handoff.slot import HEADER_BYTES, SlotHeader, parse_slot_name, unpack_header, volume_mark

if TYPE_CHECKING:
    import numpy.typing as npt

_log = get_logger(__name__)


class Lease:
    """A frame in shared memory, valid until it is closed. Keep it for milliseconds, not for seconds.

    Attributes:
        pixels: BGR, uint8, shape (height, width, 3), read-only; not to be used after `close`.
        sidecar: what is known of the frame. Of a frame that is handed over before its file is written, `filename` and
            `sha256` are empty and `file_size` is 0.
        published_at_ns: CLOCK_BOOTTIME at which the writer was done with it.
    """

    def __init__(self, descriptor: int, memory: mmap.mmap, header: SlotHeader) -> None:
        self._descriptor: int | None = descriptor
        self._memory = memory
        self.sequence = header.sequence
        self.stream = header.stream
        self.sidecar: Sidecar = header.sidecar
        self.published_at_ns = header.published_at_ns
        pixels = np.frombuffer(memory, np.uint8, count=header.payload_bytes, offset=HEADER_BYTES)
        self.pixels: npt.NDArray[np.uint8] = pixels.reshape(header.height, header.width, 3)

    def copy(self, out: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
        """Return the pixels as an array of the caller's own: `out` when it fits, a new one otherwise."""
        if out is not None and out.shape == self.pixels.shape and out.dtype == np.uint8 and out.flags.writeable:
            np.copyto(out, self.pixels)
            return out
        return self.pixels.copy()

    def close(self) -> None:
        """Give the slot back. Idempotent."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        self.pixels = np.empty((0, 0, 3), np.uint8)
        # An array that the caller kept keeps the mapping; it shows another frame one day.
        with suppress(BufferError):
            self._memory.close()
        os.close(descriptor)

    def __enter__(self) -> Self:
        """Hold the slot."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the slot back."""
        self.close()

    def __del__(self) -> None:
        self.close()


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

    def newest(self, *, newer_than: int = -1) -> Lease | None:
        """Return the newest frame of this boot, if its sequence is above `newer_than`; None when there is none."""
        self._presence.touch()
        for sequence, name in self._listing():
            if sequence <= newer_than:
                break
            try:
                lease = self._lease(name, sequence)
            except (FileNotFoundError, BlockingIOError):
                continue  # being written, or gone: an older one may do
            except (OSError, ValueError) as error:
                self._damage.broken(f"{name}: {error}")
                continue
            if lease is not None:
                self._damage.healed()
                return lease
        return None

    def newest_sequence(self) -> int:
        """Return the sequence of the newest name in the folder, -1 when there is none; nothing is opened."""
        return max((sequence for sequence, _ in self._listing()), default=-1)

    def rest(self) -> None:
        """Let the writer know that nobody reads here, if nothing was read for 3 s."""
        self._presence.rest()

    def close(self) -> None:
        """Let the writer know that nobody reads here. Idempotent."""
        self._presence.close()

    def _listing(self) -> list[tuple[int, str]]:
        try:
            names = [path.name for path in self._folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._damage.broken(f"the folder cannot be read: {error.strerror}")
            return []
        parsed = ((parse_slot_name(name), name) for name in names)
        return sorted(((found[1], name) for found, name in parsed if found and found[0] == self._stream), reverse=True)

    def _lease(self, name: str, sequence: int) -> Lease | None:
        """Return the frame, or None when the file holds another one by now."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(self._folder / name, flags)
        memory: mmap.mmap | None = None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("no regular file")
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            header = unpack_header(os.pread(descriptor, HEADER_BYTES, 0))
            size = HEADER_BYTES + header.payload_bytes
            if (header.sequence, header.stream) == (sequence, self._stream) and (
                header.volume,
                header.boot_id,
            ) == (self._volume, self._boot_id):
                # The size as it is now: the lock keeps the writer from taking the file away beneath the mapping.
                if os.fstat(descriptor).st_size < size:
                    raise ValueError("cut off")
                memory = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
                lease = Lease(descriptor, memory, header)
                descriptor = -1
                return lease
            return None
        finally:
            if descriptor >= 0:
                os.close(descriptor)

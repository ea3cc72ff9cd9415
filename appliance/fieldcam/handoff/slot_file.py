# SPDX-License-Identifier: MIT
"""A slot as the writer has it: an open file that stays mapped, so that its pages are warm for the next frame."""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fieldcam.handoff.slot import CHANNELS, HEADER_BYTES, MAGIC, NO_MAGIC, Stream, unpack_header

if TYPE_CHECKING:
    import numpy.typing as npt

_FILE_MODE = 0o644  # whoever can enter the folder may read
_NEW_FILE_MODE = 0o600
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
# madvise(2): have pages made, zeroed and mapped, without writing. Python has no name for it.
_POPULATE_WRITE = 23
_PIECE_BYTES = 2**20  # Python's madvise keeps all other threads waiting; a mebibyte takes 0.3 ms

Fill = Callable[["npt.NDArray[np.uint8]"], object]


class SlotFile:
    """One file of the ring.

    Attributes:
        path: its name now.
        stream: which it belongs to.
        size: of the file, in bytes.
        sequence: of the frame in it, -1 when there was none yet.
        busy_since_ns: CLOCK_BOOTTIME since which readers hold it, as far as was looked; None = they do not.
    """

    def __init__(self, descriptor: int, path: Path, stream: Stream, size: int, sequence: int = -1) -> None:
        self._memory = mmap.mmap(descriptor, size)
        self._bytes: npt.NDArray[np.uint8] = np.frombuffer(self._memory, np.uint8)
        self._descriptor = descriptor
        self.path = path
        self.stream: Stream = stream
        self.size = size
        self.sequence = sequence
        self.busy_since_ns: int | None = None

    @classmethod
    def create(cls, path: Path, stream: Stream, size: int) -> SlotFile:
        """Make a new file, locked: nobody else can open it before it is. All of its pages are there and mapped.

        Raises:
            OSError: no room, or the folder is gone.
        """
        descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, _NEW_FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Without its memory a full tmpfs would end this process with SIGBUS in the middle of a frame.
            os.posix_fallocate(descriptor, 0, size)
            os.fchmod(descriptor, _FILE_MODE)  # whatever the umask
            slot = cls(descriptor, path, stream, size)
            slot._warm()
            return slot
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                path.unlink()
            raise

    @classmethod
    def adopt(cls, path: Path, stream: Stream, sequence: int, *, volume: bytes, boot_id: str) -> SlotFile:
        """Take over what a writer before left, if it is a whole slot of ours.

        Raises:
            OSError: it cannot be opened, or is no file.
            ValueError: it is something else; the message says what.
        """
        descriptor = os.open(path, _FLAGS | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
                raise ValueError("not a file of this process alone")
            header = unpack_header(os.pread(descriptor, HEADER_BYTES, 0))
            if (header.stream, header.sequence) != (stream, sequence):
                raise ValueError("a slot of another name")
            if (header.volume, header.boot_id) != (volume, boot_id):
                raise ValueError("a slot of another place or boot")
            if status.st_size != header.file_bytes:
                raise ValueError("a slot of another size than it says")
            return cls(descriptor, path, stream, status.st_size, sequence)
        except BaseException:
            os.close(descriptor)
            raise

    def _warm(self) -> None:
        """Map every page of a file without content; a frame would pay 1 µs for each of 9,000 that are not there."""
        try:
            self._advise(_POPULATE_WRITE)
        except OSError:  # a kernel before 5.14
            self._bytes[:: mmap.PAGESIZE] = 0

    def _advise(self, advice: int) -> None:
        for start in range(0, self.size, _PIECE_BYTES):
            self._memory.madvise(advice, start, min(_PIECE_BYTES, self.size - start))

    def lock(self) -> bool:
        """Take the slot if nobody reads it."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """Let readers at it."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    @property
    def is_still_there(self) -> bool:
        """Whether the file has a name."""
        return os.fstat(self._descriptor).st_nlink > 0

    def begin(self) -> None:
        """Make it no frame, before anything changes."""
        self._memory[: len(NO_MAGIC)] = NO_MAGIC

    def fill(self, width: int, height: int, fill: Fill) -> None:
        """Let `fill` write the pixels: it is given uint8 of shape (height, width, 3)."""
        fill(self._bytes[HEADER_BYTES:].reshape(height, width, CHANNELS))

    def end(self, header: bytes) -> None:
        """Make it a frame again."""
        self._memory[len(MAGIC) : len(header)] = header[len(MAGIC) :]
        self._memory[: len(MAGIC)] = header[: len(MAGIC)]

    def pixels(self, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Return the pixels, shape (height, width, 3); they are not to be changed."""
        view = self._bytes[HEADER_BYTES:].reshape(height, width, CHANNELS)
        view.flags.writeable = False
        return view

    def unlink(self) -> None:
        """Take its name away; those who read it go on."""
        with suppress(OSError):
            self.path.unlink()

    def close(self) -> None:
        """Give the memory back; what readers still hold goes with the last of them.

        Readers keep slots open and mapped that they do not hold, and may be stopped. So the memory of a file without a
        name is punched out, which a lease, that is a lock, forbids: whoever looks without one sees zeros.
        """
        with suppress(OSError):  # not this kind of file system
            if not self.is_still_there and self.lock():
                self._advise(mmap.MADV_REMOVE)
        # The mapping holds the file open as well, and goes with the last array on it.
        self._bytes = np.empty(0, np.uint8)
        with suppress(BufferError):
            self._memory.close()
        os.close(self._descriptor)

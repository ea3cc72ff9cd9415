# SPDX-License-Identifier: MIT
"""Slots that a reader keeps mapped between frames: mapping 37 MB anew costs 1.3 ms of page faults each time.

A mapping is no lease. It says nothing of what is in the slot, and is looked at only while a lease of the same file is
held. It holds the file, so the kernel gives its number to no other one. The memory of a file that the writer gave up is
gone all the same, as the writer punches it out (`SlotFile.close`).
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from fieldcam.handoff.slot import HEADER_BYTES

if TYPE_CHECKING:
    import numpy.typing as npt

# Three slots take turns while readers are quick, and one more for each that is slow; half of the largest budget has six
# slots of 12 million pixels. With fewer than take turns none would ever be found again.
MOST_MAPPINGS = 8
# madvise(2): map all pages at once; a fault for every 16 of 9,000 costs a fifth of the copy. Python has no name for it.
_POPULATE_READ = 22


class SlotMapping:
    """A file of the ring, mapped read-only.

    Args:
        descriptor: of the file; stays the caller's. Its lock is the caller's to let go explicitly: the mapping shares
            its open file description, and would keep the lock otherwise.
        size: how much of it, in bytes; the file must have that.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor: int | None = None
        self._memory = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
        self._descriptor = os.dup(descriptor)  # Python keeps one as well, but does not say which
        self._is_populated = False
        self.size = size

    def pixels(self, count: int) -> npt.NDArray[np.uint8]:
        """Return so many bytes of pixels as a flat array of its own, which every view made of it refers to."""
        return np.frombuffer(self._memory, np.uint8, count=count, offset=HEADER_BYTES)

    def populate(self) -> None:
        """Have all pages mapped, once: they stay for the frames to come."""
        if not self._is_populated:
            self._is_populated = True
            with suppress(OSError):  # a kernel before 5.14: the copy maps them
                self._memory.madvise(_POPULATE_READ)

    @property
    def is_good(self) -> bool:
        """Whether the file has a name, and is as long as the mapping."""
        assert self._descriptor is not None
        status = os.fstat(self._descriptor)
        return status.st_nlink > 0 and status.st_size >= self.size

    def close(self) -> None:
        """Unmap it; when arrays on it are left, with the last of them. Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
            with suppress(BufferError):
                self._memory.close()

    def __del__(self) -> None:
        self.close()


class SlotMappings:
    """The mappings of one reader, a bounded number. For one thread at a time."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], SlotMapping] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._kept)

    def get(self, descriptor: int, status: os.stat_result, size: int) -> SlotMapping:
        """Return the mapping of a file; it is this object's to close.

        Args:
            descriptor: of the file, which is leased.
            status: of the file, under the lease: at least `size` bytes long, or touching the end would be a SIGBUS.
            size: how much of it, in bytes.

        Raises:
            OSError: it cannot be mapped.
        """
        for key in [key for key, mapping in self._kept.items() if not mapping.is_good]:
            self._kept.pop(key).close()
        key = (status.st_dev, status.st_ino)
        mapping = self._kept.pop(key, None)
        if mapping is not None and mapping.size != size:
            mapping.close()
            mapping = None
        if mapping is None:
            mapping = SlotMapping(descriptor, size)
        self._kept[key] = mapping  # at the end: the one not used for longest is the first
        if len(self._kept) > MOST_MAPPINGS:
            self._kept.pop(next(iter(self._kept))).close()
        return mapping

    def clear(self) -> None:
        """Unmap all. Idempotent."""
        while self._kept:
            self._kept.popitem()[1].close()

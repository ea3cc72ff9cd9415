# SPDX-License-Identifier: MIT
"""Rolling `live/`: the newest frames stay, by number and by bytes. Order is (boot, sequence), never file time.

Capture itself does this, so a manager that hangs cannot let RAM fill up. Files that vanished by hand are no trouble.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from fieldcam.core.durable import storage_errors
from fieldcam.core.errors import ImageNotFoundError
from fieldcam.store.reader import iter_frames


@dataclass(frozen=True, slots=True)
class _Entry:
    image: Path
    sidecar: Path
    size: int


class LiveRoll:
    """Keeps `live/` within its limits.

    Args:
        images, sidecars: `live/` and `metadata/` of one camera.
        max_images: how many frames may stay.
        max_bytes: how many bytes of images may stay; None = no limit.
        boot_id: this boot; frames of other boots are older than all of this one.
    """

    def __init__(self, images: Path, sidecars: Path, *, max_images: int, max_bytes: int | None, boot_id: str) -> None:
        self._sidecars = sidecars
        self._max_images = max_images
        self._max_bytes = max_bytes
        found = []
        for frame in iter_frames(images, sidecars):
            try:
                size = frame.image.stat().st_size
            except OSError:
                continue
            try:
                sidecar = frame.read_sidecar()
            except ImageNotFoundError:
                order = (False, 0, frame.name.wall_ms)
            else:
                same_boot = sidecar.boot_id == boot_id
                order = (same_boot, sidecar.sequence if same_boot else 0, frame.name.wall_ms)
            found.append((order, _Entry(frame.image, frame.sidecar, size)))
        self._entries = deque(entry for _, entry in sorted(found, key=lambda item: item[0]))
        self._bytes = sum(entry.size for entry in self._entries)

    def __len__(self) -> int:
        """Return how many frames are known to be there."""
        return len(self._entries)

    def make_room(self, size: int) -> list[str]:
        """Remove what must go before a frame of `size` bytes comes; return the names removed.

        Raises:
            StorageUnavailableError, SharedVolumeError: a file could not be removed; count again with a new object.
        """
        removed = []
        while len(self._entries) > 1 and self._exceeds(len(self._entries) + 1, self._bytes + size):
            removed.append(self._remove_oldest())
        return removed

    def added(self, image: Path, size: int) -> list[str]:
        """Note a frame that was published; return the names that had to go."""
        self._entries.append(_Entry(image, self._sidecars / f"{image.stem}.json", size))
        self._bytes += size
        removed = []
        while len(self._entries) > 1 and self._exceeds(len(self._entries), self._bytes):
            removed.append(self._remove_oldest())
        return removed

    def free(self, size: int) -> list[str]:
        """Remove the oldest frames until `size` bytes are freed (the disk is full); the newest stays."""
        freed, removed = 0, []
        while len(self._entries) > 1 and freed < size:
            freed += self._entries[0].size
            removed.append(self._remove_oldest())
        return removed

    def _exceeds(self, count: int, total: int) -> bool:
        return count > self._max_images or (self._max_bytes is not None and total > self._max_bytes)

    def _remove_oldest(self) -> str:
        entry = self._entries.popleft()
        self._bytes -= entry.size
        # Image first: whoever sees an image finds its sidecar.
        with storage_errors(entry.image):
            entry.image.unlink(missing_ok=True)
            entry.sidecar.unlink(missing_ok=True)
        return entry.image.name

# SPDX-License-Identifier: MIT
"""Where a provider reads: the hand-off area of a camera, and the ring that goes with it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fieldcam.core.layout import MARKER
from fieldcam.store.volume import Volume

DEFAULT_AREA = "/mnt/storage/camera_capture"
DEFAULT_RING = "/mnt/storage/camera_ring"
AREA_VARIABLE = "CAMERA_CAPTURE_DIR"
RING_VARIABLE = "CAMERA_RING_DIR"
_CAMERAS = "cameras"


@dataclass(frozen=True, slots=True)
class Place:
    """One camera's frames.

    Attributes:
        volume: the hand-off area.
        live, metadata: images and their sidecars.
        ring: folder of decoded frames, which may be missing; None = not wanted.
    """

    volume: Volume
    live: Path
    metadata: Path
    ring: Path | None


def default_area() -> str:
    """Return the hand-off area that holds when none is given."""
    return os.environ.get(AREA_VARIABLE) or DEFAULT_AREA


class PlaceFinder:
    """Finds the place of a folder again and again; reads the marker only when it is another one than before.

    Args:
        folder, ring: as `find_place`.
    """

    def __init__(self, folder: Path, ring: Path | None) -> None:
        self._folder = folder
        self._ring = ring
        self._marker = _area_of(folder)[0] / MARKER
        self._seen: tuple[int, int, int] | None = None
        self._place: Place | None = None

    def find(self) -> Place:
        """Return the place as it is now. Raises as `find_place`."""
        try:
            status = self._marker.stat()
            seen = (status.st_dev, status.st_ino, status.st_mtime_ns)
        except OSError:
            seen = None
        if self._place is None or seen is None or seen != self._seen:
            self._place = find_place(self._folder, self._ring)
            self._seen = seen
        return self._place


def _area_of(folder: Path) -> tuple[Path, Path]:
    """Return the hand-off area of a camera's folder, and where in it the folder is."""
    if folder.parent.name == _CAMERAS:
        return folder.parent.parent, Path(_CAMERAS) / folder.name
    return folder, Path()


def find_place(folder: Path, ring: Path | None) -> Place:
    """Find the hand-off area that a camera's folder belongs to: itself, or two above it (`cameras/<name>`).

    Args:
        folder: the hand-off area, or the folder of one camera in it.
        ring: see `ring_folder`.

    Raises:
        StorageUnavailableError: the area is missing, not mounted, or was never deployed.
    """
    area, _ = _area_of(folder)
    return Place(Volume.open(area, "handoff"), folder / "live", folder / "metadata", ring)


def ring_folder(folder: Path, ring_dir: str | Path | None) -> Path | None:
    """Return where the decoded frames of a camera's folder are, be it there or not.

    Args:
        folder: the hand-off area, or the folder of one camera in it.
        ring_dir: where the rings are; None = as the environment says; empty = no ring.
    """
    rings = os.environ.get(RING_VARIABLE, DEFAULT_RING) if ring_dir is None else str(ring_dir)
    return Path(rings) / _area_of(folder)[1] if rings else None

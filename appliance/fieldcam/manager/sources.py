# SPDX-License-Identifier: MIT
"""Which frames there are on disk, of every camera that is configured or ever was."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from fieldcam.catalog.rebuild import Found
from fieldcam.catalog.result_rows import ResultRow
from fieldcam.core.frame import Kind, Sidecar
from fieldcam.core.layout import Layout
from fieldcam.core.names import CAMERA_NAME
from fieldcam.manager.processed import iter_processed
from fieldcam.store.reader import iter_frames
from fieldcam.store.remover import ACKNOWLEDGEMENT_SUFFIX


class Sources:
    """The folders of one appliance.

    Args:
        layout: where everything is.
        cameras: names of the configured cameras.
    """

    def __init__(self, layout: Layout, cameras: Iterable[str]) -> None:
        self.layout = layout
        self._configured = frozenset(cameras)

    def cameras(self, kind: Kind) -> list[str]:
        """Return every camera that has a folder, or is configured: images outlive the camera that took them."""
        roots = [self.layout.capture_dir] if kind == "live" else [self.layout.archive_dir]
        if kind == "capture" and self.layout.captures_folder.is_absolute():
            roots.append(self.layout.captures_folder)
        names = {self.layout.default_camera, *self._configured}
        for root in roots:
            names |= _folders_in(root / "cameras")
        return sorted(names)

    def folders(self, camera: str, kind: Kind) -> tuple[Path, Path]:
        """Return the folder of a camera's images and that of their sidecars."""
        paths = self.layout.camera(camera)
        return (paths.live, paths.metadata) if kind == "live" else (paths.captures, paths.captures)

    def frames(self, kind: Kind) -> Iterator[Found]:
        """Yield every image on disk; nothing is kept in memory."""
        for camera in self.cameras(kind):
            for frame in iter_frames(*self.folders(camera, kind)):
                yield Found(camera, frame)

    def results(self) -> Iterator[ResultRow]:
        """Yield every result in `processed/`, of every camera."""
        return iter_processed(self.layout, self.cameras("live"))

    def image(self, camera: str, filename: str, kind: Kind) -> Path:
        """Return where an image is."""
        return self.folders(camera, kind)[0] / filename

    def thumbnail(self, camera: str, filename: str) -> Path:
        """Return where the thumbnail of a capture is, or will be."""
        return self.layout.camera(camera).thumbnails / filename

    def relative_thumbnail(self, camera: str, filename: str) -> str:
        """Return the same relative to the archive, as the catalog keeps it."""
        return str(self.thumbnail(camera, filename).relative_to(self.layout.archive_dir))

    def thumbnail_of(self, sidecar: Sidecar) -> str | None:
        """Return the thumbnail of a capture if it is there, relative to the archive."""
        if sidecar.kind != "capture" or not self.thumbnail(sidecar.camera, sidecar.filename).is_file():
            return None
        return self.relative_thumbnail(sidecar.camera, sidecar.filename)


def count_unacknowledged(captures: Path) -> int:
    """Return how many captures of a folder no consumer has acknowledged with a marker `<stem>.ack`."""
    images = markers = 0
    try:
        with os.scandir(captures) as entries:
            for entry in entries:
                images += entry.name.startswith("capture_") and entry.name.endswith(".jpg")
                markers += entry.name.startswith("capture_") and entry.name.endswith(ACKNOWLEDGEMENT_SUFFIX)
    except OSError:
        return 0
    return max(0, images - markers)


def _folders_in(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {
                entry.name
                for entry in entries
                if CAMERA_NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            }
    except OSError:
        return set()

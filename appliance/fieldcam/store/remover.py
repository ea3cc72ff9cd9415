# SPDX-License-Identifier: MIT
"""Removing images: the only code that removes captures, and only the manager has it.

What is removed was decided elsewhere (`manager.policy`); here is what must never happen whatever was decided: nothing
outside the marked place, no link followed, no name that is not ours, nothing pinned. Folders are opened one by one
from the root of the place without following links, and names are removed relative to the folder that was opened, so
that nobody can exchange a folder in between.

Order on disk: images, then the folder is flushed, then their sidecars. A power cut leaves a sidecar without an image
(an orphan, removed later), never an image without a sidecar.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fieldcam.core import names
from fieldcam.core.durable import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, storage_errors
from fieldcam.core.errors import StorageUnavailableError
from fieldcam.store.reader import IMAGE_SUFFIX, SIDECAR_SUFFIX
from fieldcam.store.volume import Volume

PIN_SUFFIX = ".pin"
ACKNOWLEDGEMENT_SUFFIX = ".ack"
BATCH = 100


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed: names of images, how many sidecars, and bytes of both."""

    images: tuple[str, ...] = ()
    sidecars: int = 0
    bytes: int = 0

    def __add__(self, other: Removed) -> Removed:
        return Removed(self.images + other.images, self.sidecars + other.sidecars, self.bytes + other.bytes)


class Remover:
    """Removes files below one marked place.

    Args:
        volume: the place; it is checked again before every batch.
        durable: whether removals are flushed in their order (captures) or not (rolling frames in RAM).
    """

    def __init__(self, volume: Volume, *, durable: bool) -> None:
        self._volume = volume
        self._durable = durable

    def remove_frames(
        self, images: Path, sidecars: Path, stems: Sequence[str], thumbnails: Path | None = None
    ) -> Removed:
        """Remove images with their sidecars, thumbnails and acknowledgements; pinned ones stay.

        Args:
            images: folder of the images.
            sidecars: folder of their sidecars; may be the same.
            stems: names without suffix; one that is not ours, or not a plain file, is passed over.
            thumbnails: folder of their thumbnails.

        Raises:
            StorageUnavailableError: the place is gone, or a folder is not inside it.
            SharedVolumeError: the disk said no; what was removed before stays removed.
        """
        removed = Removed()
        ours = [stem for stem in stems if names.parse(stem) is not None]
        for start in range(0, len(ours), BATCH):
            removed += self._remove_batch(images, sidecars, ours[start : start + BATCH], thumbnails)
        return removed

    def remove_sidecars(self, images: Path, sidecars: Path, stems: Iterable[str]) -> Removed:
        """Remove sidecars whose image is not there; the others stay.

        Raises:
            StorageUnavailableError, SharedVolumeError: as `remove_frames`.
        """
        count = size = 0
        with self._folder(images) as image_folder, self._folder(sidecars) as sidecar_folder:
            for stem in stems:
                if names.parse(stem) is None or _facts(image_folder, stem + IMAGE_SUFFIX) is not None:
                    continue
                freed = _remove(sidecar_folder, stem + SIDECAR_SUFFIX)
                count += freed is not None
                size += freed or 0
        return Removed(sidecars=count, bytes=size)

    def remove_leftovers(self, folder: Path) -> Removed:
        """Remove temporary files of killed processes; nobody else may be writing to the folder.

        Raises:
            StorageUnavailableError, SharedVolumeError: as `remove_frames`.
        """
        size = 0
        with self._folder(folder) as descriptor:
            with os.scandir(descriptor) as entries:
                found = [entry.name for entry in entries]
            for name in found:
                if name.startswith(TEMPORARY_PREFIX) and name.endswith(TEMPORARY_SUFFIX):
                    size += _remove(descriptor, name) or 0
        return Removed(bytes=size)

    def _remove_batch(self, images: Path, sidecars: Path, stems: Sequence[str], thumbnails: Path | None) -> Removed:
        size = count = 0
        gone: list[str] = []
        with self._folder(images) as image_folder, self._folder(sidecars) as sidecar_folder:
            for stem in stems:
                if _facts(image_folder, stem + PIN_SUFFIX) is not None:
                    continue
                freed = _remove(image_folder, stem + IMAGE_SUFFIX)
                if freed is not None:
                    gone.append(stem)
                    size += freed
            self._flush(image_folder)
            for stem in gone:
                freed = _remove(sidecar_folder, stem + SIDECAR_SUFFIX)
                count += freed is not None
                size += freed or 0
                _remove(image_folder, stem + ACKNOWLEDGEMENT_SUFFIX)
            self._flush(sidecar_folder)
        if thumbnails is not None and gone and thumbnails.is_dir():
            with self._folder(thumbnails) as thumbnail_folder:
                for stem in gone:
                    size += _remove(thumbnail_folder, stem + IMAGE_SUFFIX) or 0
        return Removed(tuple(stem + IMAGE_SUFFIX for stem in gone), count, size)

    @contextmanager
    def _folder(self, folder: Path) -> Iterator[int]:
        """Open a folder of the place, without following a link anywhere below its root."""
        self._volume.check()
        try:
            parts = folder.relative_to(self._volume.root).parts
        except ValueError:
            parts = ("..",)
        if ".." in parts:
            raise StorageUnavailableError(
                f"{folder} is not inside {self._volume.root}: nothing is removed there", path=str(folder)
            )
        with storage_errors(folder):
            descriptor = os.open(self._volume.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                for part in parts:
                    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                    below = os.open(part, flags, dir_fd=descriptor)
                    os.close(descriptor)
                    descriptor = below
                if os.fstat(descriptor).st_dev != self._volume.device:
                    raise StorageUnavailableError(
                        f"{folder} is on another disk than {self._volume.root}: nothing is removed there",
                        path=str(folder),
                    )
                yield descriptor
            finally:
                os.close(descriptor)

    def _flush(self, folder: int) -> None:
        if self._durable:
            os.fsync(folder)


def _facts(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _remove(folder: int, name: str) -> int | None:
    """Remove a plain file; return the bytes that frees, None when it was not there or is something else."""
    facts = _facts(folder, name)
    if facts is None or not stat.S_ISREG(facts.st_mode):
        return None
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return None
    return facts.st_size if facts.st_nlink == 1 else 0

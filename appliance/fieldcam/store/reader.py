# SPDX-License-Identifier: MIT
"""Finding and reading frames on disk.

Only what is whole is seen: an image counts when its sidecar is there, and the writer puts the sidecar first. Files may
vanish at any moment (live/ rolls, operators delete by hand), so every function takes a missing file as not there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fieldcam.core.durable import storage_errors
from fieldcam.core.errors import ImageNotFoundError
from fieldcam.core.frame import Sidecar
from fieldcam.core.names import ParsedName, parse

IMAGE_SUFFIX = ".jpg"
SIDECAR_SUFFIX = ".json"
MAX_SIDECAR_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class FrameFile:
    """An image on disk whose name is one of ours."""

    image: Path
    sidecar: Path
    name: ParsedName

    @property
    def stem(self) -> str:
        """File name without suffix."""
        return self.image.stem

    def read_sidecar(self) -> Sidecar:
        """Read the sidecar. See `read_sidecar`."""
        return read_sidecar(self.sidecar)


def iter_frames(images: Path, sidecars: Path) -> Iterator[FrameFile]:
    """Yield the images of a folder in no order; foreign and temporary files are passed over. No file is opened.

    Raises:
        StorageUnavailableError, SharedVolumeError: the folder cannot be read; a missing one is empty.
    """
    for name, parsed in _names(images, IMAGE_SUFFIX):
        yield FrameFile(images / name, sidecars / (name.removesuffix(IMAGE_SUFFIX) + SIDECAR_SUFFIX), parsed)


def iter_sidecars(sidecars: Path) -> Iterator[Path]:
    """Yield the sidecars of a folder in no order, also those whose image is gone. Raises as `iter_frames`."""
    for name, _ in _names(sidecars, SIDECAR_SUFFIX):
        yield sidecars / name


def _names(folder: Path, suffix: str) -> Iterator[tuple[str, ParsedName]]:
    with storage_errors(folder):
        try:
            entries = os.scandir(folder)
        except FileNotFoundError:
            return
        with entries:
            for entry in entries:
                stem = entry.name.removesuffix(suffix)
                if stem == entry.name or (parsed := parse(stem)) is None:
                    continue
                if entry.is_file(follow_symlinks=False):
                    yield entry.name, parsed


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar.

    Raises:
        ImageNotFoundError: there is none, or it is damaged.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_SIDECAR_BYTES + 1)
        if len(text) > MAX_SIDECAR_BYTES:
            raise ValueError("too large")
        return Sidecar.from_json(text)
    except FileNotFoundError:
        raise ImageNotFoundError(f"there is no sidecar {path}", path=str(path)) from None
    except OSError as error:
        raise ImageNotFoundError(f"sidecar {path} cannot be read: {error.strerror}", path=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise ImageNotFoundError(f"sidecar {path} is damaged: {error}", path=str(path)) from None


def newest_frame(images: Path, sidecars: Path, *, boot_id: str) -> tuple[FrameFile, Sidecar]:
    """Return the newest frame of this boot, by sequence, never by file time.

    Names rise with time within a generation, so only the latest few of each generation have to be opened.

    Raises:
        ImageNotFoundError: there is none of this boot.
    """
    latest: dict[int, list[FrameFile]] = {}
    for frame in iter_frames(images, sidecars):
        group = latest.setdefault(frame.name.generation, [])
        group.append(frame)
    best: tuple[FrameFile, Sidecar] | None = None
    for group in latest.values():
        group.sort(key=lambda frame: frame.name.wall_ms, reverse=True)
        for frame in group[:3]:
            try:
                sidecar = frame.read_sidecar()
            except ImageNotFoundError:
                continue
            if sidecar.boot_id == boot_id and (best is None or sidecar.sequence > best[1].sequence):
                best = frame, sidecar
    if best is None:
        raise ImageNotFoundError(f"there is no frame of this boot in {images}", path=str(images))
    return best

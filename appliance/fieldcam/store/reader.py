# SPDX-License-Identifier: MIT
"""Finding and reading frames on disk.

Only what is whole is seen: an image counts when its sidecar is there, and the writer puts the sidecar first. Files may
vanish at any moment (live/ rolls, operators delete by hand), so every function takes a missing file as not there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fieldcam.core.errors import ImageNotFoundError, StorageUnavailableError
from fieldcam.core.frame import Sidecar
from fieldcam.core.names import ParsedName, parse

IMAGE_SUFFIX = ".jpg"
SIDECAR_SUFFIX = ".json"
MAX_SIDECAR_BYTES = 256 * 1024
# Names rise with time within a generation, but two frames may be written in another order than they were exposed.
OF_EACH_GENERATION = 3
_NONE_KNOWN: Mapping[str, FrameFile] = MappingProxyType({})


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


def iter_frames(images: Path, sidecars: Path, *, known: Mapping[str, FrameFile] = _NONE_KNOWN) -> Iterator[FrameFile]:
    """Yield the images of a folder in no order; foreign and temporary files are passed over. No file is opened.

    Args:
        images: the folder of the images.
        sidecars: the folder of their sidecars.
        known: what an earlier look at the same folders gave, by file name; those names are not taken apart again.

    Raises:
        StorageUnavailableError: the folder cannot be read; a missing one is empty.
    """
    for entry in _entries(images):
        frame = known.get(entry.name) or _as_frame(entry.name, images, sidecars)
        if frame is not None and entry.is_file(follow_symlinks=False):
            yield frame


def _as_frame(name: str, images: Path, sidecars: Path) -> FrameFile | None:
    stem = name.removesuffix(IMAGE_SUFFIX)
    if stem == name or (parsed := parse(stem)) is None:
        return None
    return FrameFile(images / name, sidecars / (stem + SIDECAR_SUFFIX), parsed)


def iter_sidecars(sidecars: Path) -> Iterator[Path]:
    """Yield the sidecars of a folder in no order, also those whose image is gone. Raises as `iter_frames`."""
    for entry in _entries(sidecars):
        stem = entry.name.removesuffix(SIDECAR_SUFFIX)
        if stem != entry.name and parse(stem) is not None and entry.is_file(follow_symlinks=False):
            yield sidecars / entry.name


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageUnavailableError(f"cannot be read: {folder}: {error.strerror}", path=str(folder)) from error


def open_plain(path: Path) -> int:
    """Open a file for reading and return its descriptor. A link, a pipe or a device is no file of ours.

    Raises:
        OSError: it is missing, may not be read, or is something else.
    """
    # O_NONBLOCK: a pipe that somebody put there must not hold up whoever looks.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no ordinary file", str(path))
    return descriptor


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar.

    Raises:
        ImageNotFoundError: there is none, or it is damaged.
    """
    try:
        with os.fdopen(open_plain(path), "rb") as stream:
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

    Names rise with time within a generation, so only the latest few of each generation have to be opened. What is no
    frame of this boot does not count among the few: copies with late names must not hide the frames.

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
        found = 0
        for frame in group:
            try:
                sidecar = frame.read_sidecar()
            except ImageNotFoundError:
                continue
            if sidecar.boot_id != boot_id:
                continue
            if best is None or sidecar.sequence > best[1].sequence:
                best = frame, sidecar
            found += 1
            if found == OF_EACH_GENERATION:
                break
    if best is None:
        raise ImageNotFoundError(f"there is no frame of this boot in {images}", path=str(images))
    return best

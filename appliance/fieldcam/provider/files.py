# SPDX-License-Identifier: MIT
"""The frames in `live/`, newest first. Each sidecar is read once; each look is one listing of the folder."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from fieldcam.core.errors import ImageNotFoundError, StorageUnavailableError
from fieldcam.core.frame import Sidecar
from fieldcam.provider.place import Place
from fieldcam.store.reader import FrameFile, iter_frames

# Names rise with time within a generation, so the newest frame is among the latest few of each.
_OF_EACH_GENERATION = 3
# The time of a folder moves in ticks of the kernel, 1 to 10 ms long: two changes in one tick look like one.
_TICK_NS = 20_000_000
MAX_IMAGE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """A frame whose sidecar says that it is of this boot and of this name."""

    path: Path
    sidecar: Sidecar

    def read(self) -> bytes:
        """Return the bytes of the image.

        Raises:
            ImageNotFoundError: it was rolled out meanwhile, or its size is not what the sidecar says.
            StorageUnavailableError: it may not be read.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except PermissionError as error:
            raise StorageUnavailableError(
                f"{self.path} may not be read: {error.strerror}; run as a member of the appliance's group",
                path=str(self.path),
            ) from None
        except OSError as error:
            raise ImageNotFoundError(f"{self.path} cannot be read: {error.strerror}", path=str(self.path)) from None
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            size = os.fstat(descriptor).st_size
            if size != self.sidecar.file_size or size > MAX_IMAGE_BYTES:
                raise ImageNotFoundError(
                    f"{self.path} has {size} bytes, its sidecar says {self.sidecar.file_size}", path=str(self.path)
                )
            try:
                data = stream.read(size)
            except OSError as error:
                raise ImageNotFoundError(f"{self.path} cannot be read: {error.strerror}", path=str(self.path)) from None
        if data is None or len(data) != size:
            raise ImageNotFoundError(f"{self.path} was cut off while it was read", path=str(self.path))
        return data


class LiveFiles:
    """Looks into `live/`.

    Args:
        place: where.
        boot_id: of this boot; frames of another one have no age that could be trusted.
    """

    def __init__(self, place: Place, boot_id: str) -> None:
        self._place = place
        self._boot_id = boot_id
        self._known: dict[str, LiveFrame] = {}
        self._seen: tuple[int, int, int] | None = None
        self._newest: list[LiveFrame] = []

    def newest_first(self) -> list[LiveFrame]:
        """Return the newest frames, by sequence, never by file time.

        Raises:
            StorageUnavailableError, SharedVolumeError: the folder cannot be read.
        """
        seen = self._signature()
        if seen is None or seen != self._seen:
            self._newest = self._list()
            self._seen = seen
        return self._newest

    def _signature(self) -> tuple[int, int, int] | None:
        """Return what changes with every name in the folder; None when that cannot be told yet."""
        try:
            status = self._place.live.stat()
        except OSError:
            return None
        is_settled = time.time_ns() - status.st_mtime_ns > _TICK_NS
        return (status.st_dev, status.st_ino, status.st_mtime_ns) if is_settled else None

    def _list(self) -> list[LiveFrame]:
        latest: dict[int, list[FrameFile]] = {}
        for frame in iter_frames(self._place.live, self._place.metadata):
            latest.setdefault(frame.name.generation, []).append(frame)
        found: list[LiveFrame] = []
        for group in latest.values():
            group.sort(key=lambda frame: frame.name.wall_ms, reverse=True)
            found += [look for frame in group[:_OF_EACH_GENERATION] if (look := self._look(frame)) is not None]
        # A sidecar that cannot be read now may be there at the next look.
        self._known = {frame.path.name: frame for frame in found}
        return sorted(found, key=lambda frame: frame.sidecar.sequence, reverse=True)

    def _look(self, frame: FrameFile) -> LiveFrame | None:
        known = self._known.get(frame.image.name)
        if known is not None:
            return known
        try:
            sidecar = frame.read_sidecar()
        except ImageNotFoundError:
            return None
        # A copied file is no new frame, whatever it is called.
        if sidecar.boot_id != self._boot_id or sidecar.filename != frame.image.name:
            return None
        return LiveFrame(frame.image, sidecar)

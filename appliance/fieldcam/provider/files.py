# SPDX-License-Identifier: MIT
"""The frames in `live/`, newest first. Each sidecar is read once; each look is at most one listing of the folder."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fieldcam.core.errors import ImageNotFoundError, StorageUnavailableError
from fieldcam.core.frame import Sidecar
from fieldcam.provider.place import Place
from fieldcam.store.reader import OF_EACH_GENERATION, FrameFile, iter_frames, open_plain

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
            with os.fdopen(open_plain(self.path), "rb", buffering=0) as stream:
                size = os.fstat(stream.fileno()).st_size
                if size != self.sidecar.file_size or size > MAX_IMAGE_BYTES:
                    raise ImageNotFoundError(
                        f"{self.path} has {size} bytes, its sidecar says {self.sidecar.file_size}", path=str(self.path)
                    )
                data: bytes | None = stream.read(size)
        except PermissionError as error:
            raise StorageUnavailableError(
                f"{self.path} may not be read: {error.strerror}; run as a member of the appliance's group",
                path=str(self.path),
            ) from None
        except OSError as error:
            raise ImageNotFoundError(f"{self.path} cannot be read: {error.strerror}", path=str(self.path)) from None
        if data is None or len(data) != size:
            raise ImageNotFoundError(f"{self.path} was cut off while it was read", path=str(self.path))
        return data


_State = tuple[int, int, int]


class _Signature(NamedTuple):
    """What changes with every name in the folders."""

    live: _State
    metadata: _State


class LiveFiles:
    """Looks into `live/`. For one thread at a time.

    Args:
        place: where.
        boot_id: of this boot; frames of another one have no age that could be trusted.

    Attributes:
        flaw: why the name that was looked at last is no frame; None when all were.
    """

    def __init__(self, place: Place, boot_id: str) -> None:
        self._place = place
        self._boot_id = boot_id
        self.flaw: str | None = None
        self._seen: _Signature | None = None
        self._folder: tuple[int, int] | None = None
        self._names: dict[str, FrameFile] = {}
        self._known: dict[str, tuple[_State | None, LiveFrame | str]] = {}
        self._newest = _Remembered(iter(()))

    def newest_first(self) -> Iterator[LiveFrame]:
        """Yield the frames by sequence, never by file time; no more sidecars are read than are asked for.

        Raises:
            StorageUnavailableError: the folder cannot be read.
        """
        before = self._signature()
        if before is None or before != self._seen:
            self._list()
            self._seen = before
        return iter(self._newest)

    def _forget(self) -> None:
        self._seen = None
        self._names, self._known = {}, {}
        self._newest = _Remembered(iter(()))

    def _signature(self) -> _Signature | None:
        """Return the state of the folders; None when it cannot be told yet, or the folder is not there."""
        live, metadata = _state(self._place.live), _state(self._place.metadata)
        if live is None or live[:2] != self._folder:
            self._forget()  # another folder has other files, whatever they are called
            self._folder = live[:2] if live is not None else None
        if live is None or metadata is None:
            return None
        is_settled = time.time_ns() - max(live[2], metadata[2]) > _TICK_NS
        return _Signature(live, metadata) if is_settled else None

    def _list(self) -> None:
        generations: dict[int, list[FrameFile]] = {}
        names: dict[str, FrameFile] = {}
        for frame in iter_frames(self._place.live, self._place.metadata, known=self._names):
            names[frame.image.name] = frame
            generations.setdefault(frame.name.generation, []).append(frame)
        self._names = names
        self._known = {name: known for name, known in self._known.items() if name in names}
        self.flaw = None
        merged = heapq.merge(
            *(self._by_sequence(group) for group in generations.values()), key=lambda frame: -frame.sidecar.sequence
        )
        self._newest = _Remembered(merged)

    def _by_sequence(self, group: list[FrameFile]) -> Iterator[LiveFrame]:
        """Yield the frames of one generation. Names rise with time there, but for neighbours."""
        group.sort(key=lambda frame: frame.name.wall_ms, reverse=True)
        ahead: list[tuple[int, str, LiveFrame]] = []
        for file in group:
            frame = self._look(file)
            if frame is None:
                continue
            heapq.heappush(ahead, (-frame.sidecar.sequence, frame.path.name, frame))
            if len(ahead) == OF_EACH_GENERATION:
                yield heapq.heappop(ahead)[2]
        while ahead:
            yield heapq.heappop(ahead)[2]

    def _look(self, file: FrameFile) -> LiveFrame | None:
        """Return the frame of a file, None when it is none. A sidecar is read again only when it is another one."""
        name = file.image.name
        state = _file_state(file.sidecar)
        known = self._known.get(name)
        if known is None or known[0] != state:
            try:
                known = state, self._checked(file)
            except ImageNotFoundError as error:
                known = state, error.message
            self._known[name] = known
        if isinstance(known[1], LiveFrame):
            return known[1]
        self.flaw = known[1]
        return None

    def _checked(self, file: FrameFile) -> LiveFrame:
        sidecar = file.read_sidecar()
        if sidecar.boot_id != self._boot_id:
            raise ImageNotFoundError(f"{file.image.name} is of another boot")
        if sidecar.filename != file.image.name:
            raise ImageNotFoundError(f"{file.image.name} is a copy of {sidecar.filename}")
        return LiveFrame(file.image, sidecar)


class _Remembered:
    """An iterator that can be gone through again and again."""

    def __init__(self, source: Iterator[LiveFrame]) -> None:
        self._source = source
        self._items: list[LiveFrame] = []

    def __iter__(self) -> Iterator[LiveFrame]:
        position = 0
        while True:
            if position == len(self._items):
                item = next(self._source, None)
                if item is None:
                    return
                self._items.append(item)
            yield self._items[position]
            position += 1


def _state(folder: Path) -> _State | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _file_state(path: Path) -> _State | None:
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns

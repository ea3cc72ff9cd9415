# SPDX-License-Identifier: MIT
"""Known mistakes, put in on purpose. A harness that does not notice its mutants proves nothing by its zeroes.

Each mutant patches the product for the length of a `with` block, in a process made for it; product code knows
nothing of this.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from fieldcam.core import durable, names
from fieldcam.core.clock import Instant
from fieldcam.core.errors import ImageNotFoundError, NameTakenError
from fieldcam.core.frame import Sidecar
from fieldcam.store import identity, live_roll, reader, writer
from fieldcam.store.reader import FrameFile
from tests.crash.site import Ack

Acknowledge = Callable[[Ack], None]
Patches = Iterator[tuple[object, str, object]]
CHUNK = 4096
_real_publish = durable.publish
_real_write_temporary = durable.write_temporary
_real_iter_frames = reader.iter_frames


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake and the harnesses that must notice it.

    Attributes:
        name: for the command line.
        mistake: in words.
        caught_by: of `kill`, `point`, `error`, `cut`, `clock`, `catalog`. What is not named cannot notice it: a kill
            loses no page of the kernel's cache, so it does not show a missing fsync.
        patches: (module or class, attribute, replacement), given the function that acknowledges.
    """

    name: str
    mistake: str
    caught_by: tuple[str, ...]
    patches: Callable[[Acknowledge], Patches]


def _in_place(_ack: Acknowledge) -> Patches:
    def publish(files: list[tuple[Path, bytes]], *, durable: bool, mtime_ns: int | None = None) -> None:
        for target, data in files:
            try:
                with target.open("xb", buffering=0) as stream:
                    for start in range(0, len(data), CHUNK):
                        stream.write(data[start : start + CHUNK])
            except FileExistsError:
                raise NameTakenError(str(target)) from None

    yield writer, "publish", publish


def _no_file_fsync(_ack: Acknowledge) -> Patches:
    def write_temporary(folder: Path, name: str, data: bytes, *, durable: bool, **more: Any) -> Path:
        return _real_write_temporary(folder, name, data, durable=False, **more)

    yield durable, "write_temporary", write_temporary


def _no_folder_fsync(_ack: Acknowledge) -> Patches:
    yield durable, "sync_folder", lambda _folder: None


def _image_first(_ack: Acknowledge) -> Patches:
    def publish(files: list[tuple[Path, bytes]], *, durable: bool, mtime_ns: int | None = None) -> None:
        _real_publish(files[::-1], durable=durable, mtime_ns=mtime_ns)

    yield writer, "publish", publish


def _ack_first(acknowledge: Acknowledge) -> Patches:
    def publish(files: list[tuple[Path, bytes]], *, durable: bool, mtime_ns: int | None = None) -> None:
        (_, sidecar), (image, data) = files
        if durable:
            acknowledge(Ack(json.loads(sidecar)["id"], image.name, hashlib.sha256(data).hexdigest()))
        _real_publish(files, durable=durable, mtime_ns=mtime_ns)

    yield writer, "publish", publish


def _name_reused(_ack: Acknowledge) -> Patches:
    yield durable, "rename_without_overwriting", os.rename
    yield (
        identity.Identity,
        "next_stem",
        lambda _self, wall_ms, sample=None, submission=None: names.format_stem(wall_ms, 1, sample, submission),
    )


def _ids_forgotten(_ack: Acknowledge) -> Patches:
    real_save = identity.Identity._save

    def save(self: identity.Identity, reserved: int) -> None:
        if not self._file.exists():
            real_save(self, reserved)
        self._reserved = reserved
        self._saved_names = self._names

    yield identity.Identity, "_save", save


def _newest_by(order: Callable[[FrameFile, Sidecar], float]) -> Callable[..., tuple[FrameFile, Sidecar]]:
    def newest_frame(images: Path, sidecars: Path, *, boot_id: str) -> tuple[FrameFile, Sidecar]:
        found = [(frame, frame.read_sidecar()) for frame in _real_iter_frames(images, sidecars)]
        if not found:
            raise ImageNotFoundError("none")
        return max(found, key=lambda pair: order(*pair))

    return newest_frame


def _newest_by_wall_time(_ack: Acknowledge) -> Patches:
    yield reader, "newest_frame", _newest_by(lambda _frame, sidecar: sidecar.timestamp)


def _newest_by_file_time(_ack: Acknowledge) -> Patches:
    yield reader, "newest_frame", _newest_by(lambda frame, _sidecar: frame.image.stat().st_mtime)


def _age_by_wall_time(_ack: Acknowledge) -> Patches:
    yield Instant, "seconds_since", lambda self, earlier: (self.wall_ns - earlier.wall_ns) / 1e9


def _roll_by_name(_ack: Acknowledge) -> Patches:
    real = live_roll.LiveRoll.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        self._entries = type(self._entries)(sorted(self._entries, key=lambda entry: entry.image.name))

    yield live_roll.LiveRoll, "__init__", init


def _fsync_ignored(_ack: Acknowledge) -> Patches:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        with suppress(OSError):
            real(descriptor)

    yield os, "fsync", fsync


def _halves_kept(_ack: Acknowledge) -> Patches:
    yield writer, "_remove_halves", lambda _images, _sidecars: None


def _nothing(_ack: Acknowledge) -> Patches:
    yield from ()


MUTANTS = {
    mutant.name: mutant
    for mutant in (
        Mutant("in-place", "publish in place: no temporary file, no fsync", ("kill", "point", "cut"), _in_place),
        Mutant("no-file-fsync", "no fsync of the files", ("cut",), _no_file_fsync),
        Mutant("no-folder-fsync", "no fsync of the folders", ("cut",), _no_folder_fsync),
        Mutant("image-first", "image before sidecar", ("point",), _image_first),
        Mutant("ack-first", "acknowledged before the rename", ("kill", "point", "cut"), _ack_first),
        Mutant("name-reused", "names from the clock alone, overwriting allowed", ("kill", "clock"), _name_reused),
        Mutant("ids-forgotten", "reserved ids not remembered", ("kill",), _ids_forgotten),
        Mutant("fsync-ignored", "acknowledged although fsync failed", ("error",), _fsync_ignored),
        Mutant("halves-kept", "live frames damaged by a power cut are kept", ("cut",), _halves_kept),
        Mutant("newest-by-wall-time", "newest frame by wall time", ("clock",), _newest_by_wall_time),
        Mutant("newest-by-file-time", "newest frame by mtime", ("clock",), _newest_by_file_time),
        Mutant("age-by-wall-time", "ages by wall time", ("clock",), _age_by_wall_time),
        Mutant("roll-by-name", "live/ rolled by name after a restart", ("clock",), _roll_by_name),
        Mutant("no-reconcile", "catalog not reconciled after a crash", ("catalog",), _nothing),
    )
}


@contextmanager
def applied(name: str | None, acknowledge: Acknowledge = lambda _ack: None) -> Iterator[None]:
    """Make a mistake while the block runs; None makes none."""
    with ExitStack() as stack:
        if name is not None:
            for owner, attribute, replacement in MUTANTS[name].patches(acknowledge):
                stack.enter_context(mock.patch.object(owner, attribute, replacement))
        yield

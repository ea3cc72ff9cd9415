# SPDX-License-Identifier: MIT
"""A place is used only while its marker is there.

A mount point whose disk is missing is an ordinary folder of the root disk, and writing there fills the card the system
runs from. So deployment puts a marker `.fieldcam-volume` on each place, and nothing is written where it is not, or
where it is another one than before.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldcam.core.durable import publish
from fieldcam.core.errors import StorageUnavailableError
from fieldcam.core.layout import MARKER

VolumeKind = Literal["handoff", "archive"]


@dataclass(frozen=True, slots=True)
class Volume:
    """A marked place.

    Attributes:
        root: the folder with the marker.
        kind: `handoff` or `archive`.
        id: what deployment called it.
        device: number of the file system it is on.
    """

    root: Path
    kind: VolumeKind
    id: str
    device: int

    @classmethod
    def open(cls, root: Path, kind: VolumeKind) -> Volume:
        """Read the marker of a place.

        Raises:
            StorageUnavailableError: the marker is missing, unreadable, or of another kind.
        """
        marker = root / MARKER
        try:
            with marker.open("rb") as stream:
                device = os.fstat(stream.fileno()).st_dev
                data = json.loads(stream.read(4096))
            found = (str(data["kind"]), str(data["id"]))
        except FileNotFoundError:
            raise StorageUnavailableError(
                f"{root} has no marker {MARKER}: the disk is not mounted, or the place was never deployed; "
                f"mount it, or run `fieldcam volume init {root} --kind {kind}`",
                path=str(root),
            ) from None
        except OSError as error:
            raise StorageUnavailableError(f"{marker} cannot be read: {error.strerror}", path=str(root)) from error
        except (ValueError, KeyError, TypeError, RecursionError):
            raise StorageUnavailableError(f"{marker} is damaged; deploy again", path=str(root)) from None
        if found[0] != kind:
            raise StorageUnavailableError(f"{root} is a place of kind {found[0]!r}, not {kind!r}", path=str(root))
        return cls(root, kind, found[1], device)

    def check(self) -> None:
        """Make sure that the same volume is still there.

        Raises:
            StorageUnavailableError: it is not.
        """
        now = Volume.open(self.root, self.kind)
        if now != self:
            raise StorageUnavailableError(f"{self.root} is another volume than before", path=str(self.root))


def init_volume(root: Path, kind: VolumeKind) -> Volume:
    """Mark a place; a marker that is there stays. For deployment only, never for a daemon."""
    try:
        return Volume.open(root, kind)
    except StorageUnavailableError:
        if (root / MARKER).exists():
            raise
    data = json.dumps({"id": str(uuid.uuid4()), "kind": kind}).encode() + b"\n"
    publish([(root / MARKER, data)], durable=True)
    return Volume.open(root, kind)

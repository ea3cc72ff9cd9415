# SPDX-License-Identifier: MIT
"""Which capture a result is about, and the marker `<stem>.ack` that says that a consumer has seen it."""

from __future__ import annotations

import stat
from dataclasses import replace

from fieldcam.core.durable import publish
from fieldcam.core.errors import ImageNotFoundError, NameTakenError
from fieldcam.core.result import Result
from fieldcam.manager.sources import Sources
from fieldcam.store.reader import SIDECAR_SUFFIX, read_sidecar
from fieldcam.store.remover import ACKNOWLEDGEMENT_SUFFIX


def with_capture(result: Result, camera: str, sources: Sources) -> tuple[Result, str | None]:
    """Return the result with the id of its capture, and the capture's name, when it is there: it needs no row.

    Raises:
        ValueError: the result has no room for the id.
    """
    if result.filename is None:
        return result, None
    image = sources.image(camera, result.filename, "capture")
    try:
        image.lstat()
        sidecar = read_sidecar(image.with_suffix(SIDECAR_SUFFIX))
    except (OSError, ImageNotFoundError):
        return result, None
    # A live frame may have the name of a capture; both never have the same sequence.
    if result.sequence not in {None, sidecar.sequence} or result.image_id not in {None, sidecar.id}:
        return result, None
    return replace(result, image_id=sidecar.id), result.filename


def acknowledge(camera: str, filename: str, sources: Sources) -> bool:
    """Put the marker of a consumer beside a capture; return whether it is new. A capture that is gone needs none.

    Raises:
        StorageFullError, StorageUnavailableError, SharedVolumeError: the marker is not there.
        OSError: the folder cannot be read.
    """
    image = sources.image(camera, filename, "capture")
    marker = image.with_suffix(ACKNOWLEDGEMENT_SUFFIX)
    try:
        if not stat.S_ISREG(image.lstat().st_mode) or marker.exists():
            return False
        publish([(marker, b"")], durable=True)
    except (FileNotFoundError, NameTakenError):
        return False
    return True

# SPDX-License-Identifier: MIT
"""Files of images: the newest live frame, and the file of a row, never anything else.

A path is made of the place, the camera and the file name of a row, each checked again, and is walked from the place
downwards without following links: what lies outside cannot be reached even by a row or a link that somebody planted.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fieldcam.api.context import Context
from fieldcam.catalog.image_row import ImageRow
from fieldcam.core import names
from fieldcam.core.errors import ImageNotFoundError, ImageTooOldError
from fieldcam.core.frame import Sidecar
from fieldcam.core.layout import CameraPaths
from fieldcam.store.reader import IMAGE_SUFFIX, newest_frame

LOOK_EVERY_SECONDS = 0.05
_TRIES = 5  # a frame may roll away between being found and being opened


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest live frame: its bytes, its sidecar, its age in seconds."""

    jpeg: bytes
    sidecar: Sidecar
    age: float

    @property
    def tag(self) -> str:
        """What tells this frame from others; replayed photos may have the same bytes."""
        return f"{self.sidecar.sequence}-{self.sidecar.sha256[:16]}"


def open_row(context: Context, row: ImageRow) -> BinaryIO:
    """Open the file of a row.

    Raises:
        ImageNotFoundError: it is gone, or the row names something that is no image of ours.
    """
    stem = row.filename.removesuffix(IMAGE_SUFFIX)
    is_ours = (
        row.state == "present"
        and row.filename.endswith(IMAGE_SUFFIX)
        and "/" not in row.filename
        and names.parse(stem) is not None
        and names.CAMERA_NAME.fullmatch(row.camera) is not None
        and row.kind in {"live", "capture"}
    )
    if not is_ours:
        raise _gone(row.id)
    paths = context.config.layout.camera(row.camera)
    folder = paths.live if row.kind == "live" else paths.captures
    root = context.config.capture_dir if row.kind == "live" else context.config.archive_dir
    try:
        return _open_below(root if folder.is_relative_to(root) else folder, folder, row.filename)
    except OSError:
        raise _gone(row.id) from None


def newest_live(context: Context, paths: CameraPaths) -> Newest:
    """Return the newest live frame of this boot, found on disk: the catalog is not asked.

    Raises:
        ImageNotFoundError: there is none.
    """
    for _ in range(_TRIES):
        try:
            frame, sidecar = newest_frame(paths.live, paths.metadata, boot_id=context.clock.boot_id())
        except (ImageNotFoundError, OSError):
            break
        try:
            jpeg = frame.image.read_bytes()
        except OSError:
            continue
        return Newest(jpeg, sidecar, context.now().seconds_since(sidecar.exposed_at))
    raise ImageNotFoundError(f"camera {paths.name} has no live frame")


def wait_for_newest(
    context: Context, paths: CameraPaths, *, max_age: float, wait_seconds: float, other_than: str | None
) -> Newest:
    """Return the newest live frame once it is fresh and another one than the client has.

    Args:
        context: of the application.
        paths: of the camera.
        max_age: age in seconds up to which it is fresh.
        wait_seconds: how long to wait; after it, the frame the client has is returned if it is still fresh.
        other_than: tag of the frame the client has.

    Raises:
        ImageNotFoundError: there is no frame.
        ImageTooOldError: the newest is older than allowed, or the camera is frozen.
    """
    deadline_ns = context.clock.boottime_ns() + int(wait_seconds * 1e9)
    seen = -1
    newest: Newest | None = None
    while True:
        over = context.clock.boottime_ns() >= deadline_ns or context.stop.is_set()
        changed = _changed_ns(paths.live)
        if changed != seen or over:
            seen = changed
            try:
                newest = newest_live(context, paths)
            except ImageNotFoundError:
                if over:
                    raise
            else:
                is_fresh = 0 <= newest.age <= max_age and not newest.sidecar.is_frozen
                if is_fresh and (over or newest.tag != other_than):
                    return newest
                if over:
                    raise _too_old(paths.name, newest, max_age)
        context.stop.wait(LOOK_EVERY_SECONDS)


def _too_old(camera: str, newest: Newest, max_age: float) -> ImageTooOldError:
    if newest.sidecar.is_frozen:
        return ImageTooOldError(
            f"camera {camera} is frozen: its last {newest.sidecar.identical_frames + 1} frames are identical",
            age=newest.age,
        )
    return ImageTooOldError(
        f"the newest frame of camera {camera} is {newest.age:.1f} s old; {max_age:g} s are allowed", age=newest.age
    )


def _changed_ns(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def _open_below(root: Path, folder: Path, filename: str) -> BinaryIO:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    current = os.open(root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        for part in folder.relative_to(root).parts:
            below = os.open(part, flags | os.O_DIRECTORY, dir_fd=current)
            os.close(current)
            current = below
        # O_NONBLOCK: a pipe of that name must not hold a thread for ever.
        descriptor = os.open(filename, flags | os.O_NONBLOCK, dir_fd=current)
    finally:
        os.close(current)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(filename)
    return os.fdopen(descriptor, "rb")


def _gone(image_id: int) -> ImageNotFoundError:
    return ImageNotFoundError(f"there is no file of image {image_id}")

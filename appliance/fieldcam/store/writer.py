# SPDX-License-Identifier: MIT
"""Publishing frames: the only code that adds images. One writer per folder, owned by the capture process.

Order on disk (contract section 1): sidecar first, image last, nothing overwritten. Captures are durable before
`publish` returns; live frames only when configured, as they are in RAM on a Pi.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from fieldcam.core.durable import make_folder, publish, rehearse, remove_leftovers, storage_errors, sync_folder
from fieldcam.core.errors import ImageNotFoundError, NameTakenError
from fieldcam.core.frame import Sidecar
from fieldcam.core.layout import CameraPaths
from fieldcam.store.identity import Identity
from fieldcam.store.reader import IMAGE_SUFFIX, SIDECAR_SUFFIX, iter_frames
from fieldcam.store.volume import Volume

# A foreign file may sit on a name; more than a few in a row means that something else writes here.
NAME_TRIES = 20


@dataclass(frozen=True, slots=True)
class Stored:
    """A frame that is on disk."""

    path: Path
    sidecar: Sidecar


class FrameWriter:
    """Adds images to one folder.

    Args:
        volume: the marked place the folder is in; checked before every write.
        images, sidecars: the folders, made when missing.
        identity_file: where names and ids are remembered.
        camera_number: number of the camera, part of every id.
        durable: whether a frame must survive a power cut.
        scope: what the remembered names are valid for: empty = for ever, a boot id = this boot.

    Raises:
        StorageUnavailableError, StorageFullError: the place cannot be written.
    """

    def __init__(
        self,
        volume: Volume,
        images: Path,
        sidecars: Path,
        identity_file: Path,
        *,
        camera_number: int,
        durable: bool,
        scope: str = "",
    ) -> None:
        self._volume = volume
        self._images = images
        self._sidecars = sidecars
        self._durable = durable
        for folder in {images, sidecars, identity_file.parent}:
            make_folder(folder)
        with storage_errors(images):
            for folder in {images, sidecars}:
                remove_leftovers(folder)
            remove_leftovers(identity_file.parent, identity_file.name)  # others write there, too
            if images != sidecars:
                _remove_lonely_sidecars(images, sidecars)
            if durable:
                # What a killed process left visible but not yet durable is built upon from now on.
                for folder in {images, sidecars, identity_file.parent, volume.root}:
                    sync_folder(folder)
            else:
                _remove_halves(images, sidecars)
        self.identity = Identity(
            identity_file, images, sidecars, camera_number=camera_number, durable=durable, scope=scope
        )

    @classmethod
    def for_captures(cls, volume: Volume, paths: CameraPaths, camera_number: int) -> FrameWriter:
        """Return the writer of `captures/`."""
        return cls(volume, paths.captures, paths.captures, paths.identity, camera_number=camera_number, durable=True)

    @classmethod
    def for_live(cls, volume: Volume, paths: CameraPaths, *, durable: bool, boot_id: str) -> FrameWriter:
        """Return the writer of `live/` and `metadata/`."""
        names_file = paths.run / "live_names.json"
        return cls(volume, paths.live, paths.metadata, names_file, camera_number=0, durable=durable, scope=boot_id)

    def check(self) -> None:
        """Make sure that the marked place is still there.

        Raises:
            StorageUnavailableError: it is not.
        """
        self._volume.check()

    def rehearse(self, image: bytes) -> None:
        """Write an image where it would be published, and remove it again: no name and no id is used up.

        Raises:
            StorageUnavailableError, StorageFullError, SharedVolumeError: it could not be published.
        """
        self.check()
        rehearse(self._images, "rehearsal", image)

    def publish(self, image: bytes, sidecar: Sidecar) -> Stored:
        """Put an image and its sidecar on disk under a name of their own.

        Args:
            image: a whole JPEG.
            sidecar: everything but `filename`, which is filled in here, and `id`, which a capture gets here.

        Raises:
            StorageUnavailableError, StorageFullError, SharedVolumeError: nothing was stored.
        """
        self.check()
        if sidecar.kind == "capture" and sidecar.id is None:
            sidecar = dataclasses.replace(sidecar, id=self.identity.next_id())
        wall_ms = round(sidecar.timestamp * 1000)
        for attempt in range(1, NAME_TRIES + 1):
            stem = self.identity.next_stem(wall_ms, sidecar.sample_no, sidecar.submission_no)
            named = dataclasses.replace(sidecar, filename=stem + IMAGE_SUFFIX)
            path = self._images / named.filename
            files = [(self._sidecars / (stem + SIDECAR_SUFFIX), named.to_json()), (path, image)]
            try:
                publish(files, durable=self._durable, mtime_ns=wall_ms * 1_000_000)
            except NameTakenError:
                if attempt == NAME_TRIES:
                    raise
                continue
            return Stored(path, named)
        raise AssertionError("unreachable")


def _remove_lonely_sidecars(images: Path, sidecars: Path) -> None:
    """Remove sidecars in `metadata/` whose image is gone from `live/`: a kill came in between, or a hand did it.

    In `captures/` they stay: they are all that is left of an image that somebody moved away.
    """
    stems = {entry.stem for entry in images.iterdir() if entry.suffix == IMAGE_SUFFIX}
    for sidecar in sidecars.iterdir():
        if sidecar.suffix == SIDECAR_SUFFIX and sidecar.stem.startswith("capture_") and sidecar.stem not in stems:
            sidecar.unlink(missing_ok=True)


def _remove_halves(images: Path, sidecars: Path) -> None:
    """Remove frames that a power cut damaged: without fsync a name may outlive its data.

    Images whose sidecar is missing stay: somebody put them there.
    """
    for frame in iter_frames(images, sidecars):
        try:
            whole = frame.image.stat().st_size == frame.read_sidecar().file_size
        except (ImageNotFoundError, FileNotFoundError):
            whole = not frame.sidecar.exists()
        if not whole:
            frame.image.unlink(missing_ok=True)
            frame.sidecar.unlink(missing_ok=True)

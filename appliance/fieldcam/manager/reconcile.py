# SPDX-License-Identifier: MIT
"""Making the catalog equal to the files, in small steps between requests.

Files without a row get one from their sidecar, rows without a file are marked removed. Before and after looking at
files the marked place is checked: on a disk that was taken away every file is missing, and that is no deletion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from fieldcam.catalog.connect import Cause
from fieldcam.catalog.rebuild import BATCH, Found, Report, examine, record_found
from fieldcam.catalog.writer import CatalogWriter, KnownImage
from fieldcam.core.durable import storage_errors
from fieldcam.core.errors import CatalogError
from fieldcam.core.frame import Kind
from fieldcam.manager.sources import Sources
from fieldcam.store.reader import iter_frames
from fieldcam.store.volume import Volume


@dataclass(slots=True)
class Reconciled:
    """What had to be mended: rows added and rows marked removed; `found` has what is wrong with the files."""

    added: int = 0
    removed: int = 0
    found: Report = field(default_factory=Report)


class Reconcile:
    """One comparison of a catalog with its files.

    Args:
        writer: the open catalog.
        volume: the place of the files; must be there all the time.
        sources: where the files are.
        kind: which catalog it is.
        want_thumbnail: told (camera, filename) of captures that lack one; returns False when it cannot take more now.
    """

    def __init__(
        self,
        writer: CatalogWriter,
        volume: Volume,
        sources: Sources,
        kind: Kind,
        want_thumbnail: Callable[[str, str], bool],
    ) -> None:
        self._writer = writer
        self._volume = volume
        self._sources = sources
        self._kind: Kind = kind
        self._want_thumbnail = want_thumbnail
        self.result = Reconciled()

    def steps(self) -> Iterator[bool]:
        """Compare; yield after each batch, True when there is something to wait for before the next.

        Raises:
            CatalogError: a row is damaged (cause `damaged`), or the catalog failed.
            StorageUnavailableError: the place is gone.
        """
        yield from self._files_to_rows()
        yield from self._rows_to_files()

    def _files_to_rows(self) -> Iterator[bool]:
        for camera in self._sources.cameras(self._kind):
            frames = iter_frames(*self._sources.folders(camera, self._kind))
            while batch := list(islice(frames, BATCH)):
                by_name = {frame.image.name: frame for frame in batch}
                unknown = self._writer.unknown(camera, list(by_name))
                sidecars = [
                    sidecar
                    for name in unknown
                    if (sidecar := examine(Found(camera, by_name[name]), self._kind, self.result.found)) is not None
                ]
                thumbnail_of = self._sources.thumbnail_of
                self.result.added += record_found(self._writer, sidecars, thumbnail_of, self.result.found)
                yield False

    def _rows_to_files(self) -> Iterator[bool]:
        last = -(2**63)
        while rows := self._writer.after(last, BATCH):
            last = rows[-1].id
            self._volume.check()
            gone = [row for row in rows if row.present and self._is_gone(row)]
            self._volume.check()
            for camera in {row.camera for row in gone}:
                names = [row.filename for row in gone if row.camera == camera]
                self.result.removed += self._writer.mark_removed(camera, names)
            yield False
            if self._kind == "capture":
                yield from self._thumbnails(row for row in rows if row.present and row not in gone)

    def _is_gone(self, row: KnownImage) -> bool:
        if not row.whole:
            raise CatalogError(f"row {row.id} ({row.filename}) is damaged", cause=Cause.DAMAGED.value)
        folder = self._sources.folders(row.camera, self._kind)[0]
        # A whole folder that is missing is a mistake of somebody's, not a deletion of each image.
        return _is_missing(folder / row.filename) and folder.is_dir()

    def _thumbnails(self, rows: Iterator[KnownImage]) -> Iterator[bool]:
        for row in rows:
            if row.thumbnail_path is not None and self._sources.thumbnail(row.camera, row.filename).is_file():
                continue
            while not self._want_thumbnail(row.camera, row.filename):
                yield True


def _is_missing(path: Path) -> bool:
    with storage_errors(path):
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return True
    return False

# SPDX-License-Identifier: MIT
"""Making a catalog again from the sidecars; results of consumers are carried over (`result_rescue`).

The new one is made in a file beside, flushed, and renamed into place, so that readers see the old or the new. What was
there before is moved aside with its journal: a journal left behind would be played back into the new file. Damaged
sidecars are reported and passed over; images without a sidecar were put there by hand and are left alone.

This module never looks for files itself: whoever calls it says which frames there are (`store.reader.iter_frames`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

from fieldcam.catalog.connect import SIDE_FILES, Cause, cause_of
from fieldcam.catalog.image_row import values_of
from fieldcam.catalog.result_rescue import Rescued, moved_aside, rescue
from fieldcam.catalog.result_rows import ResultRow
from fieldcam.catalog.writer import CatalogWriter
from fieldcam.core.clock import Clock, rfc3339
from fieldcam.core.durable import rename_without_overwriting, storage_errors, sync_folder
from fieldcam.core.errors import CatalogError, ImageNotFoundError, NameTakenError
from fieldcam.core.frame import Kind, Sidecar

BATCH = 200
KEPT_DAMAGED = 3
MAX_PROBLEMS = 100


class Frame(Protocol):
    """An image on disk, as `store.reader.iter_frames` yields it."""

    @property
    def image(self) -> Path:
        """The image."""

    @property
    def sidecar(self) -> Path:
        """Its sidecar."""

    def read_sidecar(self) -> Sidecar:
        """Read the sidecar; raises `ImageNotFoundError` when it is missing or damaged."""


@dataclass(frozen=True, slots=True)
class Found:
    """A frame and the camera whose folder it is in."""

    camera: str
    frame: Frame


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes:
        recorded: images that have a row.
        without_sidecar: images that were put there by hand.
        damaged: images whose sidecar is damaged or speaks of another image; they have no row.
        problems: what is wrong, the first `MAX_PROBLEMS`.
        results: results of consumers that were carried over, from the old catalog and from `processed/`.
        moved_aside: where the old catalog is now; None when there was none.
    """

    recorded: int = 0
    without_sidecar: int = 0
    damaged: int = 0
    problems: list[str] = field(default_factory=list)
    results: int = 0
    moved_aside: Path | None = None

    def problem(self, text: str) -> None:
        """Note something that is wrong."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(text)


ThumbnailOf = Callable[[Sidecar], "str | None"]


class Rebuild:
    """One rebuilding, in steps, so that the caller can do other things in between.

    Args:
        path: the catalog to be made.
        kind: which one it is.
        clock: for the name of the old one.
        frames: every frame there is, in any order.
        thumbnail_of: path of a thumbnail that is there, relative to the archive, or None.
        keep_old: move the old one aside; False deletes it.
        processed: results in `processed/`, for those the old catalog has no more.
    """

    def __init__(
        self,
        path: Path,
        kind: Kind,
        clock: Clock,
        frames: Iterable[Found],
        thumbnail_of: ThumbnailOf = lambda _sidecar: None,
        *,
        keep_old: bool = True,
        processed: Iterable[ResultRow] = (),
    ) -> None:
        self._path = path
        self._kind: Kind = kind
        self._clock = clock
        self._frames = frames
        self._thumbnail_of = thumbnail_of
        self._keep_old = keep_old
        self._processed = processed
        self.report = Report()

    def steps(self) -> Iterator[int]:
        """Rebuild; yield now and then how many frames have been looked at. The new catalog is there at the end.

        Raises:
            StorageUnavailableError, StorageFullError, CatalogUnavailableError: the old one is where it was, or aside.
        """
        temporary = self._path.with_name(f".{self._path.name}.rebuild.tmp")
        _discard(temporary)
        try:
            with closing(CatalogWriter.open(temporary, self._kind, self._clock, durable=False)) as writer:
                yield from self._fill(writer)
                if self._kind == "capture":
                    yield from self._carry_results_over(writer)
            self._put_in_place(temporary)
        finally:
            _discard(temporary)

    def run(self, progress: Callable[[int], None] = lambda _done: None) -> Report:
        """Rebuild in one go."""
        for done in self.steps():
            progress(done)
        return self.report

    def _fill(self, writer: CatalogWriter) -> Iterator[int]:
        batch: list[Sidecar] = []
        done = 0
        for found in self._frames:
            sidecar = examine(found, self._kind, self.report)
            if sidecar is not None:
                batch.append(sidecar)
            done += 1
            if done % BATCH == 0:
                self._record(writer, batch)
                batch = []
                yield done
        self._record(writer, batch)
        yield done

    def _carry_results_over(self, writer: CatalogWriter) -> Iterator[int]:
        told = Rescued()
        for rows in rescue(self._path, told):
            self.report.results += writer.restore_results(rows)
            yield self.report.results
        # Whoever was killed between moving the old one aside and putting the new one in its place, or ran an older
        # release meanwhile, finds them there.
        aside = moved_aside(self._path)
        if aside is not None and not (told.whole and told.rows):
            for rows in rescue(aside, told):
                self.report.results += writer.restore_results(rows)
                yield self.report.results
        if told.damaged:
            self.report.problem(f"{told.damaged} results in the old catalog are damaged")
        found = iter(self._processed)
        while batch := list(islice(found, BATCH)):
            self.report.results += writer.restore_results(batch)
            yield self.report.results

    def _record(self, writer: CatalogWriter, batch: list[Sidecar]) -> None:
        self.report.recorded += record_found(writer, batch, self._thumbnail_of, self.report)

    def _put_in_place(self, temporary: Path) -> None:
        with storage_errors(self._path):
            descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if self._keep_old:
                self.report.moved_aside = move_aside(self._path, self._clock)
            else:
                _discard(self._path)
            rename_without_overwriting(temporary, self._path)
            sync_folder(self._path.parent)


def examine(found: Found, kind: Kind, report: Report) -> Sidecar | None:
    """Return the sidecar of a frame if a row can be made of it; otherwise say in the report why not."""
    frame = found.frame
    try:
        sidecar = frame.read_sidecar()
        values_of(sidecar)
        if sidecar.filename != frame.image.name:
            raise ValueError(f"it speaks of {sidecar.filename}")
        if sidecar.camera != found.camera:
            raise ValueError(f"it speaks of camera {sidecar.camera}, in the folder of camera {found.camera}")
        if sidecar.kind != kind:
            raise ValueError(f"it speaks of a {sidecar.kind} frame")
    except ImageNotFoundError as error:
        if not os.path.lexists(frame.sidecar):
            # Not a problem when the image went as well: live/ rolls while we look.
            report.without_sidecar += os.path.lexists(frame.image)
        else:
            report.damaged += 1
            report.problem(error.message)
        return None
    except ValueError as error:
        report.damaged += 1
        report.problem(f"sidecar {frame.sidecar} cannot be used: {error}")
        return None
    try:
        size = frame.image.lstat().st_size
    except OSError:
        return None
    if size != sidecar.file_size:
        report.problem(f"image {frame.image} has {size} bytes, its sidecar says {sidecar.file_size}")
    return sidecar


def record_found(writer: CatalogWriter, batch: list[Sidecar], thumbnail_of: ThumbnailOf, report: Report) -> int:
    """Record frames in one transaction, or one by one when two of them claim one id; return how many have a row."""
    if not batch:
        return 0
    thumbnails = [thumbnail_of(sidecar) for sidecar in batch]
    try:
        writer.record_many(batch, thumbnails)
    except CatalogError as error:
        if cause_of(error) is not Cause.CONFLICT:
            raise
        if len(batch) == 1:
            report.damaged += 1
            report.problem(f"{batch[0].filename} of camera {batch[0].camera}: another image has its id {batch[0].id}")
            return 0
        return sum(record_found(writer, [sidecar], thumbnail_of, report) for sidecar in batch)
    return len(batch)


def move_aside(path: Path, clock: Clock) -> Path | None:
    """Rename a catalog and its journal to `<name>.corrupt.<UTC time>`; return the new name, None if nothing was there.

    Only the newest few are kept.
    """
    _prune(path)
    stamp = rfc3339(clock.wall_ns())[:19].replace("-", "").replace(":", "") + "Z"
    target = path.with_name(f"{path.name}.corrupt.{stamp}")
    number = 1
    while any(os.path.lexists(f"{target}{suffix}") for suffix in ("", *SIDE_FILES)):
        number += 1
        target = path.with_name(f"{path.name}.corrupt.{stamp}.{number}")
    moved = False
    # The journal first: were the database moved first and the power cut then, the journal would meet the next database.
    for suffix in (*SIDE_FILES, ""):
        source = path.with_name(path.name + suffix)
        try:
            rename_without_overwriting(source, target.with_name(target.name + suffix))
        except FileNotFoundError:
            continue
        moved = True
        sync_folder(path.parent)
    return target if moved else None


def _prune(path: Path) -> None:
    aside = sorted(
        (entry for entry in path.parent.glob(f"{path.name}.corrupt.*") if not entry.name.endswith(SIDE_FILES)),
        key=lambda entry: entry.name,
    )
    for old in aside[: max(0, len(aside) - KEPT_DAMAGED + 1)]:
        _discard(old)


def _discard(path: Path) -> None:
    with storage_errors(path):
        for suffix in (*SIDE_FILES, ""):
            try:
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            except IsADirectoryError:
                raise NameTakenError(f"{path} is a folder; remove it by hand", path=str(path)) from None

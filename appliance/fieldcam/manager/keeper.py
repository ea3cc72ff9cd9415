# SPDX-License-Identifier: MIT
"""Keeps one catalog open, whole and equal to its files, whatever happens to it.

The catalog is disposable: whatever is wrong with the file, it is moved aside and made again from the sidecars, while
the manager goes on answering. A place that is missing is tried again every second. Nothing here ends the process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fieldcam.catalog.connect import Cause, cause_of, needs_rebuild
from fieldcam.catalog.rebuild import Rebuild
from fieldcam.catalog.writer import CatalogWriter
from fieldcam.core.clock import Clock
from fieldcam.core.errors import CatalogError, CatalogTooNewError, CatalogUnavailableError, SharedVolumeError
from fieldcam.core.frame import Kind
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.manager.reconcile import Reconcile
from fieldcam.manager.sources import Sources
from fieldcam.store.volume import Volume, VolumeKind

_log = get_logger(__name__)
OK = "ok"
REBUILDING = "rebuilding"
# A larger file is not checked at every opening: reading all of it would hold up the announcements for seconds.
MAX_CHECKED_BYTES = 128 * 1024 * 1024
GIVE_UP_LOCK_SECONDS = 30.0
PROBE_SECONDS = 2.0
TOO_NEW_RETRY_SECONDS = 10.0
MAX_BACKOFF_SECONDS = 60.0
CALM_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Catalog:
    """Which catalog: its kind, its file, and the place it and its images are in."""

    kind: Kind
    path: Path
    root: Path
    volume_kind: VolumeKind


class Keeper:
    """Keeps one catalog.

    Args:
        catalog: which one.
        sources: where its images are.
        clock: time.
        want_thumbnail: see `Reconcile`.
        note: told (cause, details) of every recovery, for the record of events.
    """

    def __init__(
        self,
        catalog: Catalog,
        sources: Sources,
        clock: Clock,
        want_thumbnail: Callable[[str, str], bool],
        note: Callable[[str, dict[str, object]], None],
    ) -> None:
        self._catalog = catalog
        self._sources = sources
        self._clock = clock
        self._want_thumbnail = want_thumbnail
        self._note = note
        self._volume: Volume | None = None
        self._writer: CatalogWriter | None = None
        self._rebuild: Rebuild | None = None
        self._reconcile: Reconcile | None = None
        self._job: Iterator[object] | None = None
        self._waits = False
        self._again = False
        self._trouble_since: float | None = None
        self._next_probe = 0.0
        self._last_rebuild = float("-inf")
        self._backoff = 0.0
        self._bad_files = 0
        prefix = "LIVE_CATALOG" if catalog.kind == "live" else "CATALOG"
        self._place_log = StateLog(_log, "HANDOFF_UNAVAILABLE" if catalog.kind == "live" else "ARCHIVE_UNAVAILABLE")
        self._catalog_log = StateLog(_log, f"{prefix}_UNAVAILABLE")
        self._code = prefix

    @property
    def writer(self) -> CatalogWriter | None:
        """The open catalog, or None while it cannot be used."""
        return self._writer if self._trouble_since is None else None

    @property
    def place_state(self) -> str:
        """`ok`, or why the place cannot be used."""
        return self._place_log.reason or OK

    @property
    def state(self) -> str:
        """`ok`, `rebuilding`, or why the catalog cannot be used."""
        if self._rebuild is not None:
            return REBUILDING
        return self._place_log.reason or self._catalog_log.reason or (OK if self._writer else "not open yet")

    @property
    def volume(self) -> Volume | None:
        """The place, while it is there."""
        return self._volume

    @property
    def busy(self) -> bool:
        """Whether `work` has something to do at once."""
        return self._job is not None and not self._waits

    def tick(self) -> None:
        """Look whether everything is as it was; mend what is not. Called about once a second."""
        try:
            volume = self._volume or Volume.open(self._catalog.root, self._catalog.volume_kind)
            volume.check()
        except SharedVolumeError as error:
            self._lose_place(error.message)
            return
        self._volume = volume
        self._place_log.healed("the place is there again")
        if self._rebuild is not None:
            return
        now = self._now()
        if self._writer is None:
            if now >= self._next_probe:
                self._open()
        elif self._trouble_since is not None:
            if now >= self._next_probe:
                self._probe(self._writer)
        elif self._writer.changed_by_others():
            self._reopen()

    def work(self) -> None:
        """Do one step of rebuilding or reconciling."""
        if self._job is None:
            return
        try:
            if self._volume is not None and self._rebuild is not None:
                self._volume.check()
            step = next(self._job)
            self._waits = self._reconcile is not None and step is True
        except StopIteration:
            self._finish_job()
        except CatalogError as error:
            self._drop_job()
            self.failed(error)
        except (SharedVolumeError, OSError) as error:
            self._drop_job()
            self._close_writer()
            self._wait(str(error))

    def reconcile(self) -> None:
        """Compare the catalog with its files, soon."""
        self._again = True
        self._start_reconcile()

    def failed(self, error: CatalogError) -> None:
        """Note that an operation on the catalog failed."""
        cause = cause_of(error)
        if cause is Cause.CONFLICT:
            return  # of one row with another; the catalog itself is well
        if cause is Cause.CHANGED:
            self._reopen()
        elif needs_rebuild(error):
            self._start_rebuild(error.message)
        else:
            self._note_trouble(error.message, may_give_up=cause in {Cause.LOCKED, Cause.IO})

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._drop_job()
        self._close_writer()

    def _now(self) -> float:
        return self._clock.boottime_ns() / 1e9

    def _open(self) -> None:
        path = self._catalog.path
        try:
            if not path.exists():
                raise CatalogUnavailableError(f"{path.name} is missing", cause=Cause.MISSING.value)
            writer = CatalogWriter.open(path, self._catalog.kind, self._clock)
            try:
                self._check(writer)
            except BaseException:
                writer.close()
                raise
        except CatalogTooNewError as error:
            if self._catalog.kind == "live":
                self._start_rebuild(error.message)  # a cache: made again by whichever release runs
            else:
                self._wait(error.message, TOO_NEW_RETRY_SECONDS)
            return
        except CatalogError as error:
            self.failed(error)
            return
        except (SharedVolumeError, OSError) as error:
            self._wait(str(error))
            return
        self._writer = writer
        self._trouble_since = None
        self._catalog_log.healed("the catalog is in use")
        self._again = True
        self._start_reconcile()

    def _check(self, writer: CatalogWriter) -> None:
        if writer.path.stat().st_size > MAX_CHECKED_BYTES:
            return
        if (problem := writer.check_structure()) is not None:
            raise CatalogError(f"{writer.path.name} is damaged: {problem}", cause=Cause.DAMAGED.value)

    def _reopen(self) -> None:
        self._drop_job()
        self._close_writer()
        self._trouble_since = None
        self._next_probe = 0.0
        if self._volume is not None:
            self._open()

    def _probe(self, writer: CatalogWriter) -> None:
        try:
            writer.probe()
        except CatalogError as error:
            self.failed(error)
            return
        self._trouble_since = None
        self._catalog_log.healed("the catalog can be written again")
        self.reconcile()

    def _note_trouble(self, reason: str, *, may_give_up: bool) -> None:
        now = self._now()
        self._catalog_log.broken(reason)
        if self._trouble_since is None:
            self._trouble_since = now
        self._next_probe = now + PROBE_SECONDS
        if may_give_up and now - self._trouble_since >= GIVE_UP_LOCK_SECONDS:
            self._start_rebuild(f"{reason}, for {GIVE_UP_LOCK_SECONDS:g} s")

    def _wait(self, reason: str, seconds: float = PROBE_SECONDS) -> None:
        self._catalog_log.broken(reason)
        self._next_probe = self._now() + seconds

    def _start_rebuild(self, reason: str) -> None:
        self._drop_job()
        self._close_writer()
        self._trouble_since = None
        now = self._now()
        calm = now - self._last_rebuild > CALM_SECONDS
        self._backoff = 0.0 if calm else self._backoff
        if now < self._last_rebuild + self._backoff:
            self._wait(reason, self._last_rebuild + self._backoff - now)
            return
        self._last_rebuild = now
        self._backoff = min(MAX_BACKOFF_SECONDS, max(1.0, 2 * self._backoff))
        # A first start finds nothing, and that is no trouble.
        level = logging.INFO if not self._catalog.path.exists() else logging.WARNING
        _log.event(level, f"{self._code}_REBUILD", f"{reason}; it is made again from the sidecars")
        self._rebuild = Rebuild(
            self._catalog.path,
            self._catalog.kind,
            self._clock,
            self._sources.frames(self._catalog.kind),
            self._sources.thumbnail_of,
            keep_old=self._catalog.kind == "capture",
            processed=self._sources.results(),
        )
        self._job = self._rebuild.steps()

    def _start_reconcile(self) -> None:
        if self._job is not None or self._writer is None or self._volume is None or self._trouble_since is not None:
            return
        self._again = False
        self._reconcile = Reconcile(self._writer, self._volume, self._sources, self._catalog.kind, self._want_thumbnail)
        self._job = self._reconcile.steps()

    def _finish_job(self) -> None:
        rebuild, reconcile = self._rebuild, self._reconcile
        self._drop_job()
        if rebuild is not None:
            report = rebuild.report
            aside = report.moved_aside.name if report.moved_aside else None
            _log.event(
                logging.INFO,
                f"{self._code}_REBUILT",
                "the catalog was made again from the sidecars",
                rows=report.recorded,
                damaged=report.damaged,
                results=report.results,
                aside=aside,
            )
            if aside is not None or report.recorded:
                counts = {"rows": report.recorded, "damaged": report.damaged, "results": report.results}
                self._note("catalog_rebuilt", {**counts, "aside": aside})
            self._open()  # reconciles: frames may have come while the sidecars were read
        elif reconcile is not None:
            self._tell(reconcile)
            if self._again:
                self._start_reconcile()

    def _tell(self, reconcile: Reconcile) -> None:
        result = reconcile.result
        if (result.added or result.removed) and self._catalog.kind == "capture":
            _log.event(
                logging.INFO,
                f"{self._code}_RECONCILED",
                "the catalog was made equal to the files",
                added=result.added,
                removed=result.removed,
            )
        if result.found.damaged != self._bad_files:
            self._bad_files = result.found.damaged
            for problem in result.found.problems[:10]:
                _log.event(logging.WARNING, "SIDECAR_DAMAGED", problem)

    def _lose_place(self, reason: str) -> None:
        self._drop_job()
        self._close_writer()
        self._trouble_since = None
        self._volume = None
        self._next_probe = 0.0
        self._place_log.broken(reason)

    def _drop_job(self) -> None:
        job, self._job = self._job, None
        self._waits = False
        self._rebuild = self._reconcile = None
        close = getattr(job, "close", None)
        if close is not None:
            try:
                close()  # a generator: removes its temporary file
            except (CatalogError, SharedVolumeError, OSError) as error:
                _log.event(logging.WARNING, f"{self._code}_LEFTOVER", str(error))

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

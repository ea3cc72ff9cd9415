# SPDX-License-Identifier: MIT
"""Cleaning up: gathers the facts, asks `policy`, lets `store.remover` do it, and tells the catalog."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fieldcam.catalog.image_row import ImageRow
from fieldcam.catalog.reader import CatalogReader, Cursor
from fieldcam.core import names
from fieldcam.core.clock import Clock, Instant, is_clock_synchronized, rfc3339
from fieldcam.core.config import Config
from fieldcam.core.errors import CatalogError, ImageNotFoundError, SharedVolumeError
from fieldcam.core.heartbeat import MAX_BEAT_AGE_SECONDS, read_heartbeat
from fieldcam.core.layout import CameraPaths
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.core.ownership import is_owned
from fieldcam.manager import policy
from fieldcam.manager.policy import CaptureFact, LiveFact
from fieldcam.manager.sources import Sources
from fieldcam.store.reader import SIDECAR_SUFFIX, iter_frames, read_sidecar
from fieldcam.store.remover import PIN_SUFFIX, Removed, Remover
from fieldcam.store.volume import Volume

_log = get_logger(__name__)
CHUNK = 500
MAX_CAPTURES_PER_PASS = 2000
MEGABYTE = 1_000_000


@dataclass(slots=True)
class CleanupResult:
    """What a cleanup did; `space_freed_mb` is whole megabytes (10^6 bytes).

    Attributes:
        refused: what was not done, and why.
        removed: names of removed images, per kind and camera, for the catalog.
    """

    images_removed: int = 0
    metadata_removed: int = 0
    bytes_freed: int = 0
    refused: list[str] = field(default_factory=list)
    removed: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    @property
    def space_freed_mb(self) -> int:
        """Space freed in whole megabytes."""
        return self.bytes_freed // MEGABYTE

    def as_dict(self) -> dict[str, int]:
        """Return the documented answer."""
        return {
            "images_removed": self.images_removed,
            "metadata_removed": self.metadata_removed,
            "space_freed_mb": self.space_freed_mb,
        }

    def add(self, kind: str, camera: str, removed: Removed) -> None:
        """Count what was removed."""
        self.images_removed += len(removed.images)
        self.metadata_removed += removed.sidecars
        self.bytes_freed += removed.bytes
        if removed.images:
            self.removed.setdefault((kind, camera), []).extend(removed.images)


class Cleaner:
    """Cleans both places of an appliance.

    Args:
        config: its limits.
        sources: its folders.
        clock: time.
    """

    def __init__(self, config: Config, sources: Sources, clock: Clock) -> None:
        self._config = config
        self._sources = sources
        self._clock = clock
        self._catalog = CatalogReader(sources.layout.catalog, "capture", busy_seconds=0.5)
        self._logs: dict[str, StateLog] = {}

    def run(self) -> CleanupResult:
        """Clean up; what cannot be done now is told in `refused` and done another time."""
        result = CleanupResult()
        for name, clean in (("live", self._clean_live), ("captures", self._clean_captures)):
            try:
                clean(result)
            except (SharedVolumeError, CatalogError, OSError) as error:
                self._refuse(result, name, str(error))
        if result.images_removed or result.metadata_removed:
            _log.event(logging.INFO, "CLEANED_UP", "cleanup removed files", **result.as_dict())
        return result

    def _refuse(self, result: CleanupResult, what: str, reason: str) -> None:
        result.refused.append(f"{what}: {reason}")
        self._logs.setdefault(what, StateLog(_log, "CLEANUP_REFUSED", what=what)).broken(reason)

    def _done(self, what: str) -> None:
        if what in self._logs:
            self._logs[what].healed("cleanup is possible again")

    # --- live/ ---------------------------------------------------------------------------------------------------

    def _clean_live(self, result: CleanupResult) -> None:
        remover = Remover(Volume.open(self._config.capture_dir, "handoff"), durable=False)
        for camera in self._sources.cameras("live"):
            paths = self._sources.layout.camera(camera)
            if not paths.metadata.is_dir() or not paths.live.is_dir():
                continue
            away = not self._capture_runs(paths)
            if away:
                self._shrink_live(result, remover, camera, paths)
                for folder in (paths.live, paths.metadata):
                    result.add("live", camera, remover.remove_leftovers(folder))
            result.add("live", camera, remover.remove_sidecars(paths.live, paths.metadata, self._orphans(paths)))
        self._done("live")

    def _shrink_live(self, result: CleanupResult, remover: Remover, camera: str, paths: CameraPaths) -> None:
        facts = list(self._live_facts(paths))
        decision = policy.live_beyond_limit(facts, max_images=self._config.max_images)
        what = f"live frames of camera {camera}"
        if decision.refused:
            self._refuse(result, what, decision.refused)
            return
        self._done(what)
        result.add("live", camera, remover.remove_frames(paths.live, paths.metadata, decision.remove))

    def _live_facts(self, paths: CameraPaths) -> Iterator[LiveFact]:
        now = Instant.now(self._clock)
        for frame in iter_frames(paths.live, paths.metadata):
            try:
                sidecar = frame.read_sidecar()
            except ImageNotFoundError:
                yield LiveFact(frame.stem, (False, 0, frame.name.wall_ms), None)
                continue
            same_boot = sidecar.boot_id == now.boot_id
            yield LiveFact(
                frame.stem,
                (same_boot, sidecar.sequence if same_boot else 0, frame.name.wall_ms),
                policy.least_age_of(sidecar.exposed_at, now),
                (paths.live / (frame.stem + PIN_SUFFIX)).exists(),
            )

    def _orphans(self, paths: CameraPaths) -> Iterator[str]:
        """Yield stems of sidecars in metadata/ that are surely no frame being published just now."""
        now = Instant.now(self._clock)
        for path in paths.metadata.glob(f"{names.PREFIX}_*{SIDECAR_SUFFIX}"):
            if (paths.live / f"{path.stem}.jpg").exists():
                continue
            if policy.is_settled(self._sidecar_age(path, now)):
                yield path.stem

    def _sidecar_age(self, path: Path, now: Instant) -> float | None:
        try:
            return policy.least_age_of(read_sidecar(path).exposed_at, now)
        except ImageNotFoundError:
            pass
        try:
            # Damaged, so only the file system knows; a time in the future says nothing.
            return now.wall_ns / 1e9 - path.lstat().st_ctime
        except OSError:
            return None

    def _capture_runs(self, paths: CameraPaths) -> bool:
        # The heartbeat first: asking the lock takes it for an instant, which a starting process could run into.
        beat = read_heartbeat(paths.heartbeat)
        if beat is not None and beat.age_seconds(Instant.now(self._clock)) <= MAX_BEAT_AGE_SECONDS:
            return True
        return is_owned(paths.owner_lock)

    # --- captures/ -----------------------------------------------------------------------------------------------

    def _clean_captures(self, result: CleanupResult) -> None:
        hours = self._config.max_capture_age_hours
        if hours is None:
            self._done("captures")
            return
        if self._config.clock_trust != "assume" and not is_clock_synchronized():
            self._refuse(result, "captures", "the clock is not synchronised, so no age is certain")
            return
        remover = Remover(Volume.open(self._config.archive_dir, "archive"), durable=True)
        for camera in self._sources.cameras("capture"):
            self._clean_captures_of(result, remover, camera, hours * 3600)
        self._done("captures")

    def _clean_captures_of(self, result: CleanupResult, remover: Remover, camera: str, max_age: float) -> None:
        paths = self._sources.layout.camera(camera)
        now = Instant.now(self._clock)
        before = rfc3339(now.wall_ns - int(max_age * 1e9))
        total = next((entry.images for entry in self._catalog.totals() if entry.camera == camera), 0)
        expired = self._catalog.count_before(camera, before)
        newest = frozenset(self._catalog.newest_ids(camera, policy.KEEP_NEWEST))
        what = f"captures of camera {camera}"
        removed = 0
        for rows in self._expired(camera, before):
            facts = [self._fact(row, paths, now) for row in rows]
            decision = policy.captures_too_old(
                facts, max_age_seconds=max_age, newest_ids=newest, total=total, expired=expired
            )
            if decision.refused:
                self._refuse(result, what, decision.refused)
                return
            stems = decision.remove[: MAX_CAPTURES_PER_PASS - removed]
            done = remover.remove_frames(paths.captures, paths.captures, stems, paths.thumbnails)
            result.add("capture", camera, done)
            removed += len(done.images)
            if removed >= MAX_CAPTURES_PER_PASS:
                break
        self._done(what)

    def _expired(self, camera: str, before: str) -> Iterator[list[ImageRow]]:
        cursor: Cursor | None = None
        while rows := self._catalog.oldest(camera, before, after=cursor, limit=CHUNK):
            cursor = Cursor(rows[-1].captured_at, rows[-1].id)
            yield rows

    def _fact(self, row: ImageRow, paths: CameraPaths, now: Instant) -> CaptureFact:
        stem = row.filename.removesuffix(".jpg")
        moment = Instant(row.boot_id, row.monotonic_ns, round(float(row.metadata.get("timestamp") or 0) * 1e9))
        trusted = row.metadata.get("time_quality") in policy.TRUSTED_TIME
        age = policy.age_of(moment, now, wall_times_trusted=trusted)
        return CaptureFact(stem, row.id, age, (paths.captures / (stem + PIN_SUFFIX)).exists())


def as_event(result: CleanupResult) -> dict[str, Any]:
    """Return a cleanup as it is kept in the record of events: counts, and the first names."""
    facts = asdict(result)
    facts["removed"] = {f"{kind}/{camera}": names_[:10] for (kind, camera), names_ in result.removed.items()}
    return facts

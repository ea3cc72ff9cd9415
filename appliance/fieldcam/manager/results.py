# SPDX-License-Identifier: MIT
"""Taking results out of the folders of consumers: each gets one row and one file in `processed/`, whatever happens.

A sweep is: read what waits, write all rows in one transaction, then for each result put its file into `processed/`,
acknowledge the capture it is about, and only then remove the source. Killed anywhere, the next sweep finds the source
again and does the same: the key of the row, the name in `processed/` and the marker of the capture say what is done
already. So no step has to know how far the one before came.

Whatever a consumer does costs itself only: what is no result is put aside, a flood is taken a bounded number at a time
with a fair share for each consumer, and what waits beyond its bound is dropped, oldest first. While the catalog or a
place is away results wait where they are.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from fieldcam.catalog.result_rows import RecordedResult
from fieldcam.core.clock import Clock
from fieldcam.core.config import Config
from fieldcam.core.errors import CatalogError, SharedVolumeError
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.core.result import MAX_KEPT_BYTES, MAX_WAITING, Result
from fieldcam.manager.acknowledgements import acknowledge, with_capture
from fieldcam.manager.keeper import OK, Keeper
from fieldcam.manager.processed import Processed
from fieldcam.manager.result_folders import FoundResult, RejectedError, ResultFolder, opened, services_in
from fieldcam.manager.sources import Sources

_log = get_logger(__name__)
# Every sweep that finds something is one transaction, and transactions are what wears an SD card.
SWEEP_SECONDS = 10.0
MAX_PER_SWEEP = 200
MAX_BYTES_PER_SWEEP = 2 * 1024 * 1024
STEP_SECONDS = 0.05  # so long one step may keep an announcement waiting
# A file that can be neither read nor removed is passed over, and tried again after so long.
STUCK_SECONDS = 600.0
MAX_STUCK = 1000
_FILLED_IN_BYTES = 512

Steps = Generator[None, None, None]


@dataclass(slots=True)
class ResultCounts:
    """What was done since the manager started: results taken, put aside, dropped; captures acknowledged."""

    taken: int = 0
    rejected: int = 0
    dropped: int = 0
    acknowledged: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """A result to be recorded, the open folder its file is in, and the file name of the capture it is about."""

    folder: ResultFolder
    found: FoundResult
    result: Result
    capture: str | None


class _Logs:
    """What is told of one consumer, once when it begins and once when it ends."""

    def __init__(self, service: str) -> None:
        self.wait = StateLog(_log, "RESULTS_WAIT", service=service)
        self.rejected = StateLog(_log, "RESULTS_REJECTED", service=service)
        self.dropped = StateLog(_log, "RESULTS_DROPPED", service=service)


class ResultSweeper:
    """Takes results, in small steps between requests.

    Args:
        config: of the appliance.
        sources: its folders.
        clock: time.
        captures, live: the keepers of `catalog.db` and of the hand-off area.
    """

    def __init__(self, config: Config, sources: Sources, clock: Clock, *, captures: Keeper, live: Keeper) -> None:
        self._config = config
        self._sources = sources
        self._clock = clock
        self._captures = captures
        self._live = live
        self._processed = Processed(sources.layout, durable=config.live_backing == "storage")
        self._job: Steps | None = None
        self._next_sweep = 0.0
        self._was_ready = False
        self._step_began = 0.0
        self._stuck: dict[str, dict[str, float]] = {}
        self._logs: dict[str, _Logs] = {}
        self._trouble = StateLog(_log, "RESULTS_WAIT")
        self.counts = ResultCounts()

    @property
    def busy(self) -> bool:
        """Whether `work` has something to do at once."""
        return self._job is not None

    def tick(self) -> None:
        """Begin a sweep when it is time. Called about once a second."""
        ready = self._ready()
        came_back, self._was_ready = ready and not self._was_ready, ready
        now = self._now()
        if self._job is None and (now >= self._next_sweep or came_back):
            self._next_sweep = now + SWEEP_SECONDS
            self._job = self._sweep()

    def work(self) -> None:
        """Do one step of the sweep under way."""
        if self._job is None:
            return
        self._step_began = self._now()
        try:
            next(self._job)
        except StopIteration:
            self._job = None
        except CatalogError as error:
            self._job = None
            self._captures.failed(error)
        except (SharedVolumeError, OSError) as error:
            self._job = None
            self._processed.forget()
            self._trouble.broken(f"results wait where they are: {error}")
        except BaseException:
            self._job = None
            raise

    def close(self) -> None:
        """Leave the sweep under way where it is; the next manager goes on. Idempotent."""
        job, self._job = self._job, None
        if job is not None:
            job.close()

    # --- the steps -----------------------------------------------------------------------------------------------

    def _sweep(self) -> Steps:
        with ExitStack() as open_folders:
            waiting = []
            for service in services_in(self._sources.layout.results_dir):
                folder, names = self._look(service, open_folders)
                if folder is not None:
                    yield from self._drop_surplus(folder, names)
                    waiting.append((folder, names))
            # Not ready: all that is done is to keep what waits within its bound.
            if self._ready():
                taken = yield from self._read(waiting)
                if taken:
                    yield from self._keep(taken)
                self._trouble.healed("results are taken again")

    def _look(self, service: str, open_folders: ExitStack) -> tuple[ResultFolder | None, list[str]]:
        """Open the folder of a consumer and list it."""
        logs = self._logs_of(service)
        try:
            folder = open_folders.enter_context(opened(self._sources.layout.results_dir, service))
            names = folder.names()
        except OSError as error:
            logs.wait.broken(f"the folder cannot be read: {error.strerror}")
            return None, []
        if not folder.is_writable():
            # What cannot be removed would be found again for ever.
            logs.wait.broken("the manager may not take results away: the folder must be writable for its group")
            return None, []
        now = self._now()
        stuck = {name: until for name, until in self._stuck.pop(service, {}).items() if now < until}
        if not stuck:
            logs.wait.healed("the folder can be used again")
            return folder, names
        self._stuck[service] = stuck
        return folder, [name for name in names if name not in stuck]

    def _drop_surplus(self, folder: ResultFolder, names: list[str]) -> Steps:
        surplus = len(names) - MAX_WAITING
        logs = self._logs_of(folder.service)
        if surplus <= 0:
            logs.dropped.healed(f"no more are dropped; {self.counts.dropped} were until now")
            return
        logs.dropped.broken(f"more than {MAX_WAITING} results wait: the oldest are removed unread")
        for name in names[:surplus]:
            try:
                folder.drop(name)
            except OSError as error:
                self._is_stuck(folder, name, error)
                continue
            self.counts.dropped += 1
            if self._step_is_over():
                yield
        del names[:surplus]

    def _read(self, waiting: list[tuple[ResultFolder, list[str]]]) -> Generator[None, None, list[Taken]]:
        taken: list[Taken] = []
        cameras = {*self._sources.cameras("live"), *self._sources.cameras("capture")}
        shares = fair_shares([len(names) for _, names in waiting], MAX_PER_SWEEP)
        for (folder, names), share in zip(waiting, shares, strict=True):
            bytes_left = MAX_BYTES_PER_SWEEP // len(waiting)
            rejected = 0
            for name in names[:share]:
                if bytes_left <= 0:
                    break
                try:
                    one = self._take(folder, name, cameras)
                except RejectedError as error:
                    rejected += 1
                    self._put_aside(folder, name, str(error))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    self._is_stuck(folder, name, error)
                else:
                    taken.append(one)
                    bytes_left -= one.found.identity.size
                if self._step_is_over():
                    yield
            if rejected:
                folder.prune_rejected()
            elif share:
                self._logs_of(folder.service).rejected.healed("what is found are results again")
        return taken

    def _keep(self, taken: list[Taken]) -> Steps:
        writer = self._captures.writer
        if writer is None:
            return
        recorded = writer.record_results([one.result for one in taken])
        self._check_places()
        for one, done in zip(taken, recorded, strict=True):
            self._finish(one, done)
            if self._step_is_over():
                yield
                # A catalog that is made again takes its results from the old one and from processed/: a source that
                # was removed in between could be in neither.
                if not self._ready():
                    return
                self._check_places()

    def _take(self, folder: ResultFolder, name: str, cameras: set[str]) -> Taken:
        """Read one result and find out what it is about.

        Raises:
            RejectedError: it is none.
            OSError: it cannot be read now.
        """
        found = folder.read(name)
        camera = found.result.camera or self._sources.layout.default_camera
        # Every camera that is named makes folders.
        if camera not in cameras:
            raise RejectedError(f"there is no camera {camera}")
        try:
            result, capture = with_capture(replace(found.result, camera=camera), camera, self._sources)
        except ValueError as error:
            raise RejectedError(str(error)) from None
        if len(result.to_json()) > MAX_KEPT_BYTES - _FILLED_IN_BYTES:
            raise RejectedError("too large")  # written as JSON by us; a consumer may have written 1e9 for 1000000000.0
        return Taken(folder, found, result, capture)

    def _finish(self, one: Taken, done: RecordedResult) -> None:
        camera = str(done.row.result.camera)
        self._processed.put(camera, done.row)
        capture = done.capture or one.capture
        if capture is not None:
            self.counts.acknowledged += acknowledge(camera, capture, self._sources)
        try:
            one.folder.remove(one.found)
        except OSError as error:
            self._is_stuck(one.folder, one.found.name, error)
        self.counts.taken += 1

    # --- what stands in the way ----------------------------------------------------------------------------------

    def _put_aside(self, folder: ResultFolder, name: str, reason: str) -> None:
        self.counts.rejected += 1
        self._logs_of(folder.service).rejected.broken(f"{name} is no result and is put aside: {reason}")
        try:
            folder.put_aside(name)
        except OSError as error:
            self._is_stuck(folder, name, error)

    def _is_stuck(self, folder: ResultFolder, name: str, error: OSError) -> None:
        """Pass a file over for a while; what can be neither read nor removed must not be in the way of the others."""
        names = self._stuck.setdefault(folder.service, {})
        if len(names) < MAX_STUCK:
            names[name] = self._now() + STUCK_SECONDS
        self._logs_of(folder.service).wait.broken(f"{name} cannot be taken: {error.strerror}")

    def _check_places(self) -> None:
        for keeper in (self._captures, self._live):
            if keeper.volume is not None:
                keeper.volume.check()

    def _ready(self) -> bool:
        return self._captures.writer is not None and self._live.volume is not None and self._live.place_state == OK

    def _step_is_over(self) -> bool:
        return self._now() - self._step_began >= STEP_SECONDS

    def _now(self) -> float:
        return self._clock.boottime_ns() / 1e9

    def _logs_of(self, service: str) -> _Logs:
        return self._logs.setdefault(service, _Logs(service))


def fair_shares(waiting: Sequence[int], total: int) -> list[int]:
    """Share `total` out: nobody gets more than waits for him, and who gets less than another has nothing left."""
    shares = [0] * len(waiting)
    left = total
    for position, index in enumerate(sorted(range(len(waiting)), key=waiting.__getitem__)):
        shares[index] = min(waiting[index], left // (len(waiting) - position))
        left -= shares[index]
    return shares

# SPDX-License-Identifier: MIT
"""The manager process: the only writer of the catalog, and the only one that removes captures.

One thread does everything that touches a database: it answers a request, does one step of work that is pending
(rebuilding, reconciling, taking results of consumers), and once a second looks after the places and says that it lives.
A RECORD that comes while the catalog cannot be used is answered `recorded: false` at once, so that no capture waits;
its row follows, because reconciling comes after every repair. Thumbnails are made in a thread of their own.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fieldcam.control import protocol
from fieldcam.control.server import Server
from fieldcam.core import names
from fieldcam.core.clock import Clock, rfc3339
from fieldcam.core.config import Config
from fieldcam.core.durable import OWN_FOLDER_MODE, make_folder
from fieldcam.core.errors import CatalogError, FieldcamError, RequestInvalidError, SharedVolumeError
from fieldcam.core.frame import Kind, Sidecar
from fieldcam.core.health import Reason
from fieldcam.core.heartbeat import ErrorNote
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.core.manager_heartbeat import ManagerHeartbeat, write_manager_heartbeat
from fieldcam.core.ownership import owned
from fieldcam.manager.cleanup import Cleaner, CleanupResult, as_event
from fieldcam.manager.event_store import Event, EventStore
from fieldcam.manager.keeper import OK, Catalog, Keeper
from fieldcam.manager.probes import Probes, in_words
from fieldcam.manager.results import ResultSweeper
from fieldcam.manager.sources import Sources
from fieldcam.manager.thumbnails import Thumbnailer

_log = get_logger(__name__)
BEAT_SECONDS = 1.0
CAPTURES_RECONCILE_SECONDS = 6 * 3600.0
MAX_NAMES = 10_000

Result = dict[str, Any]


class Manager:
    """Looks after the places of one appliance until `stop` is called.

    Args:
        config: of the appliance.
        clock: time.
    """

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._layout = config.layout
        self._sources = Sources(self._layout, config.all_cameras)
        self._stop = threading.Event()
        self._server: Server | None = None
        self._events = EventStore(self._layout.events, clock)
        self._probes = Probes(config, self._sources, clock)
        self._cleaner = Cleaner(config, self._sources, clock)
        self._thumbnailer: Thumbnailer | None = None
        self._keepers: dict[Kind, Keeper] = {
            "capture": self._keeper(Catalog("capture", self._layout.catalog, self._layout.archive_dir, "archive")),
            "live": self._keeper(Catalog("live", self._layout.live_catalog, self._layout.capture_dir, "handoff")),
        }
        self._results = ResultSweeper(
            config, self._sources, clock, captures=self._keepers["capture"], live=self._keepers["live"]
        )
        self._reason_logs: dict[tuple[str, str | None], StateLog] = {}
        self._beat_log = StateLog(_log, "HEARTBEAT_FAILED")
        self._started_ns = clock.boottime_ns()
        self._state = "starting"
        self._alerts: tuple[str, ...] = ()
        self._last_cleanup: CleanupResult | None = None
        self._last_error: ErrorNote | None = None

    def run(self) -> None:
        """Run until stopped.

        Raises:
            CameraInUseError: another manager looks after these places.
        """
        with owned(self._layout.manager_lock, f"the catalog of {self._layout.archive_dir}"):
            handlers = {
                protocol.RECORD: self._record,
                protocol.REMOVED: self._removed,
                protocol.EVENT: self._event,
                protocol.CLEAN_UP: lambda _args: self._clean_up().as_dict(),
                protocol.SYSTEM_STATUS: lambda _args: self._probes.status(self._reasons()).as_dict(),
                protocol.STATUS: lambda _args: asdict(self._heartbeat()),
            }
            make_folder(self._layout.manager_socket.parent, OWN_FOLDER_MODE)
            with Server(self._layout.manager_socket, handlers) as server:
                self._server = server
                self._thumbnailer = Thumbnailer(self._sources, server.wake)
                _log.event(logging.INFO, "MANAGER_STARTED", "manager process started", pid=os.getpid())
                self._note_event("process_started", "", {"process": "image-sync-manager", "pid": os.getpid()})
                try:
                    self._loop(server)
                finally:
                    self._server = None
                    self._close()

    def stop(self) -> None:
        """End `run` after the step under way; may be called from a signal handler or another thread."""
        self._stop.set()
        if (server := self._server) is not None:
            server.wake()

    def _loop(self, server: Server) -> None:
        next_beat = 0.0
        next_check = self._now()
        next_cleanup = self._now() + self._config.cleanup_interval
        next_reconcile = self._now() + CAPTURES_RECONCILE_SECONDS
        while not self._stop.is_set():
            now = self._now()
            if now >= next_beat:
                next_beat = now + BEAT_SECONDS
                self._tick()
            if now >= next_check:
                next_check = now + self._config.check_interval
                self._guarded("check", self._check)
            if now >= next_cleanup:
                next_cleanup = now + self._config.cleanup_interval
                self._guarded("cleanup", self._clean_up)
            if now >= next_reconcile:
                next_reconcile = now + CAPTURES_RECONCILE_SECONDS
                self._keepers["capture"].reconcile()
            busy = False
            for keeper in self._keepers.values():
                keeper.work()
                busy |= keeper.busy
            self._guarded("results", self._results.work)
            busy |= self._results.busy
            self._take_thumbnails()
            server.step(0.0 if busy else max(0.0, min(next_beat, next_check, next_cleanup) - self._now()))

    def _tick(self) -> None:
        for keeper in self._keepers.values():
            self._guarded(f"keeper {keeper.state}", keeper.tick)
        self._results.tick()
        if self._state == "starting":
            self._state = "running"
        self._beat()

    def _guarded(self, what: str, action: Any) -> None:
        """Do something whose failure must not end the process: it would come back to the same failure for ever."""
        try:
            action()
        except FieldcamError as error:
            self._failed(error.code, f"{what}: {error.message}")
        except (OSError, ValueError) as error:
            self._failed("MANAGER_STEP_FAILED", f"{what}: {type(error).__name__}: {error}")

    def _failed(self, code: str, message: str) -> None:
        if self._last_error is None or (self._last_error.code, self._last_error.message) != (code, message):
            _log.event(logging.ERROR, code, message)
        self._last_error = ErrorNote(code, message, rfc3339(self._clock.wall_ns()))

    def _close(self) -> None:
        if self._thumbnailer is not None:
            self._thumbnailer.close()
            self._take_thumbnails()
        self._results.close()
        for keeper in self._keepers.values():
            keeper.close()
        self._events.close()
        self._state = "stopped"
        self._beat()
        _log.event(logging.INFO, "MANAGER_STOPPED", "manager process stopped")

    def _now(self) -> float:
        return self._clock.boottime_ns() / 1e9

    # --- requests ------------------------------------------------------------------------------------------------

    def _record(self, args: Mapping[str, Any]) -> Result:
        sidecar = self._announced(args)
        keeper = self._keepers[sidecar.kind]
        writer = keeper.writer
        if writer is None:
            return {"recorded": False}
        try:
            row_id = writer.record(sidecar)
        except ValueError as error:
            raise RequestInvalidError(f"sidecar of {sidecar.filename}: {error}") from None
        except CatalogError as error:
            keeper.failed(error)
            self._last_error = ErrorNote(error.code, error.message, rfc3339(self._clock.wall_ns()))
            return {"recorded": False}
        if sidecar.kind == "capture":
            self._want_thumbnail(sidecar.camera, sidecar.filename)
        return {"recorded": True, "id": row_id}

    def _announced(self, args: Mapping[str, Any]) -> Sidecar:
        """Return the sidecar of an announcement that speaks of a file where it belongs."""
        try:
            sidecar = Sidecar.from_dict(args.get("sidecar") or {})
        except ValueError as error:
            raise RequestInvalidError(f"sidecar: {error}") from None
        if sidecar.kind not in self._keepers or names.CAMERA_NAME.fullmatch(str(sidecar.camera)) is None:
            raise RequestInvalidError(f"sidecar speaks of kind {sidecar.kind!r} and camera {sidecar.camera!r}")
        expected = self._sources.image(sidecar.camera, str(sidecar.filename), sidecar.kind)
        if args.get("path") != str(expected):
            raise RequestInvalidError(f"path is {args.get('path')!r}, but this image belongs at {expected}")
        return sidecar

    def _removed(self, args: Mapping[str, Any]) -> Result:
        camera, filenames = args.get("camera"), args.get("filenames")
        if not isinstance(camera, str) or not isinstance(filenames, list) or len(filenames) > MAX_NAMES:
            raise RequestInvalidError("camera is a name and filenames a list")
        self._mark_removed("live", camera, [name for name in filenames if isinstance(name, str)])
        return {}

    def _event(self, args: Mapping[str, Any]) -> Result:
        return {"recorded": self._events.add(Event.from_message(args))}

    def _clean_up(self) -> CleanupResult:
        result = self._cleaner.run()
        for (kind, camera), filenames in result.removed.items():
            self._mark_removed("live" if kind == "live" else "capture", camera, filenames)
        self._last_cleanup = result
        if result.images_removed:
            self._note_event("deletion", "cleanup", as_event(result))
        return result

    def _mark_removed(self, kind: Kind, camera: str, filenames: list[str]) -> None:
        keeper = self._keepers[kind]
        if filenames and (writer := keeper.writer) is not None:
            try:
                writer.mark_removed(camera, filenames)
            except CatalogError as error:
                keeper.failed(error)  # reconciling, which follows, finds that they are gone

    # --- thumbnails ----------------------------------------------------------------------------------------------

    def _want_thumbnail(self, camera: str, filename: str) -> bool:
        return self._thumbnailer is None or self._thumbnailer.want(camera, filename)

    def _take_thumbnails(self) -> None:
        keeper = self._keepers["capture"]
        if self._thumbnailer is None or (writer := keeper.writer) is None:
            return
        if made := self._thumbnailer.take_made():
            try:
                writer.set_thumbnails(made)
            except CatalogError as error:
                keeper.failed(error)

    # --- what it says of itself ----------------------------------------------------------------------------------

    def _check(self) -> None:
        """Look around; log what changed. Live frames deleted by hand lose their rows here."""
        own = self._reasons()
        reasons = self._probes.look(own).health.reasons
        self._alerts = tuple(in_words(reason) for reason in reasons)
        # What the manager itself ran into was logged where it happened.
        seen = {_subject(reason): reason for reason in reasons if reason not in own}
        for key, reason in seen.items():
            fields = {"camera": reason.camera} if reason.camera else {}
            self._reason_logs.setdefault(key, StateLog(_log, reason.code, **fields)).broken(reason.message)
        for key, log in self._reason_logs.items():
            if key not in seen:
                log.healed()
        self._keepers["live"].reconcile()

    def _reasons(self) -> list[Reason]:
        """Return what the manager knows to be wrong."""
        captures, live = self._keepers["capture"], self._keepers["live"]
        reasons = []
        for code, keeper in (("ARCHIVE_UNAVAILABLE", captures), ("HANDOFF_UNAVAILABLE", live)):
            if keeper.place_state != OK:
                reasons.append(Reason(code, keeper.place_state))
        for code, keeper in (("CATALOG_UNAVAILABLE", captures), ("LIVE_CATALOG_UNAVAILABLE", live)):
            if keeper.place_state == OK and keeper.state != OK:
                reasons.append(Reason(code, keeper.state))
        if self._last_cleanup is not None:
            reasons += [Reason("CLEANUP_REFUSED", text) for text in self._last_cleanup.refused]
        return reasons

    def _heartbeat(self) -> ManagerHeartbeat:
        captures, live = self._keepers["capture"], self._keepers["live"]
        cleanup = self._last_cleanup
        return ManagerHeartbeat(
            pid=os.getpid(),
            boot_id=self._clock.boot_id(),
            boottime_ns=self._clock.boottime_ns(),
            started_boottime_ns=self._started_ns,
            state=self._state,
            capture_dir=str(self._config.capture_dir),
            archive_dir=str(self._config.archive_dir),
            catalog=captures.state,
            live_catalog=live.state,
            archive=captures.place_state,
            handoff=live.place_state,
            disk={name: asdict(usage) for name, usage in self._probes.disks().items()},
            alerts=self._alerts,
            last_cleanup={**cleanup.as_dict(), "refused": cleanup.refused} if cleanup is not None else None,
            last_error=self._last_error,
            silent_consumers=self._probes.silent_consumers(),
            results=asdict(self._results.counts),
        )

    def _beat(self) -> None:
        try:
            write_manager_heartbeat(self._layout.manager_heartbeat, self._heartbeat())
        except SharedVolumeError as error:
            self._beat_log.broken(error.message, logging.ERROR)
        else:
            self._beat_log.healed()

    def _note_event(self, kind: str, cause: str, details: Mapping[str, Any]) -> None:
        self._events.add(Event.now(self._clock, kind, cause, details))

    def _keeper(self, catalog: Catalog) -> Keeper:
        return Keeper(
            catalog,
            self._sources,
            self._clock,
            want_thumbnail=self._want_thumbnail,
            note=lambda cause, details: self._note_event("recovery", cause, details),
        )


def _subject(reason: Reason) -> tuple[str, str | None]:
    """Return what a reason is about: each consumer that is silent is told on its own, and its words do not change."""
    return reason.code, reason.message if reason.code == "CONSUMER_SILENT" else reason.camera

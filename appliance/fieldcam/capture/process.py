# SPDX-License-Identifier: MIT
"""A capture process as a whole: the owner loop in the main thread, the control socket and heartbeat in another.

The camera is owned by the main thread alone. Three more threads never touch it: `control` answers requests and writes
the heartbeat, `announcer` talks to the manager, `preview` streams (through the camera's `preview`, beside stills).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

from fieldcam.camera.base import Camera
from fieldcam.camera.registry import make_camera
from fieldcam.capture.announcements import Announcements
from fieldcam.capture.announcer import Announcer
from fieldcam.capture.idempotency import Idempotency
from fieldcam.capture.journal import Journal
from fieldcam.capture.owner import Owner
from fieldcam.capture.pipeline import Taken
from fieldcam.capture.places import Places
from fieldcam.capture.preview import PreviewPublisher
from fieldcam.capture.settings import SettingsStore, parse_request, settings_answer
from fieldcam.control import protocol
from fieldcam.control.server import Server
from fieldcam.core.clock import Clock, SystemClock
from fieldcam.core.config import Config
from fieldcam.core.durable import make_folder
from fieldcam.core.errors import SharedVolumeError
from fieldcam.core.heartbeat import Heartbeat, write_heartbeat
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.core.ownership import owned
from fieldcam.store.writer import Stored

_log = get_logger(__name__)
BEAT_SECONDS = 1.0
Result = dict[str, Any]


class CaptureProcess:
    """Owns one camera until `stop` is called.

    Args:
        config: of the appliance.
        camera_name: which camera; None = the default one.
        clock: time.
        camera: for tests at the hardware edge; None = as configured.
    """

    def __init__(
        self, config: Config, camera_name: str | None = None, clock: Clock | None = None, camera: Camera | None = None
    ) -> None:
        self.name, self._camera_config = config.camera(camera_name)
        self._config = config
        self._clock = clock or SystemClock()
        self._paths = config.layout.camera(self.name)
        self._camera = camera
        self._owner: Owner | None = None
        self._stop_requested = False

    def run(self) -> None:
        """Run until stopped.

        Raises:
            CameraInUseError: another process owns the camera.
        """
        with owned(self._paths.owner_lock, f"camera {self.name!r}"):
            self._run_owned()

    def stop(self) -> None:
        """End `run` after the capture under way; may be called from a signal handler or another thread."""
        self._stop_requested = True
        if self._owner is not None:
            self._owner.request_stop()

    def _run_owned(self) -> None:
        make_folder(self._paths.scratch)
        started_ns = self._clock.boottime_ns()
        camera = self._camera or make_camera(self.name, self._camera_config, self._clock, self._paths.scratch)
        announcer = Announcer(self._config.layout.manager_socket, self._clock)
        announcements = Announcements(self.name, announcer, self._clock)
        journal = Journal(self._paths.state / "capture_stats.json", self._clock)
        settings = SettingsStore(self._paths.settings, self._camera_config)
        places = Places(self._config, self._camera_config, self._paths, self._clock, announcements.rolled)
        preview = PreviewPublisher(
            self._paths.preview_socket,
            camera,
            settings.current,
            width=self._camera_config.preview_width,
            fps=self._camera_config.fps,
            clock=self._clock,
        )
        owner = Owner(
            self.name,
            self._camera_config,
            self._config,
            camera=camera,
            places=places,
            journal=journal,
            settings=settings,
            preview=preview,
            announce=announcements,
            clock=self._clock,
        )
        control = _Control(self, owner, journal, settings, preview, places, announcements, started_ns)
        self._owner = owner
        if self._stop_requested:
            owner.request_stop()
        _log.event(logging.INFO, "CAPTURE_STARTED", "capture process started", camera=self.name, pid=os.getpid())
        announcements.event("process_started", "", {"pid": os.getpid()})
        places.open()
        control.start()
        try:
            owner.run()
        finally:
            owner.close()
            preview.close()
            places.close()
            # First the last acknowledgements, then the last answers that wait for them.
            announcer.close()
            control.close()
            _log.event(logging.INFO, "CAPTURE_STOPPED", "capture process stopped", camera=self.name)

    # The control thread needs to know these, and nothing else of the process.

    @property
    def config(self) -> Config:
        """Configuration of the appliance."""
        return self._config

    @property
    def clock(self) -> Clock:
        """Time."""
        return self._clock


class _Control:
    """The control thread: answers requests, writes the heartbeat, looks after the places."""

    def __init__(
        self,
        process: CaptureProcess,
        owner: Owner,
        journal: Journal,
        settings: SettingsStore,
        preview: PreviewPublisher,
        places: Places,
        announcements: Announcements,
        started_ns: int,
    ) -> None:
        self._name = process.name
        self._config = process.config
        self._clock = process.clock
        self._camera_config = process.config.camera(process.name)[1]
        self._paths = process.config.layout.camera(process.name)
        self._owner = owner
        self._journal = journal
        self._settings = settings
        self._preview = preview
        self._announcements = announcements
        self._started_ns = started_ns
        self._places = places
        self._idempotency = Idempotency(self._paths.captures, self._clock)
        self._heartbeat_log = StateLog(_log, "HEARTBEAT_FAILED", camera=process.name)
        self._stop = threading.Event()
        self._server = Server(
            self._paths.control_socket,
            {
                protocol.CAPTURE: self._capture,
                protocol.TEST: self._test,
                protocol.STATUS: self._status,
                protocol.GET_SETTINGS: self._get_settings,
                protocol.PUT_SETTINGS: self._put_settings,
            },
        )
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer what is done, write a last heartbeat and end the thread."""
        self._stop.set()
        self._server.wake()
        self._thread.join(timeout=5)
        self._beat(state="stopped")

    def _run(self) -> None:
        next_beat_ns = 0
        while not self._stop.is_set():
            now = self._clock.boottime_ns()
            if now >= next_beat_ns:
                next_beat_ns = now + int(BEAT_SECONDS * 1e9)
                self._beat()
            self._server.step(max(0.0, (next_beat_ns - now) / 1e9))
        self._server.step(0)
        self._server.close()

    def _beat(self, state: str | None = None) -> None:
        try:
            write_heartbeat(self._paths.heartbeat, self._heartbeat(state))
        except SharedVolumeError as error:
            self._heartbeat_log.broken(error.message, logging.ERROR)
        else:
            self._heartbeat_log.healed()

    def _heartbeat(self, state: str | None) -> Heartbeat:
        journal, info = self._journal, self._owner.info
        simulated = info.simulated if info else self._camera_config.backend == "simulated"
        running = "recovering" if self._owner.is_recovering else "running" if journal.last_frame else "starting"
        return Heartbeat(
            camera=self._name,
            pid=os.getpid(),
            boot_id=self._clock.boot_id(),
            boottime_ns=self._clock.boottime_ns(),
            started_boottime_ns=self._started_ns,
            state=state or running,
            mode=self._camera_config.mode,
            backend=self._camera_config.backend,
            model=info.model if info else "",
            simulated=simulated,
            camera_connected=info is not None and not simulated and journal.delivering,
            delivering=journal.delivering,
            is_capturing=self._owner.is_capturing,
            images_captured=journal.images_captured,
            error_count=journal.error_count,
            interval=self._camera_config.interval,
            live_storage=self._places.live_state,
            archive=self._places.archive_state,
            time_quality=self._owner.time_quality,
            last_frame=journal.last_frame,
            last_capture=journal.last_capture,
            last_error=journal.last_error,
            slots_skipped=dict(journal.slots_skipped),
            capture_stats=journal.stats,
            settings=self._answer_settings(),
        )

    def _answer_settings(self) -> Result:
        return settings_answer(
            self._settings.current(),
            self._journal,
            self._owner.info,
            configured=self._camera_config.size,
            streaming=self._preview.is_watched,
        )

    def _status(self, _args: Mapping[str, Any]) -> Result:
        return asdict(self._heartbeat(None))

    def _get_settings(self, _args: Mapping[str, Any]) -> Result:
        return self._answer_settings()

    def _put_settings(self, args: Mapping[str, Any]) -> Result:
        self._settings.put(args, self._owner.info)
        return self._answer_settings()

    def _capture(self, args: Mapping[str, Any]) -> Future[Result]:
        request = parse_request(args, self._owner.info)
        accepted_ns = self._clock.boottime_ns()
        known = self._idempotency.find(request)
        if isinstance(known, Future):
            return known
        answer: Future[Result] = Future()
        if known is not None:
            self._answer(answer, known, accepted_ns)
            return answer

        def stored(done: Future[tuple[Stored | None, Taken]]) -> None:
            if (error := done.exception()) is not None:
                answer.set_exception(error)
                return
            frame, _ = done.result()
            if frame is None:
                raise AssertionError("a capture is stored")
            self._idempotency.remember(request, frame)
            self._answer(answer, frame, accepted_ns)

        job = self._owner.submit(request, store=True)
        self._idempotency.begin(request, answer)
        answer.add_done_callback(lambda _: self._idempotency.forget_pending(request))
        job.add_done_callback(stored)
        return answer

    def _answer(self, answer: Future[Result], frame: Stored, accepted_ns: int) -> None:
        """Answer with a frame that is on disk, as soon as the manager has its row or is too late."""
        seconds = (self._clock.boottime_ns() - accepted_ns) / 1e9
        result = {"sidecar": frame.sidecar.to_dict(), "path": str(frame.path), "seconds": seconds}
        if frame.sidecar.kind == "live":
            self._announcements.recorded(frame)
            answer.set_result({**result, "database_saved": False})
            return
        recorded = self._announcements.record_and_wait(frame)
        recorded.add_done_callback(lambda r: answer.set_result({**result, "database_saved": r.result()}))

    def _test(self, args: Mapping[str, Any]) -> Future[Result]:
        request = parse_request(args, self._owner.info)
        accepted_ns = self._clock.boottime_ns()
        answer: Future[Result] = Future()

        def taken(done: Future[tuple[Stored | None, Taken]]) -> None:
            if (error := done.exception()) is not None:
                answer.set_exception(error)
                return
            _, frame = done.result()
            answer.set_result(
                {
                    "width": frame.shot.width,
                    "height": frame.shot.height,
                    "file_size": len(frame.jpeg),
                    "seconds": (self._clock.boottime_ns() - accepted_ns) / 1e9,
                    "simulated": bool(self._owner.info and self._owner.info.simulated),
                }
            )

        self._owner.submit(request, store=False).add_done_callback(taken)
        return answer

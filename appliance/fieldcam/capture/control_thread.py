# SPDX-License-Identifier: MIT
"""The control thread: answers requests, writes the heartbeat. It never touches the camera."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any

from fieldcam.capture.announcements import Announcements
from fieldcam.capture.idempotency import Idempotency
from fieldcam.capture.journal import Journal
from fieldcam.capture.owner import Owner
from fieldcam.capture.pipeline import Taken
from fieldcam.capture.places import Places
from fieldcam.capture.preview import PreviewPublisher
from fieldcam.capture.ring import Ring
from fieldcam.capture.settings import SettingsStore, parse_request, settings_answer
from fieldcam.control import protocol
from fieldcam.control.server import Server
from fieldcam.core.clock import Clock
from fieldcam.core.config import Config
from fieldcam.core.errors import SharedVolumeError
from fieldcam.core.heartbeat import Heartbeat, write_heartbeat
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.store.writer import Stored

_log = get_logger(__name__)
BEAT_SECONDS = 1.0
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a capture process that requests concern and that the heartbeat tells of."""

    owner: Owner
    journal: Journal
    settings: SettingsStore
    preview: PreviewPublisher
    places: Places
    ring: Ring
    announcements: Announcements


class ControlThread:
    """Speaks for one camera.

    Args:
        name: of the camera.
        config: of the appliance.
        clock: time.
        parts: of the process.
        started_ns: CLOCK_BOOTTIME at which the process began.
    """

    def __init__(self, name: str, config: Config, clock: Clock, parts: Parts, started_ns: int) -> None:
        self._name = name
        self._clock = clock
        self._camera_config = config.camera(name)[1]
        self._paths = config.layout.camera(name)
        self._owner = parts.owner
        self._journal = parts.journal
        self._settings = parts.settings
        self._preview = parts.preview
        self._places = parts.places
        self._ring = parts.ring
        self._announcements = parts.announcements
        self._started_ns = started_ns
        self._idempotency = Idempotency(self._paths.captures, self._clock)
        self._heartbeat_log = StateLog(_log, "HEARTBEAT_FAILED", camera=name)
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
            ring=self._ring.state,
            ring_required=self._ring.is_required,
            ring_counters=self._ring.counters,
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
        rehearse = args.get("rehearse") is True
        request = parse_request({k: v for k, v in args.items() if k != "rehearse"}, self._owner.info)
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

        self._owner.submit(request, store=False, rehearse=rehearse).add_done_callback(taken)
        return answer

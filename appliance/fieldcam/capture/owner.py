# SPDX-License-Identifier: MIT
"""The one loop that owns the camera: live frames on their slots, captures as soon as they are asked for.

Order of importance: a capture that somebody waits for, then the slot that is due, then a probe of a camera without a
loop. A camera that fails is left alone for a few seconds, longer when it fails for long, and is never given up; a
capture asked for meanwhile is tried at once. Everything that touches the camera happens in this thread.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from fieldcam.camera.base import Camera, CameraInfo, CameraSettings
from fieldcam.capture import pipeline
from fieldcam.capture.announcements import Announcements
from fieldcam.capture.gaps import Gaps
from fieldcam.capture.journal import Journal
from fieldcam.capture.pipeline import Origin, Taken
from fieldcam.capture.places import Places
from fieldcam.capture.preview import PreviewPublisher, Still
from fieldcam.capture.schedule import Schedule, backoff_seconds
from fieldcam.capture.settings import SettingsStore, for_request
from fieldcam.capture.wall_clock import WallClock
from fieldcam.core.clock import Clock, Instant
from fieldcam.core.config import CameraConfig, Config
from fieldcam.core.errors import (
    CameraNotAvailableError,
    CaptureInProgressError,
    CaptureServiceError,
    CaptureTimeoutError,
    SharedVolumeError,
)
from fieldcam.core.frame import CaptureRequest, Sidecar
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.store.writer import Stored

_log = get_logger(__name__)
RETRY_PAUSE_SECONDS = 0.2
LOOK_NS = 1_000_000_000


@dataclass(slots=True)
class Job:
    """A capture somebody waits for.

    Attributes:
        request: what is asked for.
        accepted_ns: CLOCK_BOOTTIME at which it was accepted.
        deadline_ns: CLOCK_BOOTTIME by which it must be answered.
        store: False for a test frame, which is taken and checked but not kept.
        answer: what was stored (None for a test frame) and the frame itself.
    """

    request: CaptureRequest
    accepted_ns: int
    deadline_ns: int
    store: bool
    answer: Future[tuple[Stored | None, Taken]]


class Owner:
    """Owns one camera until stopped.

    Args:
        name, camera_config, config: what is configured.
        camera: the camera, not yet open.
        places, journal, settings, preview: parts of the process.
        announce: told every frame that was stored.
        clock: time.
    """

    def __init__(
        self,
        name: str,
        camera_config: CameraConfig,
        config: Config,
        *,
        camera: Camera,
        places: Places,
        journal: Journal,
        settings: SettingsStore,
        preview: PreviewPublisher,
        announce: Announcements,
        clock: Clock,
    ) -> None:
        self._name = name
        self._camera_config = camera_config
        self._config = config
        self._camera = camera
        self._places = places
        self._journal = journal
        self._settings = settings
        self._preview = preview
        self._announce = announce
        self._clock = clock
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._is_open = False
        self._busy_with_job = False
        self._retry_at_ns = self._loop_failures = 0
        self._probe_at_ns = 0
        # Starts above every number of an earlier process of this boot, so that it rises without being remembered.
        self._sequence = clock.boottime_ns() // 1_000_000
        self._looked_ns = -LOOK_NS
        self._gaps = Gaps(journal, announce)
        self._wall_clock = WallClock(name, clock, config.clock_trust, announce)
        self._camera_log = StateLog(_log, "CAMERA_FAILED", camera=name)
        self._newest: tuple[Taken, CameraSettings] | None = None

    # --- asked by other threads -----------------------------------------------------------------------------------

    @property
    def is_capturing(self) -> bool:
        """Whether an on-demand capture is under way."""
        return self._busy_with_job

    @property
    def is_recovering(self) -> bool:
        """Whether the camera failed and has not delivered since."""
        return self._camera_log.reason is not None

    @property
    def info(self) -> CameraInfo | None:
        """What the camera is; None while it is not open."""
        return self._camera.info if self._is_open else None

    @property
    def time_quality(self) -> str:
        """How far wall time can be trusted."""
        return self._wall_clock.quality

    def submit(self, request: CaptureRequest, *, store: bool) -> Future[tuple[Stored | None, Taken]]:
        """Queue a capture.

        Raises:
            CaptureInProgressError: too many wait already, or the process is stopping.
        """
        now = self._clock.boottime_ns()
        job = Job(request, now, now + int(self._config.capture_timeout * 0.95e9), store, Future())
        with self._changed:
            if self._stopping:
                raise CaptureInProgressError("the capture process is stopping; try again")
            if len(self._jobs) >= self._config.capture_queue:
                raise CaptureInProgressError(f"{len(self._jobs)} captures are waiting already; try again in a moment")
            self._jobs.append(job)
            self._changed.notify()
        return job.answer

    def stop(self) -> None:
        """Let the loop end after what it is doing; captures that were accepted are still answered."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def request_stop(self) -> None:
        """As `stop`, from a signal handler: takes no lock, so it is noticed within a second."""
        self._stopping = True

    # --- the loop -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run until stopped."""
        interval_ns = round(self._camera_config.interval * 1e9)
        schedule = Schedule(self._clock.boottime_ns(), interval_ns)
        has_loop = self._camera_config.mode == "continuous"
        late_because = "late"
        while not self._stopping or self._jobs:
            self._look_around()
            job = self._next_job()
            if job is not None:
                self._answer(job)
                late_because = "on_demand"
                continue
            now = self._clock.boottime_ns()
            if now < self._retry_at_ns:
                schedule, left_out = schedule.skip_until(now) if has_loop else (schedule, 0)
                self._gaps.leave_out(left_out, "camera")
                self._wait_until(min(self._retry_at_ns, schedule.next_at_ns) if has_loop else self._retry_at_ns)
            elif has_loop and schedule.is_due(now):
                schedule, left_out = schedule.take(now)
                self._gaps.leave_out(left_out, late_because)
                late_because = "late"
                self._live_frame()
            elif not has_loop and now >= self._probe_at_ns:
                self._probe()
            elif not has_loop and self._preview.wants_stream:
                self._stream()
            else:
                self._wait_until(schedule.next_at_ns if has_loop else self._probe_at_ns)

    def close(self) -> None:
        """Let go of the camera and refuse what still waits."""
        with self._changed:
            left, self._jobs = list(self._jobs), deque()
        for job in left:
            job.answer.set_exception(CameraNotAvailableError("the capture process is stopping"))
        self._close_camera()

    def _next_job(self) -> Job | None:
        with self._changed:
            return self._jobs.popleft() if self._jobs else None

    def _wait_until(self, boottime_ns: int) -> None:
        seconds = (boottime_ns - self._clock.boottime_ns()) / 1e9
        with self._changed:
            if not self._jobs and not self._stopping and seconds > 0:
                self._changed.wait(min(seconds, 1.0))

    def _live_frame(self) -> None:
        settings = self._settings.current()
        try:
            taken = self._take(settings, not_before_ns=0, deadline_ns=self._shot_deadline(settings))
        except CaptureServiceError as error:
            self._leave_alone(error)
            return
        try:
            stored = self._store(taken, CaptureRequest(kind="live"))
        except SharedVolumeError as error:
            self._journal.failure(error, of_camera=False)  # logged by places, once
            return
        self._newest = (taken, settings)
        self._announce.recorded(stored)
        self._gaps.end(stored)

    def _probe(self) -> None:
        """Take and check a frame of a camera without a loop, so that its health is known."""
        settings = self._settings.current()
        self._probe_at_ns = self._clock.boottime_ns() + int(self._config.status_check_interval * 1e9)
        try:
            taken = self._take(settings, not_before_ns=0, deadline_ns=self._shot_deadline(settings))
        except CaptureServiceError as error:
            self._leave_alone(error)
            return
        self._journal.frame(self._describe(taken, CaptureRequest(kind="live")))

    def _stream(self) -> None:
        """Stream a camera that cannot preview beside stills, between the captures; its frames are as good as probes."""
        settings, config = self._settings.current(), self._camera_config
        try:
            with closing(self._camera.preview(settings, width=config.preview_width, fps=config.fps)) as frames:
                for frame in frames:
                    self._sequence += 1
                    self._preview.offer(
                        Still(frame.jpeg, frame.exposed_at_ns, None, frame.width, frame.height, is_preview=True)
                    )
                    self._journal.probe(frame, self._sequence, Instant.now(self._clock))
                    self._look_around()
                    if self._jobs or self._stopping or not self._preview.wants_stream:
                        return
        except CaptureServiceError as error:
            self._leave_alone(error)

    def _answer(self, job: Job) -> None:
        self._busy_with_job = True
        try:
            taken = self._take_for(job)
            stored = self._store(taken, job.request) if job.store else None
            if stored is None:
                self._journal.frame(self._describe(taken, job.request))
        except (CaptureServiceError, SharedVolumeError) as error:
            if isinstance(error, SharedVolumeError):
                self._journal.failure(error, of_camera=False)
            self._finish(job, successful=False)
            job.answer.set_exception(error)
        else:
            self._finish(job, successful=True)
            job.answer.set_result((stored, taken))
        finally:
            self._busy_with_job = False
            self._probe_at_ns = self._clock.boottime_ns() + int(self._config.status_check_interval * 1e9)

    def _finish(self, job: Job, *, successful: bool) -> None:
        if job.store and job.request.kind == "capture":
            seconds = (self._clock.boottime_ns() - job.accepted_ns) / 1e9
            self._journal.answered(successful=successful, seconds=seconds)

    def _take_for(self, job: Job) -> Taken:
        """Take the frame of a capture, in as many tries as configured and as fit before its deadline."""
        settings = for_request(self._settings.current(), job.request)
        if job.request.not_before_ns == 0 and (newest := self._fresh_newest(settings)) is not None:
            return newest
        not_before_ns = job.accepted_ns if job.request.not_before_ns is None else job.request.not_before_ns

        last_try = stop_after_attempt(self._config.capture_tries)

        def is_over(state: RetryCallState) -> bool:
            return last_try(state) or self._clock.boottime_ns() >= job.deadline_ns

        tries = Retrying(
            stop=is_over,
            wait=wait_fixed(RETRY_PAUSE_SECONDS),
            retry=retry_if_exception_type(CaptureServiceError),
            reraise=True,
        )
        return tries(self._try_for, job, settings, not_before_ns)

    def _try_for(self, job: Job, settings: CameraSettings, not_before_ns: int) -> Taken:
        deadline_ns = min(job.deadline_ns, self._shot_deadline(settings))
        if self._clock.boottime_ns() >= deadline_ns:
            raise CaptureTimeoutError("the capture waited too long for the camera")
        try:
            return self._take(settings, not_before_ns=not_before_ns, deadline_ns=deadline_ns)
        except CaptureServiceError as error:
            self._camera_failed(error)
            raise

    def _fresh_newest(self, settings: CameraSettings) -> Taken | None:
        if self._newest is None:
            return None
        taken, taken_with = self._newest
        age = (self._clock.boottime_ns() - taken.shot.exposed_at_ns) / 1e9
        is_fresh = 0 <= age <= max(2.0 * self._camera_config.interval, 1.0)
        return taken if is_fresh and taken_with == settings else None

    def _take(self, settings: CameraSettings, *, not_before_ns: int, deadline_ns: int) -> Taken:
        if not self._is_open:
            self._camera.open()
            self._is_open = True
            self._preview.camera_ready(ready=True)
            _log.event(logging.INFO, "CAMERA_OPENED", self._camera.info.model, camera=self._name)
        taken = pipeline.take(self._camera, settings, not_before_ns=not_before_ns, deadline_ns=deadline_ns)
        self._sequence += 1
        if self._camera_log.healed("the camera delivers again"):
            self._announce.event("camera_recovered", "", {})
        self._retry_at_ns = self._loop_failures = 0
        self._preview.offer(
            Still(taken.jpeg, taken.shot.exposed_at_ns, self._sequence, taken.shot.width, taken.shot.height)
        )
        return taken

    def _store(self, taken: Taken, request: CaptureRequest) -> Stored:
        stored = pipeline.store(self._places, taken, self._describe(taken, request))
        self._journal.frame(stored.sidecar)
        return stored

    def _describe(self, taken: Taken, request: CaptureRequest) -> Sidecar:
        info = self._camera.info
        origin = Origin(self._name, info.backend, info.simulated)
        return pipeline.describe(
            taken, request, origin, sequence=self._sequence, time_quality=self._wall_clock.quality, clock=self._clock
        )

    def _leave_alone(self, error: CaptureServiceError) -> None:
        """Note that the loop got no frame, and when it tries again. Captures that fail do not make it wait longer."""
        self._camera_failed(error)
        self._loop_failures += 1
        self._retry_at_ns = self._clock.boottime_ns() + int(backoff_seconds(self._loop_failures) * 1e9)

    def _camera_failed(self, error: CaptureServiceError) -> None:
        self._journal.failure(error, of_camera=True)
        if self._camera_log.broken(f"{error.code}: {error.message}", logging.ERROR):
            self._announce.event("camera_failed", error.code, {"message": error.message})
        if isinstance(error, CameraNotAvailableError):
            self._close_camera()

    def _close_camera(self) -> None:
        self._preview.camera_ready(ready=False)
        self._is_open = False
        with suppress(CaptureServiceError):
            self._camera.close()

    def _shot_deadline(self, settings: CameraSettings) -> int:
        seconds = self._config.shot_timeout + (settings.exposure_ms or 0.0) / 1000
        return self._clock.boottime_ns() + int(seconds * 1e9)

    def _look_around(self) -> None:
        """About once a second: is the archive there, and did the clock jump?"""
        now = self._clock.boottime_ns()
        if now - self._looked_ns >= LOOK_NS:
            self._looked_ns = now
            self._places.check()
            self._wall_clock.look()

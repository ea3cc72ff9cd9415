# SPDX-License-Identifier: MIT
"""The one loop that owns the camera: live frames on their slots, captures as soon as they are asked for.

Order of importance: a capture that somebody waits for, then the slot that is due, then a probe of a camera without a
loop. A camera that fails is left alone for a few seconds, longer when it fails for long, and is never given up; a
capture asked for meanwhile is tried at once. Everything that touches the camera happens in this thread.
"""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import closing

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from fieldcam.camera.base import CameraInfo, CameraSettings
from fieldcam.capture import pipeline
from fieldcam.capture.announcements import Announcements
from fieldcam.capture.gaps import Gaps
from fieldcam.capture.jobs import Job, Jobs
from fieldcam.capture.journal import Journal
from fieldcam.capture.pipeline import Taken
from fieldcam.capture.places import Places
from fieldcam.capture.preview import PreviewPublisher
from fieldcam.capture.schedule import Schedule, backoff_seconds
from fieldcam.capture.settings import SettingsStore, for_request
from fieldcam.capture.taker import Taker
from fieldcam.capture.wall_clock import WallClock
from fieldcam.core.clock import Clock
from fieldcam.core.config import CameraConfig, Config
from fieldcam.core.errors import CaptureServiceError, CaptureTimeoutError, SharedVolumeError
from fieldcam.core.frame import CaptureRequest, Sidecar
from fieldcam.store.writer import Stored

RETRY_PAUSE_SECONDS = 0.2
LOOK_NS = 1_000_000_000
_LIVE = CaptureRequest(kind="live")


class Owner:
    """Owns one camera until stopped.

    Args:
        camera_config, config: what is configured.
        taker: takes the frames.
        places, journal, settings, preview, wall_clock: parts of the process.
        announce: told every frame that was stored.
        clock: time.
    """

    def __init__(
        self,
        camera_config: CameraConfig,
        config: Config,
        *,
        taker: Taker,
        places: Places,
        journal: Journal,
        settings: SettingsStore,
        preview: PreviewPublisher,
        wall_clock: WallClock,
        announce: Announcements,
        clock: Clock,
    ) -> None:
        self._camera_config = camera_config
        self._config = config
        self._taker = taker
        self._places = places
        self._journal = journal
        self._settings = settings
        self._preview = preview
        self._wall_clock = wall_clock
        self._announce = announce
        self._clock = clock
        self._jobs = Jobs(clock, most=config.capture_queue, timeout_seconds=config.capture_timeout)
        self._busy_with_job = False
        self._retry_at_ns = self._loop_failures = 0
        self._probe_at_ns = 0
        self._looked_ns = -LOOK_NS
        self._gaps = Gaps(journal, announce)
        self._newest: tuple[Taken, CameraSettings] | None = None

    # --- asked by other threads -----------------------------------------------------------------------------------

    @property
    def is_capturing(self) -> bool:
        """Whether an on-demand capture is under way."""
        return self._busy_with_job

    @property
    def is_recovering(self) -> bool:
        """Whether the camera failed and has not delivered since."""
        return self._taker.is_recovering

    @property
    def info(self) -> CameraInfo | None:
        """What the camera is; None while it is not open."""
        return self._taker.info

    @property
    def time_quality(self) -> str:
        """How far wall time can be trusted."""
        return self._wall_clock.quality

    def submit(
        self, request: CaptureRequest, *, store: bool, rehearse: bool = False
    ) -> Future[tuple[Stored | None, Taken]]:
        """Queue a capture.

        Raises:
            CaptureInProgressError: too many wait already, or the process is stopping.
        """
        return self._jobs.submit(request, store=store, rehearse=rehearse)

    def stop(self) -> None:
        """Let the loop end after what it is doing; captures that were accepted are still answered.

        A signal handler may call it.
        """
        self._jobs.stop()

    # --- the loop -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run until stopped."""
        interval_ns = round(self._camera_config.interval * 1e9)
        schedule = Schedule(self._clock.boottime_ns(), interval_ns)
        has_loop = self._camera_config.mode == "continuous"
        late_because = "late"
        while not self._jobs.are_over:
            self._look_around()
            job = self._jobs.next()
            if job is not None:
                self._answer(job)
                late_because = "on_demand"
                continue
            now = self._clock.boottime_ns()
            if now < self._retry_at_ns:
                schedule, left_out = schedule.skip_until(now) if has_loop else (schedule, 0)
                self._gaps.leave_out(left_out, "camera")
                self._jobs.wait_until(min(self._retry_at_ns, schedule.next_at_ns) if has_loop else self._retry_at_ns)
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
                self._jobs.wait_until(schedule.next_at_ns if has_loop else self._probe_at_ns)

    def close(self) -> None:
        """Let go of the camera and refuse what still waits."""
        self._jobs.refuse_all()
        self._taker.close()

    def _live_frame(self) -> None:
        settings = self._settings.current()
        try:
            taken = self._taker.take(settings, _LIVE, goes_live=True)
        except CaptureServiceError as error:
            self._leave_alone(error)
            return
        self._delivered()
        try:
            stored = self._store(taken, taken.sidecar)
        except SharedVolumeError as error:
            self._journal.failure(error, of_camera=False)  # logged by places, once
            return
        self._newest = (taken, settings)
        self._announce.recorded(stored)
        self._gaps.end(stored)

    def _probe(self) -> None:
        """Take and check a frame of a camera without a loop, so that its health is known."""
        self._probe_at_ns = self._clock.boottime_ns() + int(self._config.status_check_interval * 1e9)
        try:
            taken = self._taker.take(self._settings.current(), _LIVE)
        except CaptureServiceError as error:
            self._leave_alone(error)
            return
        self._delivered()
        self._journal.frame(taken.sidecar)

    def _stream(self) -> None:
        """Stream between the captures while somebody watches."""
        try:
            with closing(self._taker.stream(self._settings.current())) as steps:
                for _ in steps:
                    self._look_around()
                    if self._jobs.want_the_camera or not self._preview.wants_stream:
                        return
        except CaptureServiceError as error:
            self._leave_alone(error)

    def _answer(self, job: Job) -> None:
        self._busy_with_job = True
        try:
            taken = self._take_for(job)
            sidecar = pipeline.asked_by(job.request, taken.sidecar)
            stored = self._store(taken, sidecar) if job.store else None
            if stored is None:
                self._journal.frame(sidecar)
            if job.rehearse:
                self._places.rehearse_capture(taken.jpeg)
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
        last_try = stop_after_attempt(self._config.capture_tries)

        def is_over(state: RetryCallState) -> bool:
            return last_try(state) or self._clock.boottime_ns() >= job.deadline_ns

        tries = Retrying(
            stop=is_over,
            wait=wait_fixed(RETRY_PAUSE_SECONDS),
            retry=retry_if_exception_type(CaptureServiceError),
            reraise=True,
        )
        return tries(self._try_for, job, settings)

    def _try_for(self, job: Job, settings: CameraSettings) -> Taken:
        not_before_ns = job.accepted_ns if job.request.not_before_ns is None else job.request.not_before_ns
        deadline_ns = min(job.deadline_ns, self._taker.shot_deadline(settings))
        if self._clock.boottime_ns() >= deadline_ns:
            raise CaptureTimeoutError("the capture waited too long for the camera")
        goes_live = job.store and job.request.kind == "live"
        try:
            taken = self._taker.take(
                settings, job.request, not_before_ns=not_before_ns, deadline_ns=deadline_ns, goes_live=goes_live
            )
        except CaptureServiceError as error:
            self._taker.failed(error)
            raise
        self._delivered()
        return taken

    def _fresh_newest(self, settings: CameraSettings) -> Taken | None:
        if self._newest is None:
            return None
        taken, taken_with = self._newest
        age = (self._clock.boottime_ns() - taken.shot.exposed_at_ns) / 1e9
        is_fresh = 0 <= age <= max(2.0 * self._camera_config.interval, 1.0) and not taken.sidecar.is_frozen
        return taken if is_fresh and taken_with == settings else None

    def _store(self, taken: Taken, sidecar: Sidecar) -> Stored:
        stored = pipeline.store(self._places, taken.jpeg, sidecar)
        self._journal.frame(stored.sidecar)
        return stored

    def _delivered(self) -> None:
        """Note that the camera gave a frame, whoever asked for it: the loop need not wait any longer."""
        self._retry_at_ns = self._loop_failures = 0

    def _leave_alone(self, error: CaptureServiceError) -> None:
        """Note that the loop got no frame, and when it tries again. Captures that fail do not make it wait longer."""
        self._taker.failed(error)
        self._loop_failures += 1
        self._retry_at_ns = self._clock.boottime_ns() + int(backoff_seconds(self._loop_failures) * 1e9)

    def _look_around(self) -> None:
        """About once a second: is the archive there, and did the clock jump?"""
        now = self._clock.boottime_ns()
        if now - self._looked_ns >= LOOK_NS:
            self._looked_ns = now
            self._places.check()
            self._wall_clock.look()

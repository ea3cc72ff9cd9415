# SPDX-License-Identifier: MIT
"""Taking frames: the one part that talks to the camera, opens it, notices that it fails or hangs, and numbers frames.

Belongs to the owner loop. A frame that was taken goes to whoever watches; one that is live also goes to the ring,
before it is encoded where the camera gave pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import closing, suppress

from fieldcam.camera.base import Camera, CameraInfo, CameraSettings, PreviewFrame
from fieldcam.capture import pipeline
from fieldcam.capture.announcements import Announcements
from fieldcam.capture.frozen import IdenticalFrames
from fieldcam.capture.journal import Journal
from fieldcam.capture.pipeline import HandOff, Origin, Taken
from fieldcam.capture.preview import PreviewPublisher, Still
from fieldcam.capture.wall_clock import WallClock
from fieldcam.core.clock import Clock, Instant
from fieldcam.core.config import CameraConfig, Config
from fieldcam.core.errors import CameraNotAvailableError, CaptureServiceError
from fieldcam.core.frame import FROZEN_AFTER, CaptureRequest, Shot, Sidecar
from fieldcam.core.logs import StateLog, get_logger

_log = get_logger(__name__)


class Taker:
    """Takes the frames of one camera.

    Args:
        name, camera_config, config: what is configured.
        camera: the camera, not yet open.
        journal: told of failures and of preview frames.
        preview: offered every frame.
        ring: offered every live frame.
        announce: told when the camera fails, freezes and recovers.
        wall_clock: says how far wall time can be trusted.
        clock: time.
    """

    def __init__(
        self,
        name: str,
        camera_config: CameraConfig,
        config: Config,
        *,
        camera: Camera,
        journal: Journal,
        preview: PreviewPublisher,
        ring: HandOff,
        announce: Announcements,
        wall_clock: WallClock,
        clock: Clock,
    ) -> None:
        self._name = name
        self._camera_config = camera_config
        self._shot_timeout = config.shot_timeout
        self._camera = camera
        self._journal = journal
        self._preview = preview
        self._ring = ring
        self._announce = announce
        self._wall_clock = wall_clock
        self._clock = clock
        self._is_open = False
        # Starts above every number of an earlier process of this boot, so that it rises without being remembered.
        self._sequence = clock.boottime_ns() // 1_000_000
        self._identical = IdenticalFrames()
        self._failed = StateLog(_log, "CAMERA_FAILED", camera=name)
        self._frozen = StateLog(_log, "CAMERA_FROZEN", camera=name)

    @property
    def is_recovering(self) -> bool:
        """Whether the camera failed and has not delivered since."""
        return self._failed.reason is not None

    @property
    def info(self) -> CameraInfo | None:
        """What the camera is; None while it is not open."""
        return self._camera.info if self._is_open else None

    def take(
        self,
        settings: CameraSettings,
        request: CaptureRequest,
        *,
        not_before_ns: int = 0,
        deadline_ns: int | None = None,
        goes_live: bool = False,
    ) -> Taken:
        """Take one frame.

        Args:
            settings: what to take it with.
            request: what it is for.
            not_before_ns: CLOCK_BOOTTIME before which the exposure must not have begun.
            deadline_ns: CLOCK_BOOTTIME by which to give up; None = as long as a shot may take.
            goes_live: whether it is stored in live/; only such frames go to the ring.

        Raises:
            CaptureServiceError: the camera gave no frame. `failed` has not been called yet.
        """
        self._open()
        self._sequence += 1  # one for each try: the ring shows a frame before it is certain to become a file

        def describe(shot: Shot) -> Sidecar:
            return self._describe(shot, settings, request)

        taken = pipeline.take(
            self._camera,
            settings,
            describe,
            not_before_ns=not_before_ns,
            deadline_ns=self.shot_deadline(settings) if deadline_ns is None else deadline_ns,
            hand_off=self._ring if goes_live else None,
        )
        if self._failed.healed("the camera delivers again"):
            self._announce.event("camera_recovered", "", {})
        self._note_frozen(taken.sidecar.identical_frames)
        if not taken.sidecar.is_frozen:  # a picture that hangs must never look live
            shot = taken.shot
            self._preview.offer(Still(taken.jpeg, shot.exposed_at_ns, self._sequence, shot.width, shot.height))
        return taken

    def stream(self, settings: CameraSettings) -> Generator[None, None, None]:
        """Stream a camera that cannot preview beside stills, one step a frame; its frames are as good as probes.

        Raises:
            CaptureServiceError: the stream failed. `failed` has not been called yet.
        """
        width, fps = self._camera_config.preview_width, self._camera_config.fps
        with closing(self._camera.preview(settings, width=width, fps=fps)) as frames:
            for frame in frames:
                self._sequence += 1
                size = (frame.width, frame.height)
                repeats = self._camera.info.repeats
                identical = 0 if repeats else self._identical.count_jpeg(frame.jpeg, frame.exposed_at_ns, size)
                self._note_frozen(identical)
                if identical < FROZEN_AFTER:
                    self._preview.offer(_still_of(frame))
                self._journal.probe(frame, self._sequence, Instant.now(self._clock), identical)
                yield

    def shot_deadline(self, settings: CameraSettings) -> int:
        """Return CLOCK_BOOTTIME by which a shot that begins now must be done."""
        seconds = self._shot_timeout + (settings.exposure_ms or 0.0) / 1000
        return self._clock.boottime_ns() + int(seconds * 1e9)

    def failed(self, error: CaptureServiceError) -> None:
        """Note that the camera gave no frame; one that is gone is closed, and opened again at the next try."""
        self._journal.failure(error, of_camera=True)
        if self._failed.broken(f"{error.code}: {error.message}", logging.ERROR):
            self._announce.event("camera_failed", error.code, {"message": error.message})
        if isinstance(error, CameraNotAvailableError):
            self.close()

    def close(self) -> None:
        """Let go of the camera. Idempotent."""
        self._preview.camera_ready(ready=False)
        self._is_open = False
        with suppress(CaptureServiceError):
            self._camera.close()

    def _open(self) -> None:
        if not self._is_open:
            self._camera.open()
            self._is_open = True
            self._preview.camera_ready(ready=True)
            _log.event(logging.INFO, "CAMERA_OPENED", self._camera.info.model, camera=self._name)

    def _describe(self, shot: Shot, settings: CameraSettings, request: CaptureRequest) -> Sidecar:
        info = self._camera.info
        return pipeline.describe(
            shot,
            settings,
            request,
            Origin(self._name, info.backend, info.simulated),
            sequence=self._sequence,
            time_quality=self._wall_clock.quality,
            clock=self._clock,
            identical_frames=0 if info.repeats else self._identical.count(shot),
        )

    def _note_frozen(self, identical_frames: int) -> None:
        if identical_frames >= FROZEN_AFTER:
            words = f"the last {identical_frames + 1} frames are identical: the sensor hangs"
            if self._frozen.broken(words, logging.ERROR):
                self._announce.event("camera_failed", "CAMERA_FROZEN", {"message": words})
        elif self._frozen.healed("the pictures change again"):
            self._announce.event("camera_recovered", "CAMERA_FROZEN", {})


def _still_of(frame: PreviewFrame) -> Still:
    return Still(frame.jpeg, frame.exposed_at_ns, None, frame.width, frame.height, is_preview=True)

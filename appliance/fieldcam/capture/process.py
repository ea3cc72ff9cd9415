# SPDX-License-Identifier: MIT
"""A capture process as a whole: the owner loop in the main thread, and threads that never touch the camera.

`control` answers requests and writes the heartbeat, `ring` hands live frames to containers, `announcer` talks to the
manager, `preview` streams (through the camera's `preview`, beside stills; the one thing of a camera it may use).
"""

from __future__ import annotations

import logging
import os

from fieldcam.camera.base import Camera
from fieldcam.camera.registry import make_camera
from fieldcam.capture.announcements import Announcements
from fieldcam.capture.announcer import Announcer
from fieldcam.capture.control_thread import ControlThread, Parts
from fieldcam.capture.journal import Journal
from fieldcam.capture.owner import Owner
from fieldcam.capture.places import Places
from fieldcam.capture.preview import PreviewPublisher
from fieldcam.capture.ring import Ring
from fieldcam.capture.settings import SettingsStore
from fieldcam.capture.taker import Taker
from fieldcam.capture.wall_clock import WallClock
from fieldcam.core.clock import Clock, SystemClock
from fieldcam.core.config import Config
from fieldcam.core.durable import OWN_FOLDER_MODE, make_folder
from fieldcam.core.logs import get_logger
from fieldcam.core.ownership import owned

_log = get_logger(__name__)


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
            self._owner.stop()

    def _run_owned(self) -> None:
        make_folder(self._paths.scratch, OWN_FOLDER_MODE)
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
        ring = Ring(self._config, self._paths, self._clock)
        wall_clock = WallClock(self.name, self._clock, self._config.clock_trust, announcements)
        taker = Taker(
            self.name,
            self._camera_config,
            self._config,
            camera=camera,
            journal=journal,
            preview=preview,
            ring=ring,
            announce=announcements,
            wall_clock=wall_clock,
            clock=self._clock,
        )
        owner = Owner(
            self._camera_config,
            self._config,
            taker=taker,
            places=places,
            journal=journal,
            settings=settings,
            preview=preview,
            wall_clock=wall_clock,
            announce=announcements,
            clock=self._clock,
        )
        parts = Parts(owner, journal, settings, preview, places, ring, announcements)
        control = ControlThread(self.name, self._config, self._clock, parts, started_ns)
        self._owner = owner
        if self._stop_requested:
            owner.stop()
        _log.event(logging.INFO, "CAPTURE_STARTED", "capture process started", camera=self.name, pid=os.getpid())
        announcements.event("process_started", "", {"pid": os.getpid()})
        places.open()
        ring.start()
        control.start()
        try:
            owner.run()
        finally:
            owner.close()
            preview.close()
            ring.close()
            places.close()
            # First the last acknowledgements, then the last answers that wait for them.
            announcer.close()
            control.close()
            _log.event(logging.INFO, "CAPTURE_STOPPED", "capture process stopped", camera=self.name)

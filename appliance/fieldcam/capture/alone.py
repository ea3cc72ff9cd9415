# SPDX-License-Identifier: MIT
"""One frame without a daemon: for `--test-only`, and for a program that captures now and then."""

from __future__ import annotations

from typing import Any

from fieldcam.camera.registry import make_camera
from fieldcam.capture import pipeline
from fieldcam.capture.pipeline import Origin
from fieldcam.capture.places import Places
from fieldcam.capture.settings import SettingsStore
from fieldcam.core.clock import Clock
from fieldcam.core.config import Config
from fieldcam.core.durable import OWN_FOLDER_MODE, make_folder
from fieldcam.core.frame import CaptureRequest, Shot, Sidecar
from fieldcam.core.ownership import owned


def capture_alone(config: Config, name: str, clock: Clock, *, store: bool) -> dict[str, Any]:
    """Own the camera for one frame; return `width, height, file_size, seconds, simulated`.

    Args:
        config: of the appliance.
        name: of the camera.
        clock: time.
        store: put the frame into live/; False takes and checks it only.

    Raises:
        CameraInUseError: another process owns the camera.
        CaptureServiceError: the camera gave no frame.
        SharedVolumeError: the frame was not stored.
    """
    camera_config = config.camera(name)[1]
    paths = config.layout.camera(name)
    with owned(paths.owner_lock, f"camera {name!r}"):
        make_folder(paths.scratch, OWN_FOLDER_MODE)
        camera = make_camera(name, camera_config, clock, paths.scratch)
        settings = SettingsStore(paths.settings, camera_config).current()
        began_ns = clock.boottime_ns()
        deadline_ns = began_ns + int(config.capture_timeout * 1e9)
        try:
            camera.open()
            info = camera.info
            origin = Origin(name, info.backend, info.simulated)

            def describe(shot: Shot) -> Sidecar:
                return pipeline.describe(
                    shot,
                    settings,
                    CaptureRequest(kind="live"),
                    origin,
                    sequence=clock.boottime_ns() // 1_000_000,
                    time_quality="unsynchronized",
                    clock=clock,
                )

            taken = pipeline.take(camera, settings, describe, not_before_ns=began_ns, deadline_ns=deadline_ns)
            if store:
                places = Places(config, camera_config, paths, clock, rolled=lambda _names: None)
                try:
                    places.store_live(taken.jpeg, taken.sidecar)
                finally:
                    places.close()
        finally:
            camera.close()
    return {
        "width": taken.shot.width,
        "height": taken.shot.height,
        "file_size": len(taken.jpeg),
        "seconds": (clock.boottime_ns() - began_ns) / 1e9,
        "simulated": info.simulated,
    }

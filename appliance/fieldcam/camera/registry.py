# SPDX-License-Identifier: MIT
"""Which camera a configuration means."""

from __future__ import annotations

from pathlib import Path

from fieldcam.camera.base import Camera
from fieldcam.core.clock import Clock
from fieldcam.core.config import CameraConfig


def make_camera(
    name: str, config: CameraConfig, clock: Clock, scratch: Path, *, connection_timeout_seconds: float = 10.0
) -> Camera:
    """Return the camera of a configuration, not yet open.

    Args:
        name: of the camera.
        config: of the camera.
        clock: time.
        scratch: a folder of the camera's own for files that pass through, best in RAM; made when it is needed.
        connection_timeout_seconds: how long `open` may take where the camera has to be looked for.
    """
    # Each backend loads its parts only where it is used: a Pi does not decode video, a laptop has no rpicam.
    if config.backend == "simulated":
        from fieldcam.camera.simulated import SimulatedCamera

        return SimulatedCamera(name, config, clock)
    if config.backend == "replay":
        from fieldcam.camera.replay import ReplayCamera

        return ReplayCamera(config, clock)
    from fieldcam.camera.rpicam import RpicamCamera

    return RpicamCamera(config, clock, scratch, connection_timeout_seconds=connection_timeout_seconds)

# SPDX-License-Identifier: MIT
"""The documented face of the capture process (contract section 2).

When a daemon owns the camera, the object speaks to it; otherwise it takes the camera itself for as long as it needs.
What that is made of is loaded on use: a container may import this module, and has neither pydantic nor ZeroMQ.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fieldcam.core.clock import Instant, SystemClock
from fieldcam.core.errors import FieldcamError
from fieldcam.core.heartbeat import MAX_BEAT_AGE_SECONDS, read_heartbeat
from fieldcam.core.logs import get_logger
from fieldcam.core.ownership import is_owned
from fieldcam.store.space import disk_usage

if TYPE_CHECKING:
    from fieldcam.capture.process import CaptureProcess
    from fieldcam.core.config import Config

_log = get_logger(__name__)
PROCESS_NAME = "host-camera-capture"


@dataclass
class CaptureServiceConfig:
    """Configuration of `HostCameraCaptureService`; lengths in pixels, times in seconds."""

    capture_dir: str = "/mnt/storage/camera_capture"
    interval: float = 1.0
    width: int = 4056
    height: int = 3040
    quality: int = 95
    max_images: int = 100
    enable_metadata: bool = True


class HostCameraCaptureService:
    """Captures images on the host.

    Args:
        capture_dir: hand-off area, or a `CaptureServiceConfig` with all of these.
        interval: seconds between live frames.
        width, height: pixels.
        quality: JPEG quality, 1 to 100.
        max_images: how many frames live/ holds.
        camera: name of the camera; None = the default one.
        config: the whole configuration, instead of all of the above.

    Raises:
        ConfigError: a value is not allowed.
    """

    def __init__(
        self,
        capture_dir: str | CaptureServiceConfig | None = None,
        interval: float | None = None,
        width: int | None = None,
        height: int | None = None,
        quality: int | None = None,
        max_images: int | None = None,
        *,
        camera: str | None = None,
        config: Config | None = None,
    ) -> None:
        from fieldcam.core.config_sources import load

        given = asdict(capture_dir) if isinstance(capture_dir, CaptureServiceConfig) else {}
        given.pop("enable_metadata", None)
        flags = given or {
            "capture_dir": capture_dir,
            "interval": interval,
            "width": width,
            "height": height,
            "quality": quality,
            "max_images": max_images,
        }
        self._config = config or load(flags=camera_flags(flags, camera))
        self._name, self._camera_config = self._config.camera(camera)
        self._paths = self._config.layout.camera(self._name)
        self._clock = SystemClock()
        self._process: CaptureProcess | None = None

    def start_capture(self) -> None:
        """Capture until stopped (`stop_capture`, or the signals of a process made with `host-camera-capture`).

        Raises:
            CameraInUseError: another process owns the camera.
        """
        from fieldcam.capture.process import CaptureProcess

        self._process = CaptureProcess(self._config, self._name, self._clock)
        self._process.run()

    def stop_capture(self) -> None:
        """End `start_capture`; from a signal handler or another thread."""
        if self._process is not None:
            self._process.stop()

    def capture_single_image(self) -> bool:
        """Capture one image into live/; return whether it is there. The reason of a failure is logged."""
        from fieldcam.capture.alone import capture_alone
        from fieldcam.control import protocol

        try:
            if is_owned(self._paths.owner_lock):
                self._ask(protocol.CAPTURE, {"kind": "live"})
            else:
                capture_alone(self._config, self._name, self._clock, store=True)
        except FieldcamError as error:
            _log.event(logging.ERROR, error.code, error.message, camera=self._name)
            return False
        return True

    def test_capture(self) -> dict[str, Any]:
        """Take and check a new frame without storing it; return `width, height, file_size, seconds, simulated`.

        Raises:
            CaptureServiceError: the camera gave no frame.
            ControlError: the capture process does not answer.
        """
        from fieldcam.capture.alone import capture_alone
        from fieldcam.control import protocol

        if is_owned(self._paths.owner_lock):
            return self._ask(protocol.TEST, {})
        return capture_alone(self._config, self._name, self._clock, store=False)

    def get_capture_status(self) -> dict[str, Any]:
        """Return `is_running, images_captured, last_capture_time, error_count, disk_usage` and more.

        `last_capture_time` is seconds since the epoch or None; `disk_usage` has total_bytes, used_bytes, free_bytes
        and percent of the hand-off area.
        """
        beat = read_heartbeat(self._paths.heartbeat)
        now = Instant.now(self._clock)
        alive = beat is not None and beat.age_seconds(now) <= MAX_BEAT_AGE_SECONDS and beat.state != "stopped"
        last = beat.last_frame if beat is not None else None
        usage = disk_usage(self._config.capture_dir)
        return {
            "is_running": alive and is_owned(self._paths.owner_lock),
            "images_captured": beat.images_captured if beat is not None else 0,
            "last_capture_time": now.at_boottime(last.boottime_ns).wall_ns / 1e9
            if last is not None and beat is not None and beat.boot_id == now.boot_id
            else None,
            "error_count": beat.error_count if beat is not None else 0,
            "disk_usage": {
                "total_bytes": usage.total_bytes,
                "used_bytes": usage.used_bytes,
                "free_bytes": usage.free_bytes,
                "percent": usage.percent,
            },
            "camera": self._name,
            "state": beat.state if beat is not None and alive else "stopped",
            "simulated": beat.simulated if beat is not None else self._camera_config.backend == "simulated",
            "last_error": asdict(beat.last_error) if beat is not None and beat.last_error else None,
            "slots_skipped": dict(beat.slots_skipped) if beat is not None else {},
        }

    def _ask(self, op: str, args: dict[str, Any]) -> dict[str, Any]:
        from fieldcam.control import client

        timeout = self._config.capture_timeout + 1.0
        return client.ask(self._paths.control_socket, op, args, timeout_seconds=timeout, who=PROCESS_NAME)


def camera_flags(flags: dict[str, Any], camera: str | None) -> dict[str, Any]:
    """Return documented flags as dotted keys of the configuration; flags of a camera go to that camera."""
    of_camera = {"interval", "width", "height", "quality"}
    table = f"cameras.{camera or '*'}"
    return {f"{table}.{key}" if key in of_camera else key: value for key, value in flags.items()}

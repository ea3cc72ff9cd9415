# SPDX-License-Identifier: MIT
"""The documented face of the manager (contract section 2).

When a daemon looks after the places, the object speaks to it; otherwise it looks and cleans up itself. What the
manager is made of is loaded on use: a container may import this module, and has neither SQLite nor ZeroMQ.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldcam.core.clock import SystemClock
from fieldcam.core.ownership import is_owned, owned

if TYPE_CHECKING:
    from fieldcam.core.config import Config
    from fieldcam.core.manager_heartbeat import ManagerHeartbeat
    from fieldcam.manager.daemon import Manager

PROCESS_NAME = "image-sync-manager"
STATUS_SECONDS = 5.0
CLEAN_UP_SECONDS = 60.0


class ImageSyncManager:
    """Monitors capture and disks, records images, and cleans up.

    Args:
        shared_volume_dir: hand-off area; None = as configured.
        check_interval: seconds between checks; None = as configured, 60.0 by default.
        max_image_age: seconds after which the newest frame is too old; None = as configured, 10.0 by default.
        cleanup_interval: seconds between cleanups; None = as configured, 300.0 by default.
        config: the whole configuration, instead of all of the above.

    Raises:
        ConfigError: a value is not allowed.
    """

    def __init__(
        self,
        shared_volume_dir: str | Path | None = None,
        check_interval: float | None = None,
        max_image_age: float | None = None,
        cleanup_interval: float | None = None,
        *,
        config: Config | None = None,
    ) -> None:
        from fieldcam.core.config_sources import load

        self._config = config or load(
            flags={
                "capture_dir": shared_volume_dir,
                "check_interval": check_interval,
                "max_image_age": max_image_age,
                "cleanup_interval": cleanup_interval,
            }
        )
        self._clock = SystemClock()
        self._manager: Manager | None = None
        self._stop_requested = False

    def start_monitoring(self) -> None:
        """Monitor until stopped (`stop_monitoring`, or the signals of a process made with `image-sync-manager`).

        Raises:
            CameraInUseError: another manager looks after these places.
        """
        from fieldcam.manager.daemon import Manager

        self._manager = Manager(self._config, self._clock)
        if self._stop_requested:
            self._manager.stop()
        self._manager.run()

    def stop_monitoring(self) -> None:
        """End `start_monitoring`; from a signal handler or another thread."""
        self._stop_requested = True
        if self._manager is not None:
            self._manager.stop()

    def get_system_status(self) -> dict[str, Any]:
        """Return the documented status.

        `host_capture_healthy: bool, container_accessible: bool, latest_image_age: float` (seconds, inf when there is no
        frame), `disk_usage_percent: float, images_in_queue: int` (captures no consumer has acknowledged),
        `error_alerts: list[str]`.

        Raises:
            ControlError: the daemon does not answer.
        """
        from fieldcam.control import protocol
        from fieldcam.manager.probes import Probes

        if self._daemon_owns_places():
            return self._ask(protocol.SYSTEM_STATUS, STATUS_SECONDS)
        return Probes(self._config, self._sources(), self._clock).status().as_dict()

    def trigger_cleanup(self) -> dict[str, int]:
        """Clean up now; return ints `images_removed, metadata_removed, space_freed_mb`.

        Raises:
            ControlError: the daemon does not answer.
        """
        from fieldcam.control import protocol
        from fieldcam.manager.cleanup import Cleaner

        if self._daemon_owns_places():
            return self._ask(protocol.CLEAN_UP, CLEAN_UP_SECONDS)
        # Rows of what is removed are marked by the next manager, which reconciles when it starts.
        with owned(self._config.layout.manager_lock, f"the catalog of {self._config.archive_dir}"):
            return Cleaner(self._config, self._sources(), self._clock).run().as_dict()

    def daemon(self) -> ManagerHeartbeat | None:
        """Return what the daemon that looks after these places last said; None when there is none."""
        from fieldcam.core.manager_heartbeat import read_manager_heartbeat

        return read_manager_heartbeat(self._config.layout.manager_heartbeat) if self._daemon_owns_places() else None

    def _daemon_owns_places(self) -> bool:
        from fieldcam.core.manager_heartbeat import read_manager_heartbeat

        layout = self._config.layout
        if not is_owned(layout.manager_lock):
            return False
        # One run_dir may serve an appliance, while this object was made for another folder.
        beat = read_manager_heartbeat(layout.manager_heartbeat)
        return beat is None or Path(beat.capture_dir) == layout.capture_dir

    def _ask(self, op: str, timeout_seconds: float) -> dict[str, Any]:
        from fieldcam.control.client import ask

        return ask(self._config.layout.manager_socket, op, timeout_seconds=timeout_seconds, who=PROCESS_NAME)

    def _sources(self) -> Any:
        from fieldcam.manager.sources import Sources

        return Sources(self._config.layout, self._config.all_cameras)

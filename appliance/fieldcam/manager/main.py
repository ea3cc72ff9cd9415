# SPDX-License-Identifier: MIT
"""Wires the manager process: logs, signals, umask, and the manager."""

from __future__ import annotations

import os
import signal

from fieldcam.core import logs
from fieldcam.core.config import Config
from fieldcam.manager.service import PROCESS_NAME, ImageSyncManager


def run(config: Config) -> None:
    """Run the manager until SIGTERM or SIGINT.

    Raises:
        CameraInUseError: another manager looks after these places.
    """
    logs.set_up(PROCESS_NAME, config.log_level, config.log_file or None)
    os.umask(0o002)  # the store's group writes, everybody behind the gate folder reads
    manager = ImageSyncManager(config=config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: manager.stop_monitoring())
    manager.start_monitoring()

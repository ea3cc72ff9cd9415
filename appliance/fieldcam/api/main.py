# SPDX-License-Identifier: MIT
"""The API process: wires configuration, clock and the end of the process to the application.

`gunicorn -c python:fieldcam.api.gunicorn_config 'fieldcam.api.main:create()'`, with `FIELDCAM_CONFIG` set.
"""

from __future__ import annotations

import threading

from fieldcam.api.app import Application, create_app
from fieldcam.core.clock import SystemClock
from fieldcam.core.config_sources import load

# Set by the signal handler of gunicorn_config: streams and waits end at once instead of holding up the restart.
stopping = threading.Event()


def create() -> Application:
    """Return the application for gunicorn.

    Raises:
        ConfigError: the configuration is broken; gunicorn_config said so before.
    """
    return create_app(load(), SystemClock(), stopping)

# SPDX-License-Identifier: MIT
"""Asking the capture process of a camera, without waiting for one that cannot answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fieldcam.api.context import Context
from fieldcam.control import client
from fieldcam.core.errors import ProcessNotRunningError
from fieldcam.core.heartbeat import MAX_BEAT_AGE_SECONDS, Heartbeat, read_heartbeat
from fieldcam.core.layout import CameraPaths

WHO = "host-camera-capture"


def ask(
    context: Context, paths: CameraPaths, op: str, args: Mapping[str, Any] | None = None, *, timeout_seconds: float
) -> dict[str, Any]:
    """Send one request and return the result.

    Raises:
        ProcessNotRunningError: the process does not run, hangs, or did not answer in time.
        FieldcamError: what it answered.
    """
    require_alive(context, paths)
    return client.ask(paths.control_socket, op, args, timeout_seconds=timeout_seconds, who=WHO)


def require_alive(context: Context, paths: CameraPaths) -> Heartbeat:
    """Return the heartbeat of a camera's process.

    One that was just killed counts as alive: it is back in a second, and the request waits for it.

    Raises:
        ProcessNotRunningError: its heartbeat is missing, old, or its last.
    """
    beat = read_heartbeat(paths.heartbeat)
    if beat is None or beat.state == "stopped" or beat.age_seconds(context.now()) > MAX_BEAT_AGE_SECONDS:
        raise ProcessNotRunningError(
            f"the capture process of camera {paths.name} does not run or hangs", process=WHO, camera=paths.name
        )
    return beat

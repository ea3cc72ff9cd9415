# SPDX-License-Identifier: MIT
"""The camera's controls, seen from a container: they are the host's.

Several containers watch one camera, so none of them may change its exposure under the others. A program that tries (as
every program written for a camera of its own does) goes on, and the log says once why nothing changed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Self

from fieldcam.core.logs import get_logger

_log = get_logger(__name__)


class HostControls:
    """Takes every control and changes none; stands for `Picamera2.controls` as well."""

    _told: bool

    def __init__(self) -> None:
        object.__setattr__(self, "_told", False)

    def refuse(self, what: str) -> None:
        """Say, once, that it was not changed."""
        if not self._told:
            object.__setattr__(self, "_told", True)
            _log.event(
                logging.WARNING,
                "CAMERA_CONTROL_IGNORED",
                f"{what} was not changed: the host owns the camera; set it in the host's configuration or its API",
            )

    def set_controls(self, controls: Mapping[str, Any]) -> None:
        """Take controls by name, and say that they are not set."""
        if controls:
            self.refuse(", ".join(sorted(map(str, controls))))

    def __setattr__(self, name: str, value: Any) -> None:
        """Take one, as `camera.controls.ExposureTime = 10000`."""
        self.refuse(name)

    def __enter__(self) -> Self:
        """Take several in a `with` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """End of the block."""

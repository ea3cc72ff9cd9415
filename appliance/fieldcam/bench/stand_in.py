# SPDX-License-Identifier: MIT
"""What the simulated camera stands in for: photons and the encoder. Measured here, so that it can be subtracted.

The only module of the benchmark that knows a camera; it is no more than a source of pixels here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from fieldcam.bench.row import Size
from fieldcam.camera.base import CameraSettings
from fieldcam.camera.jpeg import encode
from fieldcam.camera.simulated import SimulatedCamera
from fieldcam.core.clock import SystemClock
from fieldcam.core.config import CameraConfig
from fieldcam.core.errors import CaptureFailedError

QUALITY = 95
_DEADLINE_NS = 60_000_000_000


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame and what it cost.

    Attributes:
        jpeg: the frame.
        draw_seconds: making the pixels, which on a camera is exposure and readout.
        encode_seconds: encoding them.
        cpu_seconds: processor time of both.
    """

    jpeg: bytes
    draw_seconds: float
    encode_seconds: float
    cpu_seconds: float


class StandIn:
    """Draws and encodes the frames that the appliance's simulated camera draws and encodes.

    Args:
        size: of the frames.
    """

    def __init__(self, size: Size) -> None:
        self._clock = SystemClock()
        self._camera = SimulatedCamera("default", CameraConfig(backend="simulated"), self._clock)
        self._settings = CameraSettings(quality=QUALITY, width=size[0], height=size[1])

    def __enter__(self) -> Self:
        """Open the camera; the first frame, which draws the scene, is thrown away."""
        self._camera.open()
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the camera."""
        self._camera.close()

    def take(self) -> Picture:
        """Draw and encode one frame."""
        cpu_before = time.process_time()
        started = time.perf_counter()
        shot = self._camera.capture(self._settings, deadline_ns=self._clock.boottime_ns() + _DEADLINE_NS)
        drawn = time.perf_counter()
        if shot.pixels is None:
            raise CaptureFailedError("the simulated camera gave no pixels")
        jpeg = encode(shot.pixels, QUALITY)
        encoded = time.perf_counter()
        return Picture(jpeg, drawn - started, encoded - drawn, time.process_time() - cpu_before)

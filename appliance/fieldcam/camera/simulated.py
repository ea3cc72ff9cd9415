# SPDX-License-Identifier: MIT
"""A camera that generates its pictures, for development, tests and demonstrations.

Deterministic: the camera's name gives the scene, the clock gives where the traffic is, and the number of the frame is
drawn in. Brightness follows exposure times gain, so that settings can be seen to act. The word SIMULATED stands in
every frame, large enough to be read in a thumbnail.
"""

from __future__ import annotations

import threading
from collections.abc import Generator

from fieldcam.camera.base import CameraInfo, CameraSettings, PreviewFrame
from fieldcam.camera.jpeg import PREVIEW_QUALITY, encode, scaled_height
from fieldcam.camera.pacing import Pacer
from fieldcam.camera.scene import Scene
from fieldcam.core.clock import Clock, rfc3339
from fieldcam.core.config import CameraConfig
from fieldcam.core.errors import CameraNotInitializedError, CaptureTimeoutError
from fieldcam.core.frame import Shot

STANDARD_SIZES = ((4056, 3040), (2028, 1520), (1920, 1080), (1280, 960), (1280, 720), (640, 480))
_NORMAL_EXPOSURE_MS, _NORMAL_GAIN = 100.0, 1.0
_MOST_SCENES = 2  # a scene of 12 million pixels holds 73 MB


class SimulatedCamera:
    """A camera that generates its pictures.

    Args:
        name: of the camera; the same name gives the same scene.
        config: of the camera; its size is offered besides the usual ones.
        clock: when the frames are taken.
        exposure_takes_time: whether a shot lasts as long as its exposure would.
    """

    def __init__(self, name: str, config: CameraConfig, clock: Clock, *, exposure_takes_time: bool = False) -> None:
        self._name = name
        self._config = config
        self._clock = clock
        self._exposure_takes_time = exposure_takes_time
        self._native = config.size or STANDARD_SIZES[0]
        self._scenes: dict[tuple[int, int], Scene] = {}
        self._frames = 0
        self._closed = threading.Event()
        self._closed.set()
        sizes = {self._native, *STANDARD_SIZES}
        self.info = CameraInfo(
            backend="simulated",
            model="Simulated camera",
            resolutions=tuple(sorted(sizes, key=lambda size: (size[0] * size[1], size), reverse=True)),
            simulated=True,
            previews_beside_stills=True,
        )

    def open(self) -> None:
        """Make the camera ready; never fails."""
        if self._closed.is_set():
            # A new one each time: a preview of the time before must stay ended.
            self._closed = threading.Event()

    def capture(self, settings: CameraSettings, *, deadline_ns: int) -> Shot:
        """Generate a frame of any size.

        Raises:
            CameraNotInitializedError: the camera is not open.
            CaptureTimeoutError: the exposure would last longer than the deadline allows.
        """
        closed = self._closed
        if closed.is_set():
            raise CameraNotInitializedError("the simulated camera is not open")
        exposed_at_ns = self._clock.boottime_ns()
        exposure_ms, gain = _exposure_of(settings)
        if self._exposure_takes_time:
            self._expose(exposure_ms, closed, deadline_ns)
        if self._clock.boottime_ns() >= deadline_ns:
            raise CaptureTimeoutError("the simulated camera was given no time")
        self._frames += 1
        width, height = self._size_of(settings)
        pixels = self._scene(width, height).draw(
            seconds=exposed_at_ns / 1e9,
            light=_light(exposure_ms, gain),
            status=f"{rfc3339(self._wall_ns_at(exposed_at_ns))}  {self._name}  #{self._frames:06d}",
        )
        return Shot(exposed_at_ns, width, height, pixels=pixels, exposure_ms=exposure_ms, gain=gain)

    def preview(self, settings: CameraSettings, *, width: int, fps: float) -> Generator[PreviewFrame, None, None]:
        """Yield small frames of the same scene; may run in a thread of its own.

        Raises:
            CameraNotInitializedError: the camera is not open.
        """
        closed = self._closed
        if closed.is_set():
            raise CameraNotInitializedError("the simulated camera is not open")
        full_width, full_height = self._size_of(settings)
        width = min(width, full_width)
        scene = Scene(self._name, width, scaled_height(full_width, full_height, width))
        light = _light(*_exposure_of(settings))
        pacer = Pacer(fps, closed)
        number = 0
        while pacer.wait():
            number += 1
            now_ns = self._clock.boottime_ns()
            status = f"{rfc3339(self._wall_ns_at(now_ns))}  {self._name}  preview #{number:06d}"
            pixels = scene.draw(seconds=now_ns / 1e9, light=light, status=status)
            yield PreviewFrame(encode(pixels, PREVIEW_QUALITY), now_ns, scene.width, scene.height)

    def close(self) -> None:
        """End previews and let go of the scenes. Idempotent."""
        self._closed.set()
        self._scenes.clear()

    def _expose(self, exposure_ms: float, closed: threading.Event, deadline_ns: int) -> None:
        left_seconds = (deadline_ns - self._clock.boottime_ns()) / 1e9
        if closed.wait(min(exposure_ms / 1000, left_seconds)):
            raise CameraNotInitializedError("the simulated camera was closed")
        if exposure_ms / 1000 > left_seconds:
            raise CaptureTimeoutError(f"an exposure of {exposure_ms:g} ms does not fit before the deadline")

    def _size_of(self, settings: CameraSettings) -> tuple[int, int]:
        if settings.width is not None and settings.height is not None:
            return settings.width, settings.height
        return self._native

    def _scene(self, width: int, height: int) -> Scene:
        scene = self._scenes.pop((width, height), None) or Scene(self._name, width, height)
        self._scenes[width, height] = scene  # the newest last
        while len(self._scenes) > _MOST_SCENES:
            del self._scenes[next(iter(self._scenes))]
        return scene

    def _wall_ns_at(self, boottime_ns: int) -> int:
        return self._clock.wall_ns() - (self._clock.boottime_ns() - boottime_ns)


def _exposure_of(settings: CameraSettings) -> tuple[float, float]:
    exposure_ms = _NORMAL_EXPOSURE_MS if settings.exposure_ms is None else settings.exposure_ms
    return exposure_ms, _NORMAL_GAIN if settings.gain is None else settings.gain


def _light(exposure_ms: float, gain: float) -> float:
    return exposure_ms / _NORMAL_EXPOSURE_MS * gain / _NORMAL_GAIN

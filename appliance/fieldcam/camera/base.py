# SPDX-License-Identifier: MIT
"""What every camera can do. One contract test class runs over all of them (tests/contract/test_cameras.py).

A camera belongs to one thread, the owner loop of the capture process; only `preview` may run in another one, and only
when `CameraInfo.previews_beside_stills` says so. Methods raise `CameraNotAvailableError`, `CaptureFailedError` or
their children, never anything of a library below.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fieldcam.core.frame import Shot


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """What a shot is taken with. None leaves the choice to the camera (automatic exposure, its native size).

    Attributes:
        exposure_ms: milliseconds.
        gain: 1.0 = none.
        quality: JPEG quality, 1 to 100, for cameras that encode themselves.
        width, height: pixels.
    """

    exposure_ms: float | None = None
    gain: float | None = None
    quality: int = 95
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """What a camera is.

    Attributes:
        backend: `simulated`, `replay`, `rpicam` …
        model: what the camera calls itself.
        resolutions: sizes (width, height) it offers, largest first.
        simulated: True when its pixels are generated; every frame and every answer then says so.
        previews_beside_stills: `preview` works while stills are taken; otherwise stills serve as preview.
        repeats: the same bytes may rightly come again (a folder of photos), so they are no sign of a frozen camera.
    """

    backend: str
    model: str
    resolutions: tuple[tuple[int, int], ...]
    simulated: bool
    previews_beside_stills: bool
    serial_number: str | None = None
    repeats: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PreviewFrame:
    """One frame of the preview stream: a JPEG and CLOCK_BOOTTIME at the start of its exposure."""

    jpeg: bytes
    exposed_at_ns: int
    width: int
    height: int


class Camera(Protocol):
    """A camera."""

    @property
    def info(self) -> CameraInfo:
        """What the camera is; known after `open`."""

    def open(self) -> None:
        """Find the camera and make it ready; may be called again after a failure.

        Raises:
            CameraNotAvailableError: there is no such camera, or its tool is missing; the message says which.
        """

    def capture(self, settings: CameraSettings, *, deadline_ns: int) -> Shot:
        """Take one frame whose exposure begins after this call did.

        Args:
            settings: what to take it with.
            deadline_ns: CLOCK_BOOTTIME by which to give up; nothing may be left running after it.

        Raises:
            CaptureTimeoutError: the deadline passed.
            ImageInvalidError: what came is not a whole image of the size asked for.
            CaptureFailedError: the camera said no; the message has its words.
            CameraNotAvailableError: the camera is gone.
        """

    def preview(self, settings: CameraSettings, *, width: int, fps: float) -> Generator[PreviewFrame, None, None]:
        """Yield preview frames at most `width` pixels wide, at most `fps` a second, until the iterator is closed."""

    def close(self) -> None:
        """Let go of the camera and of every process and file it uses. Idempotent."""

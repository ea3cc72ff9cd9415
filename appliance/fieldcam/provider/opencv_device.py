# SPDX-License-Identifier: MIT
"""A camera of one's own, opened with OpenCV: `USE_SHARED_VOLUME_IMAGES=false`, for a desk without an appliance.

The OpenCV half is OpenCV itself, with a lock around it: `release` from another thread must not free what a read uses.
"""

from __future__ import annotations

import threading
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fieldcam.core.clock import Instant, SystemClock
from fieldcam.core.errors import CameraNotAvailableError, CaptureFailedError
from fieldcam.core.frame import instant_fields
from fieldcam.core.jpeg import Divisor
from fieldcam.handoff.lores import shrink
from fieldcam.provider.scaled_sizes import Size, scaled

if TYPE_CHECKING:
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]


def load_opencv() -> ModuleType:
    """Return cv2.

    Raises:
        CameraNotAvailableError: it cannot be imported.
    """
    try:
        import cv2
    except ImportError as error:
        raise CameraNotAvailableError(
            f"USE_SHARED_VOLUME_IMAGES=false opens the camera with OpenCV, which cannot be imported here ({error}): "
            "install opencv-python-headless, or leave the variable out to use the host's camera"
        ) from error
    return cv2


class DeviceVideoCapture:
    """`cv2.VideoCapture` behind a lock, and a `FrameSource` beside it; the methods have OpenCV's names.

    Args:
        device: number of a camera, or a path or URL that OpenCV opens.
    """

    def __init__(self, device: int | str) -> None:
        self._cv2 = load_opencv()
        self._device = device
        self._lock = threading.RLock()
        self._clock = SystemClock()
        self._taken = 0
        self._video: Any = self._cv2.VideoCapture(device)

    def open(self, target: Any = None, *others: Any) -> bool:
        """Open again; nothing means the same device."""
        with self._lock:
            if target is not None:
                self._device = target
            opened: bool = self._video.open(self._device, *others)
            return opened

    def __getattr__(self, name: str) -> Any:
        """Return a method of `cv2.VideoCapture` that holds the lock while it runs."""
        if name.startswith("_"):
            raise AttributeError(name)
        method = getattr(self._video, name)

        def locked(*arguments: Any) -> Any:
            with self._lock:
                return method(*arguments)

        return locked

    def let_go(self) -> None:
        """Nothing is held."""


class DeviceFrames:
    """A `FrameSource` over such a device."""

    def __init__(self, device: DeviceVideoCapture, name: int | str) -> None:
        self._device = device
        self._name = name
        self._clock = SystemClock()
        self._last: dict[str, Any] = {}

    def open(self) -> None:
        """Open it again."""
        self._device.open()

    @property
    def is_open(self) -> bool:
        """Whether the device is open."""
        return bool(self._device.isOpened())

    def take(self, stream: str = "main", *, only_files: bool = False) -> DeviceFrame:  # noqa: ARG002 - one stream, no files
        """Read the next frame.

        Raises:
            CameraNotAvailableError: the device is not open.
            CaptureFailedError: it gave no frame.
        """
        if not self.is_open:
            raise CameraNotAvailableError(f"the device {self._name} is not open")
        moment = Instant.now(self._clock)
        try:
            succeeded, pixels = self._device.read()
        except load_opencv().error:  # in exception mode
            succeeded, pixels = False, None
        if not succeeded or pixels is None:
            raise CaptureFailedError(f"the device {self._name} gave no frame")
        self._last = {
            **instant_fields(moment),
            "sequence": moment.boottime_ns,
            "camera": str(self._name),
            "backend": "opencv",
            "simulated": False,
            "width": pixels.shape[1],
            "height": pixels.shape[0],
            "exposure": None,  # OpenCV's unit depends on the driver
            "gain": None,
            "settings": {},
        }
        return DeviceFrame(pixels, self._last)

    def describe(self) -> dict[str, Any]:
        """Return the metadata of the frame read last; empty before the first."""
        return dict(self._last)

    def size(self) -> Size | None:
        """Return width and height as the device reports them."""
        if not self.is_open:
            return None
        width, height = int(self._device.get(3)), int(self._device.get(4))
        return (width, height) if width > 0 and height > 0 else None

    def pause(self) -> None:
        """Nothing: a device that was let go of might be taken by another."""

    def close(self) -> None:
        """Release the device."""
        self._device.release()


class DeviceFrame:
    """A frame of a device."""

    jpeg: bytes | None = None

    def __init__(self, pixels: Image, metadata: dict[str, Any]) -> None:
        self._pixels = pixels
        self._metadata = metadata

    def metadata(self) -> dict[str, Any]:
        """Return what is known of it."""
        age = (SystemClock().boottime_ns() - self._metadata["monotonic_ns"]) / 1e9
        return {**self._metadata, "age": age}

    def image(self, *, gray: bool = False, divisor: Divisor = 1, out: Image | None = None) -> Image:
        """Return BGR pixels, or their brightness."""
        pixels = self._pixels
        if divisor != 1:
            width, height = scaled((pixels.shape[1], pixels.shape[0]), divisor)
            pixels = np.empty((height, width, 3), np.uint8)
            shrink(self._pixels, pixels)
        if gray:
            cv2 = load_opencv()
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        if out is not None and out.shape == pixels.shape:
            np.copyto(out, pixels)
            return out
        return pixels

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End of use."""

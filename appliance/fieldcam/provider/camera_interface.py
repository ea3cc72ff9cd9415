# SPDX-License-Identifier: MIT
"""`ContainerCameraInterface`: stands in for `cv2.VideoCapture` and for `Picamera2` in a container without a camera.

A program changes its import and goes on (contract section 2). Both halves take from one row of frames: none is given
twice, whichever half asks. docs/camera-interface.md lists what is as there, and what is not.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldcam.core.errors import ConfigError
from fieldcam.provider.frame_source import FrameSource
from fieldcam.provider.host_controls import HostControls
from fieldcam.provider.opencv_device import DeviceFrames, DeviceVideoCapture
from fieldcam.provider.opencv_shared import SharedVideoCapture
from fieldcam.provider.picamera2_like import Picamera2Like
from fieldcam.provider.shared_frames import SharedFrames

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SHARED_VARIABLE = "USE_SHARED_VOLUME_IMAGES"
DEVICE_VARIABLE = "CAMERA_DEVICE_ID"
_YES = frozenset({"", "true", "1", "yes", "on"})
_NO = frozenset({"false", "0", "no", "off"})


class ContainerCameraInterface(Picamera2Like):
    """The host's camera, as OpenCV and Picamera2 would give it.

    With `USE_SHARED_VOLUME_IMAGES=false` it opens a device of its own with OpenCV: the one `CAMERA_DEVICE_ID` says, a
    number (0 by default), a path or a URL.

    Args:
        shared_volume_dir: the hand-off area, or `cameras/<name>` in it. Without it the variable CAMERA_CAPTURE_DIR
            counts, and then /mnt/storage/camera_capture.
        max_age_seconds: older images are not delivered; also how long a read waits for a new one.
        ring_dir: where decoded frames are; None = CAMERA_RING_DIR, and then /mnt/storage/camera_ring; empty = none.

    Raises:
        CameraNotAvailableError: a device is wanted, and OpenCV is missing.
        ConfigError: a variable has a value that is none.
    """

    def __init__(
        self,
        shared_volume_dir: str | Path | None = None,
        max_age_seconds: float = 5.0,
        *,
        ring_dir: str | Path | None = None,
    ) -> None:
        controls = HostControls()
        self._video: SharedVideoCapture | DeviceVideoCapture
        frames: FrameSource
        if _uses_shared_volume(os.environ):
            frames = shared = SharedFrames(shared_volume_dir, max_age_seconds, ring_dir=ring_dir)
            self._video = SharedVideoCapture(shared, controls)
        else:
            device = _device(os.environ)
            self._video = DeviceVideoCapture(device)
            frames = DeviceFrames(self._video, device)
        super().__init__(frames, controls)

    def read(self, image: npt.NDArray[np.uint8] | None = None) -> tuple[bool, npt.NDArray[np.uint8] | None]:
        """Return the next frame; the first call gives the newest one, at once.

        Args:
            image: an array that is filled and returned when it fits.

        Returns:
            `(True, BGR uint8 of shape (height, width, 3))`, or `(False, None)` when no fresh frame came within
            `max_age_seconds` (or `CAP_PROP_READ_TIMEOUT_MSEC`), or the camera was released.
        """
        result: tuple[bool, npt.NDArray[np.uint8] | None] = self._video.read(image)
        return result

    def grab(self) -> bool:
        """Take the next frame without decoding it; as `read`, the picture follows with `retrieve`."""
        return bool(self._video.grab())

    def retrieve(
        self, image: npt.NDArray[np.uint8] | None = None, flag: int = 0
    ) -> tuple[bool, npt.NDArray[np.uint8] | None]:
        """Return the picture of the frame grabbed last, `(False, None)` when there is none."""
        result: tuple[bool, npt.NDArray[np.uint8] | None] = self._video.retrieve(image, flag)
        return result

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Return whether recent images exist."""
        return bool(self._video.isOpened())

    def open(
        self,
        filename: Any = None,
        apiPreference: int = 0,  # noqa: N803 - OpenCV's name
        params: Any = None,
    ) -> bool:
        """Open again: a camera number or nothing means the same as before, a path another hand-off area.

        Returns:
            Whether recent images are there.
        """
        others = (apiPreference,) if params is None else (apiPreference, params)
        return bool(self._video.open(filename, *others))

    def release(self) -> None:
        """Let go of everything; reads give nothing from now on, until `open` or `start`."""
        self._video.release()

    def get(self, propId: int) -> float:  # noqa: N803 - OpenCV's name
        """Return a property, 0.0 for one that is not known; docs/camera-interface.md lists them."""
        return float(self._video.get(propId))

    def set(self, propId: int, value: float) -> bool:  # noqa: N803 - OpenCV's name
        """Change a property of this reader; return whether it was accepted. The camera's own are the host's."""
        return bool(self._video.set(propId, value))

    def getBackendName(self) -> str:  # noqa: N802 - OpenCV's name
        """Return the name of the backend."""
        return str(self._video.getBackendName())

    def setExceptionMode(self, enable: bool) -> None:  # noqa: N802 - OpenCV's name
        """Let failures raise, instead of being returned: errors of ours that are also a `cv2.error`."""
        self._video.setExceptionMode(enable)

    def getExceptionMode(self) -> bool:  # noqa: N802 - OpenCV's name
        """Return whether failures raise."""
        return bool(self._video.getExceptionMode())

    def stop(self) -> None:
        """Let go of what costs something. A capture after this works; it starts again by itself."""
        self._video.let_go()
        super().stop()

    def close(self) -> None:
        """Let go of everything, as `release`."""
        self.release()
        super().close()


def _uses_shared_volume(environ: Mapping[str, str]) -> bool:
    value = environ.get(SHARED_VARIABLE, "").strip().lower()
    if value not in _YES | _NO:
        raise ConfigError(f"{SHARED_VARIABLE}={value!r} (environment): true and false are possible")
    return value in _YES


def _device(environ: Mapping[str, str]) -> int | str:
    value = environ.get(DEVICE_VARIABLE, "").strip()
    return int(value or 0) if not value or value.isdecimal() else value

# SPDX-License-Identifier: MIT
"""`cv2.VideoCapture` over the hand-off area: the OpenCV half of `ContainerCameraInterface`.

Behaves as OpenCV 4 does, compared call by call in tests/contract/test_video_capture.py; what a property means here,
docs/camera-interface.md says. One thread reads; another may release at any moment.
"""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldcam.core.errors import (
    CameraNotAvailableError,
    CameraNotInitializedError,
    FieldcamError,
    ImageNotFoundError,
    RequestInvalidError,
)
from fieldcam.core.frame import Sidecar
from fieldcam.core.jpeg import Divisor
from fieldcam.provider import opencv_properties as properties
from fieldcam.provider.held import HeldFrame
from fieldcam.provider.host_controls import HostControls
from fieldcam.provider.opencv_errors import for_opencv
from fieldcam.provider.scaled_sizes import nearest_divisor, scaled
from fieldcam.provider.shared_frames import SharedFrames

if TYPE_CHECKING:
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]

BACKEND_NAME = "FIELDCAM"


class SharedVideoCapture:
    """Answers as `cv2.VideoCapture` does; the methods have its names.

    Args:
        frames: where the frames come from.
        controls: told what somebody wants of the camera.
    """

    def __init__(self, frames: SharedFrames, controls: HostControls) -> None:
        self._frames = frames
        self._controls = controls
        self._lock = threading.Lock()  # around what was grabbed: nobody may close what another decodes
        self._held: HeldFrame | None = None
        self._last_image: Image | None = None
        self._wish: tuple[float | None, float | None] = (None, None)
        self._height_decides = False
        self._raises = False

    def open(self, target: Any = None, *_: Any) -> bool:
        """Open again. A path is another hand-off area; a camera number, or nothing, the same as before.

        Returns:
            Whether recent images are there. The object is open even without, and waits for them; not so when the path
            is no folder.

        Raises:
            CameraNotAvailableError: in exception mode, instead of False.
        """
        self.release()
        if isinstance(target, str | os.PathLike):
            if not Path(target).is_dir():
                return self._fail(CameraNotAvailableError(f"{os.fspath(target)!r} is no folder"))
            self._frames.folder = Path(target)
        elif target is not None:
            properties.property_number(target)  # any number: which camera it is, the folder says
        self._frames.open()
        if self._frames.has_recent():
            return True
        return self._fail(CameraNotInitializedError(f"there is no recent image in {self._frames.folder}"))

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Return whether recent images exist."""
        return self._frames.is_open and self._frames.has_recent()

    def release(self) -> None:
        """Let go of everything; a read that waits in another thread ends without a frame."""
        self._frames.close()
        with self._lock:
            self._drop()

    def let_go(self) -> None:
        """Let go of the frame grabbed last."""
        with self._lock:
            self._drop()

    def grab(self) -> bool:
        """Take the next frame without decoding it."""
        self.let_go()  # before the wait: others want the slot
        try:
            held = self._frames.take()
        except FieldcamError as error:
            return self._fail(error)
        self._hold(held)
        return True

    def retrieve(self, image: Image | None = None, flag: int = 0) -> tuple[bool, Image | None]:  # noqa: ARG002 - one channel
        """Decode the frame grabbed last; arguments and result as `read`."""
        _check_target(image)
        failure: FieldcamError = ImageNotFoundError("no frame was grabbed")
        with self._lock:
            try:
                if self._held is not None:
                    return True, self._image_of(self._held, image)
                if self._last_image is not None:
                    return True, _copied(self._last_image, image)
            except FieldcamError as error:
                failure = error
        return self._fail(failure), None

    def read(self, image: Image | None = None) -> tuple[bool, Image | None]:
        """Take the next frame and decode it.

        Args:
            image: filled and returned when size and type fit; otherwise a new array is returned.

        Returns:
            `(True, BGR uint8 of shape (height, width, 3))`, the array being the caller's, or `(False, None)`.

        Raises:
            SharedVolumeError, CaptureServiceError: in exception mode, instead of False.
        """
        _check_target(image)
        self.let_go()
        try:
            held = self._frames.take()
            try:
                array = self._image_of(held, image)
            except BaseException:
                held.close()
                raise
        except FieldcamError as error:
            return self._fail(error), None
        if held.jpeg is not None:
            self._hold(held)  # compressed bytes are cheap to keep for a retrieve() that may follow
        else:
            # A lease is not: its slot could not be written meanwhile. The array that is returned has the picture; as it
            # stays until the next read, it costs what a loop that still has its last frame costs anyway.
            held.close()
            with self._lock:
                self._last_image = array if self._frames.is_open else None
        return True, array

    def get(self, prop_id: int) -> float:
        """Return a property; 0.0 when it is unknown or the object is not open, -1.0 for the backend then."""
        number = properties.property_number(prop_id)
        if not self._frames.is_open:
            return -1.0 if number == properties.BACKEND else 0.0
        match number:
            case properties.POS_FRAMES:
                return float(self._frames.taken)
            case properties.POS_MSEC:
                last = self._frames.last_sidecar
                return last.monotonic_ns / 1e6 if last is not None else 0.0
            case properties.FPS:
                return self._frames.frame_rate()
            case properties.READ_TIMEOUT_MSEC:
                return self._frames.timeout * 1000
            case properties.FRAME_WIDTH | properties.FRAME_HEIGHT | properties.EXPOSURE | properties.GAIN:
                sidecar = self._frames.newest_sidecar()
                return 0.0 if sidecar is None else self._of_frame(number, sidecar)
        return properties.CONSTANT.get(number, 0.0)

    def set(self, prop_id: int, value: float) -> bool:
        """Change a property of this reader.

        Returns:
            Whether it was accepted. What the camera does, the host decides: that is refused, and said once in the log.

        Raises:
            RequestInvalidError: the property can only be read; in exception mode also instead of False.
        """
        number, wanted = properties.property_number(prop_id), properties.property_value(value)
        if number == properties.BACKEND:
            raise for_opencv(RequestInvalidError("CAP_PROP_BACKEND can only be read"))
        if self._frames.is_open and math.isfinite(wanted) and self._accept(number, wanted):
            return True
        return self._fail(RequestInvalidError(f"property {number} cannot be set to {wanted:g}"))

    def getBackendName(self) -> str:  # noqa: N802 - OpenCV's name
        """Return the name of this backend.

        Raises:
            CameraNotAvailableError: it is not open; OpenCV raises here, too.
        """
        if not self._frames.is_open:
            raise for_opencv(CameraNotAvailableError("the camera is not open"))
        return BACKEND_NAME

    def setExceptionMode(self, enable: Any) -> None:  # noqa: N802 - OpenCV's name
        """Let failures raise instead of being returned."""
        if not isinstance(enable, int | np.integer | np.bool_ | None):
            raise TypeError(f"the exception mode is on or off, no {type(enable).__name__}")
        self._raises = bool(enable)

    def getExceptionMode(self) -> bool:  # noqa: N802 - OpenCV's name
        """Return whether failures raise."""
        return self._raises

    def _accept(self, number: int, wanted: float) -> bool:
        if number in {properties.FRAME_WIDTH, properties.FRAME_HEIGHT}:
            if wanted <= 0:
                return False
            self._height_decides = number == properties.FRAME_HEIGHT
            width, height = self._wish
            self._wish = (width, wanted) if self._height_decides else (wanted, height)
            return True
        if number == properties.READ_TIMEOUT_MSEC:
            if wanted < 0:
                return False
            self._frames.timeout = wanted / 1000
            return True
        if number in properties.CONTROLS_OF_THE_HOST:
            self._controls.refuse(f"property {number}")
            return False
        # Programs ask for MJPG, or for a buffer of one frame: what is so already is accepted.
        return properties.CONSTANT.get(number) == wanted

    def _of_frame(self, number: int, sidecar: Sidecar) -> float:
        if number == properties.EXPOSURE:
            return float(sidecar.exposure or 0.0)
        if number == properties.GAIN:
            return float(sidecar.gain or 0.0)
        size = scaled((sidecar.width, sidecar.height), self._divisor_for(sidecar))
        return float(size[number == properties.FRAME_HEIGHT])

    def _divisor_for(self, sidecar: Sidecar) -> Divisor:
        return nearest_divisor((sidecar.width, sidecar.height), *self._wish, height_decides=self._height_decides)

    def _image_of(self, held: HeldFrame, target: Image | None) -> Image:
        array = held.image(divisor=self._divisor_for(held.sidecar), out=target)
        # What the decoder cannot write into directly (rows with gaps between them) is copied.
        return array if target is None or array is target else _copied(array, target, own=True)

    def _hold(self, held: HeldFrame) -> None:
        with self._lock:
            self._drop()
            if self._frames.is_open:
                self._held = held
                return
        held.close()

    def _drop(self) -> None:
        self._last_image = None
        held, self._held = self._held, None
        if held is not None:
            held.close()

    def _fail(self, error: FieldcamError) -> bool:
        if self._raises:
            raise for_opencv(error)
        return False


def _check_target(image: Any) -> None:
    """Refuse what cannot be written to, as OpenCV does."""
    if image is None:
        return
    if not isinstance(image, np.ndarray):
        raise for_opencv(RequestInvalidError(f"image is no NumPy array but a {type(image).__name__}"))
    if not image.flags.writeable:
        raise for_opencv(RequestInvalidError("image is a NumPy array that cannot be written to"))


def _copied(source: Image, target: Image | None, *, own: bool = False) -> Image:
    """Return `source` in `target` if it fits, else a copy, or `source` itself when it is the caller's `own`."""
    if target is None or target.shape != source.shape or target.dtype != source.dtype:
        return source if own else source.copy()
    np.copyto(target, source)
    return target

# SPDX-License-Identifier: MIT
"""`cv2.VideoCapture` over the hand-off area: the OpenCV half of `ContainerCameraInterface`.

A camera gives each frame once and makes its reader wait for the next; so does this. The first frame is the newest
fresh one, at once. A call that gets none has waited: a loop over a dead volume must not eat the processor. Only an
object that is not open answers at once, as OpenCV's does.

One thread reads; another may release at any moment. Nothing waits while it holds the lock.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldcam.core.clock import Clock, SystemClock, is_fresh
from fieldcam.core.errors import (
    CacheError,
    CameraNotAvailableError,
    CameraNotInitializedError,
    FieldcamError,
    ImageNotFoundError,
    ImageTooOldError,
    RequestInvalidError,
)
from fieldcam.core.frame import Sidecar
from fieldcam.core.logs import get_logger
from fieldcam.provider import opencv_properties as properties
from fieldcam.provider.frame_rate import frame_rate
from fieldcam.provider.held import HeldFrame
from fieldcam.provider.opencv_errors import for_opencv
from fieldcam.provider.provider import SharedVolumeImageProvider
from fieldcam.provider.scaled_sizes import Divisor, nearest_divisor, scaled

log = get_logger(__name__)

Image = npt.NDArray[np.uint8]
BACKEND_NAME = "FIELDCAM"
_ANY_AGE = math.inf


class SharedVideoCapture:
    """Frames of the hand-off area, asked for as OpenCV asks a camera.

    Args:
        shared_volume_dir: the hand-off area, or the folder of one camera in it.
        max_age_seconds: older frames are not delivered; also how long a read waits, until `CAP_PROP_READ_TIMEOUT_MSEC`
            says otherwise.
        ring_dir: as `SharedVolumeImageProvider`.
    """

    def __init__(
        self,
        shared_volume_dir: str | Path,
        max_age_seconds: float = 5.0,
        *,
        ring_dir: str | Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.folder = Path(shared_volume_dir)
        self._ring_dir = ring_dir
        self._max_age = max_age_seconds
        self._timeout = max_age_seconds
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._raises = False
        self._told_host_owns = False
        self._wish: tuple[float | None, float | None] = (None, None)
        self._height_decides = False
        self._provider: SharedVolumeImageProvider | None = None
        self._attach()

    # --- opening and closing

    def open(self, target: Any = None, api_preference: int = 0, params: Sequence[int] | None = None) -> bool:  # noqa: ARG002 - as cv2 has them
        """Open again; a camera number or nothing means the same area as before, a path means another one.

        Returns:
            Whether recent images are there. With False the object is open nevertheless, and waits for them, unless the
            path is no folder.

        Raises:
            CameraNotAvailableError: in exception mode, instead of False.
        """
        self.release()
        if isinstance(target, str | os.PathLike):
            if not Path(target).is_dir():
                return self._fail(CameraNotAvailableError(f"{os.fspath(target)} is no folder", path=str(target)))
            self.folder = Path(target)
        elif target is not None:
            properties.property_number(target)  # any camera number: which camera it is, the folder says
        self._attach()
        if self.is_opened():
            return True
        return self._fail(CameraNotInitializedError(f"there is no recent image in {self.folder}"))

    def is_opened(self) -> bool:
        """Return whether recent images exist."""
        with self._lock:
            provider, sidecar = self._provider, self._sidecar
        if provider is None:
            return False
        # The usual loop asks before every read, so what was read last answers where it can.
        return (sidecar is not None and is_fresh(self._age(sidecar), self._max_age)) or bool(self._peek(self._max_age))

    def release(self) -> None:
        """Let go of everything; a read that waits in another thread ends without a frame."""
        with self._lock:
            provider, self._provider = self._provider, None
            self._drop_held()
            self._sidecar = None
        if provider is not None:
            provider.close()

    def pause(self) -> None:
        """Let go of what costs something, and stay open."""
        with self._lock:
            provider = self._provider
            self._drop_held()
        if provider is not None:
            provider.stop_monitoring()

    @property
    def is_attached(self) -> bool:
        """Whether it is open, be there images or not."""
        return self._provider is not None

    def _attach(self) -> None:
        provider = SharedVolumeImageProvider(
            self.folder,
            background_monitoring=False,  # the reads wait themselves; a thread would decode for nobody
            max_age_seconds=self._max_age,
            ring_dir=self._ring_dir,
        )
        with self._lock:
            self._provider = provider
            self._held: HeldFrame | None = None
            self._last_image: weakref.ref[Image] | None = None
            self._sidecar: Sidecar | None = None
            self._sequence = -1
            self._taken = 0

    # --- frames

    def grab(self) -> bool:
        """Take the next frame without decoding it; see `take`."""
        with self._lock:
            self._drop_held()  # a lease must not be held while waiting: others want the slot
        try:
            held = self.take()
        except FieldcamError as error:
            return self._fail(error)
        with self._lock:
            self._held = held
        return True

    def retrieve(self, image: Image | None = None, flag: int = 0) -> tuple[bool, Image | None]:  # noqa: ARG002 - one channel
        """Decode the frame grabbed last; see `read`."""
        _check_target(image)
        with self._lock:
            try:
                if self._held is not None:
                    return True, self._image_of(self._held, image)
                if (last := self._last_image and self._last_image()) is not None:
                    return True, _copied(last, image)
            except FieldcamError as error:
                failure = error
            else:
                failure = ImageNotFoundError("no frame has been grabbed")
        return self._fail(failure), None

    def read(self, image: Image | None = None) -> tuple[bool, Image | None]:
        """Take the next frame and decode it.

        Args:
            image: filled and returned when size and type fit; otherwise left alone, and a new array is returned.

        Returns:
            `(True, BGR uint8 of shape (height, width, 3))`, the array being the caller's, or `(False, None)`.

        Raises:
            SharedVolumeError, CaptureServiceError: in exception mode, instead of False.
        """
        _check_target(image)
        with self._lock:
            self._drop_held()
        try:
            held = self.take()
            try:
                array = self._image_of(held, image)
            except BaseException:
                held.close()
                raise
        except FieldcamError as error:
            return self._fail(error), None
        with self._lock:
            if held.jpeg is not None and self._provider is not None:
                self._held = held  # compressed bytes are cheap to keep for a retrieve() that may follow
            else:
                # A lease is not: its slot could not be written meanwhile. The caller's own array has the picture.
                held.close()
                self._last_image = weakref.ref(array)
        return True, array

    def take(self, stream: str = "main", *, only_files: bool = False) -> HeldFrame:
        """Wait for the next frame, not decoded yet; the caller closes it.

        Args:
            stream: `main` or `lores`.
            only_files: leave the ring out: the JPEG itself is wanted.

        Raises:
            CameraNotAvailableError: it is not open, or was released while waiting.
            ImageTooOldError, ImageNotFoundError, StorageUnavailableError: no fresh frame came in time.
        """
        with self._lock:
            provider, newer_than = self._provider, self._sequence
        if provider is None:
            raise CameraNotAvailableError("the camera is not open: it was released")
        source = provider
        if only_files and self._ring_dir != "":
            source = SharedVolumeImageProvider(
                self.folder, background_monitoring=False, max_age_seconds=self._max_age, ring_dir=""
            )
        try:
            held = source.hold(
                newer_than=newer_than, timeout=self._timeout, stream=stream, max_age_seconds=self._max_age
            )
        except CacheError:
            raise CameraNotAvailableError("the camera was released while a frame was waited for") from None
        finally:
            if source is not provider:
                source.close()
        with self._lock:
            if self._provider is not provider:
                held.close()
                raise CameraNotAvailableError("the camera was released while a frame was waited for")
            self._sequence = held.sequence
            self._sidecar = held.sidecar
            self._taken += 1
        return held

    def newest_sidecar(self) -> Sidecar | None:
        """Return what is known of the frame taken last, else of the newest there is, however old; None = nothing."""
        with self._lock:
            sidecar = self._sidecar
        return sidecar or self._peek(_ANY_AGE)

    def divisor_for(self, sidecar: Sidecar) -> Divisor:
        """Return by what the frame's sides are divided for this reader."""
        return nearest_divisor((sidecar.width, sidecar.height), *self._wish, height_decides=self._height_decides)

    def wish_size(self, width: float | None, height: float | None) -> None:
        """Ask for a size; the nearest one is delivered from the next frame on. None = the full size."""
        with self._lock:
            self._wish = (width, height)

    # --- properties

    def get(self, prop_id: int) -> float:
        """Return a property, 0.0 when it is unknown or the object is not open."""
        number = properties.property_number(prop_id)
        if self._provider is None:
            return 0.0
        match number:
            case properties.POS_FRAMES:
                return float(self._taken)
            case properties.POS_MSEC:
                return self._sidecar.monotonic_ns / 1e6 if self._sidecar else 0.0
            case properties.FPS:
                return frame_rate(self.folder)
            case properties.READ_TIMEOUT_MSEC:
                return self._timeout * 1000
            case properties.FRAME_WIDTH | properties.FRAME_HEIGHT | properties.EXPOSURE | properties.GAIN:
                sidecar = self.newest_sidecar()
                return 0.0 if sidecar is None else self._of_frame(number, sidecar)
        return _CONSTANT.get(number, 0.0)

    def set(self, prop_id: int, value: float) -> bool:
        """Change a property of this reader.

        Returns:
            Whether it was accepted; what the camera does, the host decides, so that is refused.

        Raises:
            RequestInvalidError: the property can only be read, or, in exception mode, was not accepted.
        """
        number, wanted = properties.property_number(prop_id), properties.property_value(value)
        if number == properties.BACKEND:
            raise for_opencv(RequestInvalidError("CAP_PROP_BACKEND can only be read"))
        if self._provider is not None and math.isfinite(wanted) and self._accept(number, wanted):
            return True
        return self._fail(RequestInvalidError(f"property {number} cannot be set to {wanted:g}"))

    def backend_name(self) -> str:
        """Return the name of this backend.

        Raises:
            CameraNotAvailableError: it is not open; OpenCV raises here, too.
        """
        if self._provider is None:
            raise for_opencv(CameraNotAvailableError("the camera is not open"))
        return BACKEND_NAME

    def set_exception_mode(self, enable: Any) -> None:
        """Raise instead of returning False."""
        if not isinstance(enable, int | np.integer | np.bool_ | None):
            raise TypeError(f"the exception mode is on or off, not a {type(enable).__name__}")
        self._raises = bool(enable)

    @property
    def exception_mode(self) -> bool:
        """Whether failures raise."""
        return self._raises

    def tell_that_host_owns(self, what: str) -> None:
        """Say, once, that the camera's controls are the host's."""
        if not self._told_host_owns:
            self._told_host_owns = True
            log.event(
                logging.WARNING,
                "CAMERA_CONTROL_IGNORED",
                f"{what} was not changed: the host owns the camera; set it in its configuration or through its API",
            )

    def _accept(self, number: int, wanted: float) -> bool:
        if number in properties.CONTROLS_OF_THE_HOST:
            self.tell_that_host_owns(f"property {number}")
            return False
        with self._lock:
            if number in {properties.FRAME_WIDTH, properties.FRAME_HEIGHT} and wanted > 0:
                self._height_decides = number == properties.FRAME_HEIGHT
                width, height = self._wish
                self._wish = (width, wanted) if self._height_decides else (wanted, height)
                return True
            if number == properties.READ_TIMEOUT_MSEC and wanted >= 0:
                self._timeout = wanted / 1000
                return True
        return number in _SETTABLE and wanted == _CONSTANT[number]

    def _of_frame(self, number: int, sidecar: Sidecar) -> float:
        if number in {properties.EXPOSURE, properties.GAIN}:
            return float((sidecar.exposure if number == properties.EXPOSURE else sidecar.gain) or 0.0)
        size = scaled((sidecar.width, sidecar.height), self.divisor_for(sidecar))
        return float(size[number == properties.FRAME_HEIGHT])

    # --- inside

    def _peek(self, max_age_seconds: float) -> Sidecar | None:
        """Return the sidecar of the newest frame, waiting for nothing; None when there is none of that age."""
        with self._lock:
            provider = self._provider
        if provider is None:
            return None
        try:
            with provider.hold(newer_than=-1, timeout=0.0, max_age_seconds=max_age_seconds) as held:
                return held.sidecar
        except FieldcamError:
            return None

    def _age(self, sidecar: Sidecar) -> float:
        return (self._clock.boottime_ns() - sidecar.monotonic_ns) / 1e9

    def _image_of(self, held: HeldFrame, target: Image | None) -> Image:
        divisor = self.divisor_for(held.sidecar)
        width, height = scaled((held.sidecar.width, held.sidecar.height), divisor)
        fits = target is not None and target.shape == (height, width, 3) and target.dtype == np.uint8
        if not fits:
            return held.image(divisor=divisor)
        assert target is not None
        array = held.image(divisor=divisor, out=target)
        return array if array is target else _copied(array, target)

    def _drop_held(self) -> None:
        self._last_image = None
        held, self._held = self._held, None
        if held is not None:
            held.close()

    def _fail(self, error: FieldcamError) -> bool:
        if self._raises:
            raise for_opencv(error)
        return False


_CONSTANT = {
    properties.FOURCC: float(properties.FOURCC_MJPG),
    properties.FORMAT: float(properties.CV_8UC3),
    properties.CONVERT_RGB: 1.0,
    properties.BUFFERSIZE: 1.0,
    properties.BACKEND: float(properties.CAP_ANY),
}
_SETTABLE = _CONSTANT.keys() - {properties.BACKEND}  # to what they are: programs ask for MJPG or a buffer of one


def _check_target(image: Any) -> None:
    """Refuse what cannot be written to, as OpenCV does."""
    if image is None:
        return
    if not isinstance(image, np.ndarray):
        raise for_opencv(RequestInvalidError(f"image is no NumPy array but a {type(image).__name__}"))
    if not image.flags.writeable:
        raise for_opencv(RequestInvalidError("image is a NumPy array that cannot be written to"))


def _copied(source: Image, target: Image | None) -> Image:
    if target is None or target.shape != source.shape or target.dtype != source.dtype:
        return source.copy()
    np.copyto(target, source)
    return target


__all__ = ["BACKEND_NAME", "ImageTooOldError", "SharedVideoCapture"]

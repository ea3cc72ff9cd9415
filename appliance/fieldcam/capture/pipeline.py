# SPDX-License-Identifier: MIT
"""From photons to a durable file, on one screen: take, describe, hand off, encode, check, store."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fieldcam.camera.base import Camera, CameraSettings
from fieldcam.camera.jpeg import encode, inspect_jpeg
from fieldcam.capture.places import Places
from fieldcam.core.clock import Clock, Instant
from fieldcam.core.errors import CaptureFailedError, ImageInvalidError
from fieldcam.core.frame import CaptureRequest, Shot, Sidecar, instant_fields
from fieldcam.store.writer import Stored

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class HandOff(Protocol):
    """Where live frames go while they are still on their way to a file (the ring)."""

    def offer_pixels(self, sidecar: Sidecar, pixels: npt.NDArray[np.uint8]) -> None:
        """Take decoded pixels, BGR, that nobody changes any more."""

    def offer_jpeg(self, sidecar: Sidecar, jpeg: bytes) -> None:
        """Take a JPEG that was proved whole."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A frame that was taken and found whole.

    Attributes:
        jpeg: the image.
        shot: what the camera delivered, without its pixels.
        sidecar: its description; the store fills in name and id.
    """

    jpeg: bytes
    shot: Shot
    sidecar: Sidecar


def take(
    camera: Camera,
    settings: CameraSettings,
    describe_shot: Callable[[Shot], Sidecar],
    *,
    not_before_ns: int,
    deadline_ns: int,
    hand_off: HandOff | None = None,
) -> Taken:
    """Take one frame, as a whole JPEG.

    Args:
        camera: an open camera.
        settings: what to take it with.
        describe_shot: makes the sidecar, all but size and checksum of the file.
        not_before_ns: CLOCK_BOOTTIME before which the exposure must not have begun.
        deadline_ns: CLOCK_BOOTTIME by which to give up.
        hand_off: is given the frame as soon as it is certain: pixels before they are encoded, a JPEG after it was
            found whole. None for frames that are not live.

    Raises:
        CaptureFailedError, CameraNotAvailableError: no frame, or not a whole or not a new one.
    """
    shot = camera.capture(settings, deadline_ns=deadline_ns)
    if shot.exposed_at_ns < not_before_ns:
        early = (not_before_ns - shot.exposed_at_ns) / 1e6
        raise CaptureFailedError(f"the camera gave a frame exposed {early:.0f} ms before it was asked for")
    sidecar = describe_shot(shot)
    if hand_off is not None and shot.jpeg is None and shot.pixels is not None:
        hand_off.offer_pixels(sidecar, shot.pixels)
    jpeg = _whole_jpeg(shot, settings.quality)
    sidecar = dataclasses.replace(sidecar, file_size=len(jpeg), sha256=hashlib.sha256(jpeg).hexdigest())
    if hand_off is not None and shot.jpeg is not None:
        hand_off.offer_jpeg(sidecar, jpeg)
    return Taken(jpeg, dataclasses.replace(shot, pixels=None), sidecar)  # 36 MB that nobody looks at again


def _whole_jpeg(shot: Shot, quality: int) -> bytes:
    if shot.jpeg is not None:
        jpeg = shot.jpeg
    elif shot.pixels is not None:
        jpeg = encode(shot.pixels, quality)
    else:
        raise ImageInvalidError("the camera gave a frame without an image")
    found = inspect_jpeg(jpeg)
    if (found.width, found.height) != (shot.width, shot.height):
        raise ImageInvalidError(
            f"the image is {found.width}x{found.height}, the camera said {shot.width}x{shot.height}"
        )
    return jpeg


@dataclass(frozen=True, slots=True)
class Origin:
    """What is the same for every frame of a camera."""

    camera: str
    backend: str
    simulated: bool
    keep_settings: bool = True


def describe(
    shot: Shot,
    settings: CameraSettings,
    request: CaptureRequest,
    origin: Origin,
    *,
    sequence: int,
    time_quality: str,
    clock: Clock,
    identical_frames: int = 0,
) -> Sidecar:
    """Return the sidecar of a shot; what is known of the file only later is empty or 0."""
    sidecar = Sidecar(
        filename="",
        camera=origin.camera,
        kind=request.kind,
        sequence=sequence,
        width=shot.width,
        height=shot.height,
        file_size=0,
        sha256="",
        backend=origin.backend,
        simulated=origin.simulated,
        time_quality=time_quality,
        quality=settings.quality if shot.jpeg is None else shot.quality,
        exposure=shot.exposure_ms,
        gain=shot.gain,
        settings=dict(shot.settings) if origin.keep_settings else {},
        identical_frames=identical_frames,
        **instant_fields(Instant.now(clock).at_boottime(shot.exposed_at_ns)),
    )
    return asked_by(request, sidecar)


def asked_by(request: CaptureRequest, sidecar: Sidecar) -> Sidecar:
    """Return the sidecar of the same frame for another request."""
    return dataclasses.replace(
        sidecar,
        kind=request.kind,
        idempotency_key=request.idempotency_key,
        request_sha256=request.request_sha256,
        sample_no=request.sample_no,
        submission_no=request.submission_no,
        description=request.description,
        user_id=request.user_id,
        job_id=request.job_id,
        x_position=request.x_position,
        y_position=request.y_position,
        z_position=request.z_position,
    )


def store(places: Places, jpeg: bytes, sidecar: Sidecar) -> Stored:
    """Put the frame where its kind belongs.

    Raises:
        SharedVolumeError: nothing was stored.
    """
    put = places.store_capture if sidecar.kind == "capture" else places.store_live
    return put(jpeg, sidecar)

# SPDX-License-Identifier: MIT
"""From photons to a durable file, on one screen: take, encode, check, describe, store, announce."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fieldcam.camera.base import Camera, CameraSettings
from fieldcam.camera.jpeg import encode, inspect_jpeg
from fieldcam.capture.places import Places
from fieldcam.core.clock import Clock, Instant
from fieldcam.core.errors import CaptureFailedError, ImageInvalidError
from fieldcam.core.frame import CaptureRequest, Shot, Sidecar, instant_fields
from fieldcam.store.writer import Stored


@dataclass(frozen=True, slots=True)
class Taken:
    """A frame that was taken and found whole."""

    jpeg: bytes
    shot: Shot
    quality: int | None


def take(camera: Camera, settings: CameraSettings, *, not_before_ns: int, deadline_ns: int) -> Taken:
    """Take one frame, as a whole JPEG.

    Args:
        camera: an open camera.
        settings: what to take it with.
        not_before_ns: CLOCK_BOOTTIME before which the exposure must not have begun.
        deadline_ns: CLOCK_BOOTTIME by which to give up.

    Raises:
        CaptureFailedError, CameraNotAvailableError: no frame, or not a whole or not a new one.
    """
    shot = camera.capture(settings, deadline_ns=deadline_ns)
    if shot.exposed_at_ns < not_before_ns:
        early = (not_before_ns - shot.exposed_at_ns) / 1e6
        raise CaptureFailedError(f"the camera gave a frame exposed {early:.0f} ms before it was asked for")
    if shot.jpeg is not None:
        jpeg, quality = shot.jpeg, shot.quality
    elif shot.pixels is not None:
        jpeg, quality = encode(shot.pixels, settings.quality), settings.quality
    else:
        raise ImageInvalidError("the camera gave a frame without an image")
    found = inspect_jpeg(jpeg)
    if (found.width, found.height) != (shot.width, shot.height):
        raise ImageInvalidError(
            f"the image is {found.width}x{found.height}, the camera said {shot.width}x{shot.height}"
        )
    return Taken(jpeg, shot, quality)


@dataclass(frozen=True, slots=True)
class Origin:
    """What is the same for every frame of a camera."""

    camera: str
    backend: str
    simulated: bool
    keep_settings: bool = True


def describe(
    taken: Taken, request: CaptureRequest, origin: Origin, *, sequence: int, time_quality: str, clock: Clock
) -> Sidecar:
    """Return the sidecar of a frame; the store fills in name and id."""
    shot = taken.shot
    return Sidecar(
        filename="",
        camera=origin.camera,
        kind=request.kind,
        sequence=sequence,
        width=shot.width,
        height=shot.height,
        file_size=len(taken.jpeg),
        sha256=hashlib.sha256(taken.jpeg).hexdigest(),
        backend=origin.backend,
        simulated=origin.simulated,
        time_quality=time_quality,
        quality=taken.quality,
        exposure=shot.exposure_ms,
        gain=shot.gain,
        settings=dict(shot.settings) if origin.keep_settings else {},
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
        **instant_fields(Instant.now(clock).at_boottime(shot.exposed_at_ns)),
    )


def store(places: Places, taken: Taken, sidecar: Sidecar) -> Stored:
    """Put the frame where its kind belongs.

    Raises:
        SharedVolumeError: nothing was stored.
    """
    put = places.store_capture if sidecar.kind == "capture" else places.store_live
    return put(taken.jpeg, sidecar)

# SPDX-License-Identifier: MIT
"""The command lines of the rpicam tools, without the tool's name."""

from __future__ import annotations

from fieldcam.camera.base import CameraSettings
from fieldcam.camera.jpeg import scaled_height
from fieldcam.camera.rpicam_reports import ListedCamera


def still_options(
    camera: ListedCamera, settings: CameraSettings, size: tuple[int, int] | None, picture: str, metadata: str
) -> list[str]:
    """Return the options of rpicam-still for one shot.

    Args:
        camera: which camera.
        settings: exposure, gain and quality; what is None is left to the tool's automatics.
        size: width and height in pixels; None = the sensor's.
        picture: name of the file to write, without `%` and with at most 127 characters.
        metadata: the same, for the metadata.
    """
    # Without --immediate the tool shows a viewfinder for five seconds first.
    options = ["--immediate", "--nopreview", "--output", picture, "--metadata", metadata]
    options += ["--encoding", "jpg", "--quality", str(settings.quality)]
    if size is not None:
        options += ["--width", str(size[0]), "--height", str(size[1])]
    return options + _common(camera, settings)


def vid_options(
    camera: ListedCamera, settings: CameraSettings, size: tuple[int, int] | None, width: int, fps: float
) -> list[str]:
    """Return the options of rpicam-vid for a preview on stdout, without end.

    Args:
        camera: which camera; the preview has the proportions of its sensor.
        settings: exposure and gain.
        size: of stills, in case the sensor's is not known.
        width: of the preview, in pixels.
        fps: frames a second.
    """
    full_width, full_height = camera.sizes[0] if camera.sizes else size or (4, 3)
    width = max(16, width // 2 * 2)  # the tool rounds odd sizes down
    height = max(2, scaled_height(full_width, full_height, width) // 2 * 2)
    # Without --flush the end of each frame comes with the next one.
    options = ["--codec", "mjpeg", "--flush", "--nopreview", "--timeout", "0", "--output", "-"]
    options += ["--width", str(width), "--height", str(height), "--framerate", f"{fps:g}"]
    return options + _common(camera, settings)


def _common(camera: ListedCamera, settings: CameraSettings) -> list[str]:
    options = ["--camera", str(camera.number)]
    if settings.exposure_ms is not None:
        options += ["--shutter", str(max(1, round(settings.exposure_ms * 1000)))]  # microseconds
    if settings.gain is not None:
        options += ["--gain", f"{settings.gain:g}"]
    return options

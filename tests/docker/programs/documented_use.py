# SPDX-License-Identifier: MIT
"""What programs do that were written for the documented library, with its one import line; prints the outcome."""

from __future__ import annotations

import json
import time
from typing import Any

import cv2

from shared_volume_image_provider import (
    ContainerCameraInterface,
    ImageNotFoundError,
    ImageTooOldError,
    SharedVolumeImageProvider,
)


class VehicleService:
    """As such services are written: a camera kept, one read per turn."""

    def __init__(self) -> None:
        """Open the camera."""
        self.camera = ContainerCameraInterface(max_age_seconds=3.0)

    def turn(self) -> list[int]:
        """Return the shape of a blurred frame, or nothing."""
        ok, frame = self.camera.read()
        return [] if not ok or frame is None else list(cv2.GaussianBlur(frame, (15, 15), 0).shape)


def main() -> None:
    """Do it all once."""
    opencv = as_opencv()
    picamera = ContainerCameraInterface()
    picamera.start()
    rgb = picamera.capture_array()
    picamera.stop()
    monitored = SharedVolumeImageProvider(cache_size=15, enable_performance_monitoring=True)
    monitored.start_monitoring()
    for _ in range(4):
        time.sleep(0.25)
        monitored.get_latest_image(max_age_seconds=10.0)
    ok, image, metadata = monitored.get_latest_image(max_age_seconds=10.0)
    status = monitored.get_status()
    cached = [(name, each["age"]) for name, _, each in monitored.get_cached_images()]
    monitored.stop_monitoring()
    print(
        json.dumps(
            {
                "opencv": opencv,
                "service": VehicleService().turn(),
                "picamera2": None if rgb is None else list(rgb.shape),
                "latest": [ok, None if image is None else list(image.shape), sorted(metadata or {})],
                "status": status,
                "cached": cached,
                "patient": patient(SharedVolumeImageProvider()),
            }
        )
    )


def as_opencv() -> dict[str, Any]:
    """Read as from cv2.VideoCapture(0)."""
    camera = ContainerCameraInterface()
    opened = camera.isOpened()
    ok, frame = camera.read()
    camera.release()
    return {"opened": opened, "ok": ok, "shape": None if frame is None else list(frame.shape)}


def patient(provider: SharedVolumeImageProvider, tries: int = 3) -> bool:
    """Try again as the document advises, exceptions included."""
    for _ in range(tries):
        try:
            if provider.get_latest_image()[0]:
                return True
        except ImageTooOldError:
            time.sleep(0.5)
        except ImageNotFoundError:
            time.sleep(1.0)
    return False


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""The documented import: `from shared_volume_image_provider import ContainerCameraInterface`. All of it is fieldcam's.

As there, a class is loaded when it is first asked for: a container has not what the two services of the host need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fieldcam

if TYPE_CHECKING:
    from fieldcam import (
        CacheError,
        CameraNotAvailableError,
        CaptureFailedError,
        CaptureServiceConfig,
        CaptureServiceError,
        ContainerCameraInterface,
        HostCameraCaptureService,
        ImageNotFoundError,
        ImageProviderConfig,
        ImageSyncManager,
        ImageTooOldError,
        SharedVolumeError,
        SharedVolumeImageProvider,
    )

__all__ = [
    "CacheError",
    "CameraNotAvailableError",
    "CaptureFailedError",
    "CaptureServiceConfig",
    "CaptureServiceError",
    "ContainerCameraInterface",
    "HostCameraCaptureService",
    "ImageNotFoundError",
    "ImageProviderConfig",
    "ImageSyncManager",
    "ImageTooOldError",
    "SharedVolumeError",
    "SharedVolumeImageProvider",
]


def __getattr__(name: str) -> Any:
    """Load a documented class when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(fieldcam, name)

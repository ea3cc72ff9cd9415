# SPDX-License-Identifier: MIT
"""The documented import (contract section 2): `from shared_volume_image_provider import ContainerCameraInterface`.

Everything documented is here under the names the reference documents give it, and it is the same as in `fieldcam`.
The services of the host are loaded when they are first asked for, and their parts when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fieldcam
from fieldcam.core.errors import (
    CacheError,
    CameraNotAvailableError,
    CaptureFailedError,
    CaptureServiceError,
    ImageNotFoundError,
    ImageTooOldError,
    SharedVolumeError,
)
from fieldcam.provider.camera_interface import ContainerCameraInterface
from fieldcam.provider.provider import SharedVolumeImageProvider
from fieldcam.provider.settings import ImageProviderConfig

if TYPE_CHECKING:
    from fieldcam.capture.service import CaptureServiceConfig, HostCameraCaptureService
    from fieldcam.manager.service import ImageSyncManager

_HOST_SERVICES = ("CaptureServiceConfig", "HostCameraCaptureService", "ImageSyncManager")

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
    """Load a service of the host when it is first asked for."""
    if name not in _HOST_SERVICES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(fieldcam, name)


def __dir__() -> list[str]:
    """Return what can be imported from here, also what was not loaded yet."""
    return sorted({*globals(), *_HOST_SERVICES})

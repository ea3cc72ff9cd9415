# SPDX-License-Identifier: MIT
"""fieldcam: a camera appliance for fleets of Raspberry Pis.

The documented classes are imported from here. They are loaded on use, so that importing the package pulls in neither
Flask, SQLite, ZeroMQ nor pydantic: a consumer container has none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fieldcam.core.errors import (
    CacheError,
    CameraNotAvailableError,
    CaptureFailedError,
    CaptureServiceError,
    ImageNotFoundError,
    ImageTooOldError,
    SharedVolumeError,
)

if TYPE_CHECKING:
    from fieldcam.capture.service import CaptureServiceConfig, HostCameraCaptureService
    from fieldcam.manager.service import ImageSyncManager
    from fieldcam.provider.camera_interface import ContainerCameraInterface
    from fieldcam.provider.provider import SharedVolumeImageProvider
    from fieldcam.provider.settings import ImageProviderConfig

_LOADED_ON_USE = {
    "CaptureServiceConfig": "fieldcam.capture.service",
    "ContainerCameraInterface": "fieldcam.provider.camera_interface",
    "HostCameraCaptureService": "fieldcam.capture.service",
    "ImageProviderConfig": "fieldcam.provider.settings",
    "ImageSyncManager": "fieldcam.manager.service",
    "SharedVolumeImageProvider": "fieldcam.provider.provider",
}

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
    module = _LOADED_ON_USE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    """Return what can be imported from here, also what was not loaded yet."""
    return sorted({*globals(), *__all__})

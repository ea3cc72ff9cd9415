# SPDX-License-Identifier: MIT
"""The documented import (contract section 2): `from shared_volume_image_provider import ContainerCameraInterface`.

Everything documented is here under the names the reference documents give it, and it is the same as in `fieldcam`.
The two host services are loaded when they are first asked for: a container has not what they need.
"""

from __future__ import annotations

from typing import Any

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

_HOST_SERVICES = ("CaptureServiceConfig", "HostCameraCaptureService", "ImageSyncManager")

# `import *` takes what a container has: with the host's services in the list it would fail there.
__all__ = [
    "CacheError",
    "CameraNotAvailableError",
    "CaptureFailedError",
    "CaptureServiceError",
    "ContainerCameraInterface",
    "ImageNotFoundError",
    "ImageProviderConfig",
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

# SPDX-License-Identifier: MIT
"""What a provider can be told, and what of that is possible."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from fieldcam.core.errors import ConfigError, RequestInvalidError
from fieldcam.provider.place import DEFAULT_AREA


@dataclass
class ImageProviderConfig:
    """What `SharedVolumeImageProvider` can be given, as one object (contract section 2).

    Attributes:
        shared_volume_dir: the hand-off area, or `cameras/<name>` in it.
        cache_size: how many images are kept, compressed; 0 keeps none.
        background_monitoring: read new images as they appear, from the first use on.
        monitor_interval: seconds between looks where the system gives no notice of new files.
        max_age_seconds: older images are not given.
        enable_performance_monitoring: `get_status` has two figures more.
    """

    shared_volume_dir: str | Path = DEFAULT_AREA
    cache_size: int = 10
    background_monitoring: bool = True
    monitor_interval: float = 0.1
    max_age_seconds: float = 5.0
    enable_performance_monitoring: bool = False


def check(config: ImageProviderConfig) -> None:
    """Refuse what is not possible. The cache checks its size itself.

    Raises:
        ConfigError: a value is none that can be worked with.
    """
    folder: object = config.shared_volume_dir  # from a caller without types
    if not isinstance(folder, str | Path) or not str(folder):
        raise ConfigError(f"shared_volume_dir is {folder!r}: the path of a folder is possible")
    for key in ("monitor_interval", "max_age_seconds"):
        value = getattr(config, key)
        if not _is_seconds(value):
            raise ConfigError(f"{key} is {value!r}: seconds, 0 or more, are possible")
    if math.isinf(config.monitor_interval):
        raise ConfigError("monitor_interval is infinite: seconds are possible")


def seconds(name: str, value: float) -> float:
    """Return seconds that an argument of a call gave; infinity is for ever.

    Raises:
        RequestInvalidError: they are negative, or no number.
    """
    if not _is_seconds(value):
        raise RequestInvalidError(f"{name} is {value!r}: seconds, 0 or more, are possible")
    return float(value)


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0  # NaN is not, either

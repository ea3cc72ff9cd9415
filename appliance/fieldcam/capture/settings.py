# SPDX-License-Identifier: MIT
"""The settings in force: configuration, changed by what a user put, changed by what one capture asks for."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldcam.camera.base import CameraInfo, CameraSettings
from fieldcam.capture.journal import Journal
from fieldcam.core.config import CameraConfig
from fieldcam.core.durable import OWN_FILE_MODE, OWN_FOLDER_MODE, make_folder, replace_file
from fieldcam.core.errors import RequestInvalidError
from fieldcam.core.frame import CaptureRequest
from fieldcam.core.names import SAMPLE_NUMBER

# The same limits as the configuration's (core.config): one user may not ask for what another may not configure.
_LIMITS: Mapping[str, tuple[float, float]] = {
    "exposure_ms": (0.0, 1_000_000.0),
    "gain": (0.0, 1_000.0),
    "quality": (1, 100),
    "width": (16, 16384),
    "height": (16, 16384),
}
_WHOLE = frozenset({"quality", "width", "height"})
_NUMBERS = frozenset({"x_position", "y_position", "z_position"})


class SettingsStore:
    """What a user changed with PUT settings; outlives a restart.

    Args:
        file: where it is kept.
        config: what holds for everything that was not changed.
    """

    def __init__(self, file: Path, config: CameraConfig) -> None:
        self._file = file
        self._config = config
        self._changed = self._read()

    def current(self) -> CameraSettings:
        """Return the settings in force."""
        exposure_ms, gain = self._config.manual
        # A size that nobody chose is left to the camera, which knows its sensor.
        base = CameraSettings(exposure_ms, gain, self._config.quality, self._config.width, self._config.height)
        return dataclasses.replace(base, **self._changed)

    def put(self, changes: Mapping[str, Any], info: CameraInfo | None) -> CameraSettings:
        """Change settings for good.

        Args:
            changes: any of exposure_ms, gain, width with height.
            info: what the camera offers; None when it is not open, then sizes cannot be checked.

        Raises:
            RequestInvalidError: a field is unknown, of the wrong type, out of range, or not offered by the camera.
        """
        check_fields(changes, {"exposure_ms", "gain", "width", "height"})
        checked = {key: value for key, value in changes.items() if value is not None}
        check_ranges(checked)
        check_size(checked.get("width"), checked.get("height"), info)
        changed = {**self._changed, **checked}
        make_folder(self._file.parent, OWN_FOLDER_MODE)
        replace_file(self._file, json.dumps(changed).encode() + b"\n", durable=True, mode=OWN_FILE_MODE)
        self._changed = changed
        return self.current()

    def _read(self) -> dict[str, Any]:
        try:
            data = json.loads(self._file.read_bytes())
            known = {key: value for key, value in data.items() if key in _LIMITS}
            check_ranges(known)
        except (OSError, ValueError, AttributeError, RequestInvalidError):
            return {}
        return known


def parse_request(args: Mapping[str, Any], info: CameraInfo | None) -> CaptureRequest:
    """Read the arguments of a capture.

    Raises:
        RequestInvalidError: a field is unknown, of the wrong type, out of range, or not offered by the camera.
    """
    check_fields(args, {field.name for field in dataclasses.fields(CaptureRequest)})
    given = {key: value for key, value in args.items() if value is not None}
    check_ranges(given)
    check_size(given.get("width"), given.get("height"), info)
    if given.get("kind", "capture") not in {"capture", "live"}:
        raise RequestInvalidError(f"kind: {given['kind']!r} is not allowed; capture or live", field="kind")
    for key in ("sample_no", "submission_no"):
        if key in given and not (isinstance(given[key], str) and SAMPLE_NUMBER.fullmatch(given[key])):
            raise RequestInvalidError(
                f"{key}: {given[key]!r} is not allowed; 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit",
                field=key,
            )
    if "submission_no" in given and "sample_no" not in given:
        raise RequestInvalidError("sample_no: is missing beside submission_no", field="sample_no")
    return CaptureRequest(**given)


def for_request(settings: CameraSettings, request: CaptureRequest) -> CameraSettings:
    """Return the settings one capture is taken with."""
    asked = {key: getattr(request, key) for key in _LIMITS if getattr(request, key) is not None}
    return dataclasses.replace(settings, **asked)


def effective_size(
    settings: CameraSettings, journal: Journal, configured: tuple[int, int] | None
) -> tuple[int, int] | tuple[None, None]:
    """Return the size of the next frame as far as it is known: chosen, or as the last one was, or as is usual."""
    if settings.width is not None and settings.height is not None:
        return settings.width, settings.height
    if journal.last_frame is not None:
        return journal.last_frame.width, journal.last_frame.height
    return configured or (None, None)


def settings_answer(
    settings: CameraSettings,
    journal: Journal,
    info: CameraInfo | None,
    *,
    configured: tuple[int, int] | None,
    streaming: bool,
) -> dict[str, Any]:
    """Return what GET settings says (contract section 4)."""
    width, height = effective_size(settings, journal, configured)
    offered = info.resolutions if info is not None else ()
    return {
        "exposure": settings.exposure_ms,
        "gain": settings.gain,
        "width": width,
        "height": height,
        "quality": settings.quality,
        "available_resolutions": [list(size) for size in offered],
        "connected": info is not None and not info.simulated and journal.delivering,
        "streaming": streaming,
    }


def check_fields(args: Mapping[str, Any], known: set[str]) -> None:
    """Refuse unknown fields by name."""
    for key in args:
        if key not in known:
            raise RequestInvalidError(f"{key}: unknown field; known are {', '.join(sorted(known))}", field=key)


def check_ranges(values: Mapping[str, Any]) -> None:
    """Refuse numbers that are none or out of range, by name."""
    for key, value in values.items():
        if key not in _LIMITS and key not in _NUMBERS:
            continue
        if not (_is_whole(value) or (_is_finite(value) and key not in _WHOLE)):
            kind = "a whole number" if key in _WHOLE else "a number"
            raise RequestInvalidError(f"{key}: {value!r} is not {kind}", field=key)
        if key in _LIMITS:
            low, high = _LIMITS[key]
            if not low <= value <= high or (value == 0 and low == 0):
                above = "more than 0" if low == 0 else f"at least {low:g}"
                raise RequestInvalidError(f"{key}: {value!r} is out of range; {above}, at most {high:g}", field=key)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def check_size(width: int | None, height: int | None, info: CameraInfo | None) -> None:
    """Refuse half a size, and a size the camera does not offer."""
    if (width is None) != (height is None):
        raise RequestInvalidError("resolution: width and height go together", field="resolution")
    if width is None or height is None or info is None:
        return
    if (width, height) not in info.resolutions:
        offered = ", ".join(f"{w}x{h}" for w, h in info.resolutions)
        raise RequestInvalidError(
            f"resolution: {width}x{height} is not offered by this camera; it has {offered}", field="resolution"
        )

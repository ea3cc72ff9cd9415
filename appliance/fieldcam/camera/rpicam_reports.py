# SPDX-License-Identifier: MIT
"""What the rpicam tools say: the list of cameras, the metadata of a shot, and their complaints.

Wording as of rpicam-apps 1.13 with libcamera 0.7.
"""

from __future__ import annotations

import json
import math
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldcam.camera.tool import Finished
from fieldcam.core.errors import (
    CameraInUseError,
    CameraNotAvailableError,
    CaptureFailedError,
    CaptureServiceError,
)

MAX_METADATA_BYTES = 256 * 1024
_CAMERA = re.compile(r"^(?P<number>\d+) : (?P<model>\S+)(?: \[(?P<native>[^\]]*)\])? \((?P<id>.*)\)\s*$")
_MODE = re.compile(r"(?P<width>\d+)x(?P<height>\d+) \[[\d.]+ fps - \((?P<left>\d+), \d+\)/")
_SIZE = re.compile(r"(\d+)x(\d+)")
# Floats that are no numbers are printed bare, which is no JSON.
_NO_NUMBER = re.compile(rb"(?<=[\s,:\[])-?(?:nan|inf)(?=[\s,\]}])")
_UNKNOWN_CROP = "65535"  # printed instead of the crop while another process holds the camera

# Beginnings and parts of stderr lines, and what they mean. The first that fits counts.
_COMPLAINTS: tuple[tuple[str, type[CaptureServiceError], str], ...] = (
    ("in use by another process", CameraInUseError, "another process uses the camera: stop it"),
    ("failed to acquire camera", CameraInUseError, "another process uses the camera: stop it"),
    (
        "no cameras available",
        CameraNotAvailableError,
        "no camera found: check the cable, and `dtoverlay` in config.txt for sensors that are not found by themselves",
    ),
    ("selected camera is not available", CameraNotAvailableError, "there is no camera of that number: see device_id"),
    ("only supports the Raspberry Pi", CameraNotAvailableError, "this machine is not a Raspberry Pi"),
    (
        "legacy camera stack",
        CameraNotAvailableError,
        "this system is set up for the legacy camera stack: take `start_x` and `gpu_mem` out of config.txt",
    ),
    ("camera manager failed to start", CameraNotAvailableError, "the camera system (libcamera) does not start"),
    ("failed to execute", CameraNotAvailableError, "the tool cannot be started"),
    ("failed to write file", CaptureFailedError, "the picture could not be written: the folder for it is full"),
)


@dataclass(frozen=True, slots=True)
class ListedCamera:
    """A camera of `--list-cameras`.

    Attributes:
        number: what `--camera` takes.
        model: name of the sensor.
        camera_id: path of the sensor in the device tree.
        sizes: sizes (width, height) of its modes, largest first; of a busy camera only its full size.
        busy: whether another process seems to hold it.
    """

    number: int
    model: str
    camera_id: str
    sizes: tuple[tuple[int, int], ...]
    busy: bool


def parse_cameras(text: str) -> list[ListedCamera]:
    """Read what `--list-cameras` prints."""
    cameras: list[ListedCamera] = []
    head: re.Match[str] | None = None
    modes: list[re.Match[str]] = []
    for line in [*text.splitlines(), "0 : end ()"]:
        found = _CAMERA.match(line)
        if found is None:
            modes.extend(_MODE.finditer(line))
            continue
        if head is not None:
            cameras.append(_listed(head, modes))
        head, modes = found, []
    return cameras


def parse_metadata(file: Path) -> dict[str, Any]:
    """Read the metadata of a shot; empty when there are none or they cannot be read: they are optional."""
    try:
        if file.stat().st_size > MAX_METADATA_BYTES:
            return {}
        data = json.loads(_NO_NUMBER.sub(b"null", file.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def number_in(metadata: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number of the metadata, None when there is none."""
    value = metadata.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    return None


def complaint(tool: str, finished: Finished) -> CaptureServiceError:
    """Return the error for a tool that ended badly, with its own words."""
    words = last_error(finished.stderr)
    for part, error, meaning in _COMPLAINTS:
        if part in finished.stderr:
            return error(f"{meaning} ({tool}: {words or part})")
    return CaptureFailedError(f"{tool} {_ending(finished.returncode)}{f': {words}' if words else ''}")


def last_error(stderr: str) -> str:
    """Return the last `ERROR:` line without its ornaments, else the last line at all; at most 300 characters."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    line = (errors or lines or [""])[-1]
    return line.removeprefix("ERROR:").strip().removeprefix("***").removesuffix("***").strip()[:300]


def _listed(head: re.Match[str], modes: list[re.Match[str]]) -> ListedCamera:
    busy = any(mode["left"] == _UNKNOWN_CROP for mode in modes)
    sizes = set() if busy else {(int(mode["width"]), int(mode["height"])) for mode in modes}
    if native := _SIZE.match(head["native"] or ""):
        sizes.add((int(native[1]), int(native[2])))
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size), reverse=True)
    return ListedCamera(int(head["number"]), head["model"], head["id"], tuple(by_area), busy)


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"failed with exit status {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"

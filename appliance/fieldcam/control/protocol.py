# SPDX-License-Identifier: MIT
"""What processes of one appliance say to each other.

A request is one JSON object `{"v": 1, "op": name, "args": {…}}`, the answer `{"v": 1, "ok": true, "result": {…}}` or
`{"v": 1, "ok": false, "error": {code, message, details}}`. An announcement is a request whose sender goes on without
waiting for the answer. Sockets are Unix sockets in `run_dir`; whoever may open them may ask.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fieldcam.core.errors import ControlError, FieldcamError

VERSION = 1
# For its process and the group of the folder, which deployment chose.
SOCKET_MODE = 0o770
MAX_MESSAGE_BYTES = 1_000_000

# Requests to a capture process.
CAPTURE = "capture"  # args: CaptureRequest fields -> {"sidecar": …, "path": …, "database_saved": bool}
# Take and check a frame, keep nothing -> {"width", "height", "file_size", "seconds", "simulated"}. With "rehearse" it
# is also written where captures are stored, and removed.
TEST = "test"
STATUS = "status"  # -> heartbeat contents
GET_SETTINGS = "get_settings"  # -> see capture.settings
PUT_SETTINGS = "put_settings"  # args: exposure_ms, gain, width, height -> as GET_SETTINGS

# Requests and announcements to the manager.
RECORD = "record"  # args: {"sidecar": …, "path": …} -> {"recorded": bool}
REMOVED = "removed"  # args: {"camera": …, "filenames": […]}: capture rolled live/
EVENT = "event"  # args: {"camera", "kind", "cause", "details", "at", "boot_id", "monotonic_ns"}
CLEAN_UP = "clean_up"  # -> {"images_removed", "metadata_removed", "space_freed_mb"}
SYSTEM_STATUS = "system_status"  # -> ImageSyncManager.get_system_status()

# Topics of the preview socket; a message is [topic, JSON header, JPEG].
TOPIC_PREVIEW = b"preview"
TOPIC_NATIVE = b"native"


def request(op: str, args: Mapping[str, Any] | None = None) -> bytes:
    """Return a request as it is sent."""
    return json.dumps({"v": VERSION, "op": op, "args": dict(args or {})}).encode()


def success(result: Mapping[str, Any]) -> bytes:
    """Return a good answer as it is sent."""
    return json.dumps({"v": VERSION, "ok": True, "result": dict(result)}).encode()


def failure(error: FieldcamError) -> bytes:
    """Return a bad answer as it is sent."""
    return json.dumps({"v": VERSION, "ok": False, "error": error.as_dict()}, default=str).encode()


def parse(message: bytes) -> dict[str, Any]:
    """Read a request or an answer.

    Raises:
        ControlError: it is not one, or it is of another version.
    """
    if len(message) > MAX_MESSAGE_BYTES:
        raise ControlError(f"message of {len(message)} bytes refused")
    try:
        data = json.loads(message)
    except ValueError as error:
        raise ControlError(f"message is not JSON: {error}") from None
    if not isinstance(data, dict) or data.get("v") != VERSION:
        raise ControlError("message is not of this protocol version; deploy one release for all processes")
    return data

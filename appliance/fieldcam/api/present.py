# SPDX-License-Identifier: MIT
"""From what processes and databases say to what clients read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fieldcam.api.schemas import (
    CaptureAnswer,
    CaptureMetadata,
    FrameSettings,
    HealthAnswer,
    ImageAnswer,
    ImageInfo,
    ReasonAnswer,
    SettingsAnswer,
    SizeAnswer,
)
from fieldcam.api.survey import Survey
from fieldcam.catalog.image_row import ImageRow
from fieldcam.core.clock import Instant, rfc3339
from fieldcam.core.errors import ControlError
from fieldcam.core.frame import Sidecar
from fieldcam.core.heartbeat import Heartbeat


def capture_answer(result: Mapping[str, Any]) -> CaptureAnswer:
    """Return the answer to a capture.

    Raises:
        ControlError: the capture process said something else.
    """
    try:
        sidecar = Sidecar.from_dict(result["sidecar"])
        return CaptureAnswer(
            filename=sidecar.filename,
            filepath=str(result["path"]),
            timestamp=sidecar.captured_at,
            captured_at=sidecar.captured_at,
            exposure_time=sidecar.exposure,
            gain=sidecar.gain,
            file_size=sidecar.file_size,
            width=sidecar.width,
            height=sidecar.height,
            settings=FrameSettings(
                exposure=sidecar.exposure,
                gain=sidecar.gain,
                resolution=SizeAnswer(width=sidecar.width, height=sidecar.height),
            ),
            image_info=ImageInfo(size_bytes=sidecar.file_size),
            metadata=CaptureMetadata(
                quality=sidecar.quality, camera_connected=not sidecar.simulated, simulated_mode=sidecar.simulated
            ),
            image_id=sidecar.id,
            database_saved=bool(result.get("database_saved")),
            camera=sidecar.camera,
            simulated=sidecar.simulated,
        )
    except (KeyError, ValueError) as error:
        raise ControlError(f"the capture process gave an answer that cannot be read: {error}") from error


def settings_answer(result: Mapping[str, Any]) -> SettingsAnswer:
    """Return the settings in force.

    Raises:
        ControlError: the capture process said something else.
    """
    try:
        return SettingsAnswer(
            exposure=result["exposure"],
            gain=result["gain"],
            resolution=SizeAnswer(width=result["width"], height=result["height"]),
            available_resolutions=[
                SizeAnswer(width=width, height=height) for width, height in result["available_resolutions"]
            ],
            connected=bool(result["connected"]),
            streaming=bool(result["streaming"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ControlError(f"the capture process gave an answer that cannot be read: {error}") from error


def health_answer(survey: Survey) -> HealthAnswer:
    """Return the health."""
    health = survey.health
    return HealthAnswer(
        status=health.status,
        camera_connected=health.camera_connected,
        timestamp=rfc3339(survey.now.wall_ns),
        simulated_mode=health.simulated,
        reasons=[ReasonAnswer(code=r.code, message=r.message, camera=r.camera) for r in health.reasons],
        latest_image_age=finite(health.latest_image_age),
    )


def camera_answer(name: str, beat: Heartbeat | None, now: Instant) -> dict[str, Any]:
    """Return what a camera's process last said, with its age and that of its newest frame in seconds."""
    if beat is None:
        return {"camera": name, "state": "unknown", "heartbeat_age": None, "frame_age": None}
    return {
        **asdict(beat),
        "heartbeat_age": finite(beat.age_seconds(now)),
        "frame_age": finite(beat.frame_age_seconds(now)),
    }


def image_answer(row: ImageRow) -> ImageAnswer:
    """Return an image of the catalog."""
    return ImageAnswer.model_validate({**asdict(row), "file": f"/api/v1/images/{row.id}/file"})


def frame_headers(sidecar: Sidecar, now: Instant) -> dict[str, str]:
    """Return what goes with the bytes of a frame."""
    return {
        "X-Camera": sidecar.camera,
        "X-Captured-At": sidecar.captured_at,
        "X-Timestamp": f"{sidecar.timestamp:.3f}",
        "X-Age": f"{now.seconds_since(sidecar.exposed_at):.3f}",
        "X-Sequence": str(sidecar.sequence),
        "X-Simulated": true_or_false(sidecar.simulated),
    }


def true_or_false(value: bool) -> str:
    """Return a truth as headers have it."""
    return "true" if value else "false"


def finite(number: float) -> float | None:
    """Return a number that JSON has, to the millisecond; None for infinity."""
    return round(number, 3) if math.isfinite(number) else None

# SPDX-License-Identifier: MIT
"""The V family: health, open, so that a monitor needs no token and naming no reasons; and a test of the camera."""

from __future__ import annotations

from typing import Any

from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from fieldcam.api.access import open_to_all, token
from fieldcam.api.capture_client import ask, require_alive
from fieldcam.api.context import context
from fieldcam.api.schemas import (
    VHealthAnswer,
    VHealthDetails,
    VProblem,
    VTestAnswer,
    VTestData,
    VTestDevice,
    VTestQuery,
)
from fieldcam.api.survey import take_survey
from fieldcam.control import protocol
from fieldcam.core.clock import rfc3339

_TAG = Tag(name="capture", description="Microplate clients")
api = APIBlueprint("capture", __name__, url_prefix="/api/v1/capture", abp_tags=[_TAG])


@api.get("/health", summary="Whether the appliance works", responses={200: VHealthAnswer, 503: VHealthAnswer})
@open_to_all
def health() -> tuple[dict[str, Any], int]:
    """200 while frames are served; 503 when there is no fresh frame."""
    this = context()
    survey = take_survey(this.config, this.clock)
    is_served = survey.health.status != "unhealthy"
    answer = VHealthAnswer(
        success=is_served,
        status=survey.health.status,
        timestamp=rfc3339(survey.now.wall_ns),
        details=VHealthDetails(
            uptime_seconds=round((survey.now.boottime_ns - this.started_ns) / 1e9, 1),
            camera_connected=survey.health.camera_connected,
            camera_capturing=any(beat is not None and beat.is_capturing for beat in survey.heartbeats.values()),
            websocket_connections=0,
            version=this.version,
        ),
    )
    return answer.as_json(), 200 if is_served else 503


@api.post(
    "/test",
    summary="Take and check a frame, keep nothing",
    responses={200: VTestAnswer, 401: VProblem, 409: VProblem, 422: VProblem, 500: VProblem, 503: VProblem},
    security=[{"token": []}],
)
@token("operator")
def test(query: VTestQuery) -> dict[str, Any]:
    """The exposure begins after the request.

    With `storage` the frame is also written durably where captures are stored, and removed again: what a deployment
    wants to know, without leaving a picture behind.
    """
    this = context()
    paths = this.camera(query.camera)
    with this.capture_places.held():
        found = ask(
            this, paths, protocol.TEST, {"rehearse": query.storage}, timeout_seconds=this.config.capture_timeout
        )
    name, camera = this.config.camera(query.camera)
    beat = require_alive(this, paths)
    device = VTestDevice(
        device_id=name,
        configured_resolution=f"{found['width']}x{found['height']}",
        configured_fps=camera.fps,
        is_initialized=True,
        is_capturing=beat.is_capturing,
    )
    answer = VTestAnswer(
        success=True,
        message="Camera test successful",
        data=VTestData(camera_status="working", device_info=device),
        timestamp=rfc3339(this.clock.wall_ns()),
    )
    return answer.as_json()

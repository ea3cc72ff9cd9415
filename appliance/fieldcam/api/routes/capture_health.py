# SPDX-License-Identifier: MIT
"""The V family's health: open, so that a monitor needs no token; it names no reasons."""

from __future__ import annotations

from typing import Any

from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from fieldcam.api.access import open_to_all
from fieldcam.api.context import context
from fieldcam.api.schemas import VHealthAnswer, VHealthDetails
from fieldcam.api.survey import take_survey
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

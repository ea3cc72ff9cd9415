# SPDX-License-Identifier: MIT
"""How the whole appliance is, for token clients."""

from __future__ import annotations

import math
from typing import Any

from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from fieldcam.api import present
from fieldcam.api.access import token
from fieldcam.api.context import Context, context
from fieldcam.api.schemas import GatewayProblem, SystemStatusAnswer
from fieldcam.api.survey import read_manager, take_survey
from fieldcam.control import client, protocol
from fieldcam.core.clock import rfc3339
from fieldcam.core.errors import ControlError

_TAG = Tag(name="system", description="On the token listener; role viewer")
_FIELDS = (
    "host_capture_healthy",
    "container_accessible",
    "latest_image_age",
    "disk_usage_percent",
    "images_in_queue",
    "error_alerts",
)
WHO = "image-sync-manager"
api = APIBlueprint("system", __name__, url_prefix="/api/v1/system", abp_tags=[_TAG], abp_security=[{"token": []}])


@api.get("/status", summary="The whole appliance", responses={200: SystemStatusAnswer, 401: GatewayProblem})
@token("viewer")
def status() -> dict[str, Any]:
    """The manager's status, null where it does not answer; health, and what each camera's process last said."""
    this = context()
    survey = take_survey(this.config, this.clock)
    said = _manager_status(this)
    answer = SystemStatusAnswer(
        **{name: _without_infinity(said.get(name)) for name in _FIELDS},
        version=this.version,
        timestamp=rfc3339(survey.now.wall_ns),
        simulated=survey.health.simulated,
        health=present.health_answer(survey),
        cameras=[present.camera_answer(name, beat, survey.now) for name, beat in survey.heartbeats.items()],
    )
    return answer.as_json()


def _manager_status(this: Context) -> dict[str, Any]:
    layout = this.config.layout
    if read_manager(this.config, this.now()) is None:
        return {}
    try:
        return client.ask(
            layout.manager_socket,
            protocol.SYSTEM_STATUS,
            timeout_seconds=this.config.connection_timeout,
            who=WHO,
        )
    except ControlError:
        return {}


def _without_infinity(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

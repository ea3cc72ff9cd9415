# SPDX-License-Identifier: MIT
"""The local family: what P's clients call on 127.0.0.1:8001, without a token."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Generator, Iterator
from itertools import chain
from typing import Any

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from fieldcam.api import present, stream
from fieldcam.api.access import local
from fieldcam.api.capture_client import ask, require_alive
from fieldcam.api.context import Context, context
from fieldcam.api.schemas import (
    CameraQuery,
    CaptureAnswer,
    CaptureBody,
    HealthAnswer,
    LocalProblem,
    SettingsAnswer,
    SettingsBody,
    StreamQuery,
)
from fieldcam.api.stream import StreamFrame, Wish
from fieldcam.api.survey import take_survey
from fieldcam.control import protocol
from fieldcam.core.errors import CameraNotAvailableError, RequestInvalidError

_TAG = Tag(name="local", description="On the local listener, without a token")
_KEY = re.compile(r"[\x21-\x7e]{1,128}")
api = APIBlueprint("local", __name__, abp_tags=[_TAG])


@api.post(
    "/capture",
    summary="Take a picture",
    responses={
        200: CaptureAnswer,
        409: LocalProblem,
        413: LocalProblem,
        415: LocalProblem,
        422: LocalProblem,
        500: LocalProblem,
        503: LocalProblem,
        507: LocalProblem,
    },
)
@local
def capture(query: CameraQuery, body: CaptureBody) -> dict[str, Any]:
    """The exposure begins after the request, unless `not_before` is `any`.

    The file is durable when the answer comes.
    """
    this = context()
    paths = this.camera(query.camera)
    with this.capture_places.held():
        result = ask(
            this, paths, protocol.CAPTURE, capture_arguments(body), timeout_seconds=this.config.capture_timeout
        )
    return present.capture_answer(result).as_json()


@api.get(
    "/settings",
    summary="Settings in force",
    responses={200: SettingsAnswer, 422: LocalProblem, 503: LocalProblem},
)
@local
def get_settings(query: CameraQuery) -> dict[str, Any]:
    """Exposure in milliseconds; sizes are what the camera offers."""
    this = context()
    paths = this.camera(query.camera)
    result = ask(this, paths, protocol.GET_SETTINGS, timeout_seconds=this.config.connection_timeout)
    return present.settings_answer(result).as_json()


@api.put(
    "/settings",
    summary="Change settings",
    responses={200: SettingsAnswer, 413: LocalProblem, 415: LocalProblem, 422: LocalProblem, 503: LocalProblem},
)
@local
def put_settings(query: CameraQuery, body: SettingsBody) -> dict[str, Any]:
    """Hold from the next frame on, also after a restart. What is left out stays as it is."""
    this = context()
    paths = this.camera(query.camera)
    changes = {"exposure_ms": body.exposure, "gain": body.gain}
    if body.resolution is not None:
        changes |= {"width": body.resolution.width, "height": body.resolution.height}
    changes = {key: value for key, value in changes.items() if value is not None}
    result = ask(this, paths, protocol.PUT_SETTINGS, changes, timeout_seconds=this.config.connection_timeout)
    return present.settings_answer(result).as_json()


@api.get(
    "/video/feed",
    summary="Watch (MJPEG)",
    responses={
        200: {"description": "OK", "content": {"multipart/x-mixed-replace": {}}},
        422: LocalProblem,
        503: LocalProblem,
    },
)
@local
def video_feed(query: StreamQuery) -> Response:
    """`multipart/x-mixed-replace`; each part is a new frame with `Content-Length`, `X-Captured-At` and `X-Age`."""
    this = context()
    paths = this.camera(query.camera)
    require_alive(this, paths)
    if request.method == "HEAD":
        return Response(content_type=stream.CONTENT_TYPE)
    wish = Wish(query.fps, query.width, query.native)
    this.stream_places.take()
    client = request.environ.get("gunicorn.socket")
    stream.limit_sending(client)
    found = stream.frames(this, paths, wish, client)
    try:
        answer = Response(stream.parts(this, _begun(found, paths.name), wish), content_type=stream.CONTENT_TYPE)
    except BaseException:
        _end(this, found)
        raise
    answer.call_on_close(lambda: _end(this, found))
    return answer


@api.get("/health", summary="Whether the appliance works", responses={200: HealthAnswer, 503: HealthAnswer})
@local
def health() -> tuple[dict[str, Any], int]:
    """200 while frames are served, also when something else is wrong (`degraded`); 503 when there is no fresh frame."""
    this = context()
    survey = take_survey(this.config, this.clock)
    return present.health_answer(survey).as_json(), 503 if survey.health.status == "unhealthy" else 200


def capture_arguments(body: CaptureBody) -> dict[str, Any]:
    """Return the arguments of a capture request; `None` is left out.

    Raises:
        RequestInvalidError: the idempotency key is not allowed.
    """
    position, resolution = body.position, body.resolution
    asked = {
        "exposure_ms": body.exposure,
        "gain": body.gain,
        "quality": body.quality,
        "width": resolution.width if resolution else None,
        "height": resolution.height if resolution else None,
        "not_before_ns": 0 if body.not_before == "any" else None,
        "job_id": body.job_id,
        "x_position": position.x if position else None,
        "y_position": position.y if position else None,
        "z_position": position.z if position else None,
        "sample_no": body.sample_no,
        "submission_no": body.submission_no,
        "description": body.description,
    }
    key = request.headers.get("Idempotency-Key")
    if key is not None:
        if _KEY.fullmatch(key) is None:
            raise RequestInvalidError("Idempotency-Key: must be 1 to 128 printable characters without spaces")
        canonical = json.dumps(body.model_dump(mode="json"), sort_keys=True).encode()
        asked |= {"idempotency_key": key, "request_sha256": hashlib.sha256(canonical).hexdigest()}
    return {name: value for name, value in asked.items() if value is not None}


def _begun(found: Iterator[StreamFrame], camera: str) -> Iterator[StreamFrame]:
    """Wait for the first frame, so that a camera that gives none is an error and no empty stream."""
    first = next(found, None)
    if first is None:
        raise CameraNotAvailableError(f"camera {camera} gives no frames", camera=camera)
    return chain((first,), found)


def _end(this: Context, found: Generator[StreamFrame]) -> None:
    found.close()
    this.stream_places.give_back()

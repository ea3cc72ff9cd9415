# SPDX-License-Identifier: MIT
"""Errors as each family of clients expects them (contract section 4).

Local family `{"detail": …}`, V family (`/api/v1/capture/…`) `{"success": false, "error": {code, message}, …}`, all else
on the token listener `{"statusCode", "message", "error", "code"}`. The shape depends on the path and the listener only,
never on whether a route exists. Off the local listener a failure of ours is told in general words: paths and what a
camera tool said stay in the log.
"""

from __future__ import annotations

import logging
import traceback
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from fieldcam.api.listeners import Listener, client_address, listener_of_request
from fieldcam.core.clock import SystemClock, rfc3339
from fieldcam.core.errors import (
    CameraNotAvailableError,
    CaptureFailedError,
    FieldcamError,
    ImageTooOldError,
    ProcessNotRunningError,
    ServerBusyError,
    TokenInvalidError,
)
from fieldcam.core.logs import get_logger

_log = get_logger(__name__)
V_PREFIX = "/api/v1/capture/"
RETRY_AFTER_SECONDS = 5
INTERNAL = "INTERNAL_ERROR"
_CAMERA_AWAY = "Camera service unavailable"


def install(app: Flask) -> None:
    """Answer every error of the application."""
    app.register_error_handler(FieldcamError, _answer_fieldcam)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_unknown)


def problem(status: int, code: str, message: str) -> Response:
    """Return an error in the shape of the family that asked."""
    reason = HTTPStatus(status).phrase
    body: dict[str, Any]
    if request.path.startswith(V_PREFIX):
        body = {
            "success": False,
            "error": {"code": code, "message": message},
            "timestamp": rfc3339(SystemClock().wall_ns()),
        }
    elif listener_of_request() is Listener.LOCAL:
        body = {"detail": message}
    else:
        body = {"statusCode": status, "message": message, "error": reason, "code": code}
    answer = jsonify(body)
    answer.status_code = status
    return answer


def _answer_fieldcam(error: FieldcamError) -> Response:
    status = error.http_status
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        client = client_address()
        _log.event(logging.WARNING, error.code, error.message, method=request.method, path=request.path, client=client)
    answer = problem(status, error.code, _words(error))
    if isinstance(error, TokenInvalidError):
        answer.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, ServerBusyError):
        answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer


def _words(error: FieldcamError) -> str:
    if listener_of_request() is Listener.LOCAL:
        if isinstance(error, CameraNotAvailableError | ProcessNotRunningError):
            return f"Camera not connected: {error.message}"
        if isinstance(error, CaptureFailedError):
            return f"Capture failed: {error.message}"
        return error.message
    # How old a frame is, or that the camera is frozen, is no secret, and the client can do something about it.
    if error.http_status < HTTPStatus.INTERNAL_SERVER_ERROR or isinstance(error, ImageTooOldError):
        return error.message
    if isinstance(error, CameraNotAvailableError | ProcessNotRunningError):
        return _CAMERA_AWAY
    return (type(error).__doc__ or error.code).split("\n", 1)[0]


def _answer_http(error: HTTPException) -> Response:
    if error.response is not None:
        return Response(status=error.response.status_code, headers=error.response.headers)
    status = error.code or 500
    phrase = HTTPStatus(status).phrase
    answer = problem(status, phrase.upper().replace(" ", "_").replace("-", "_"), error.description or phrase)
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            answer.headers[name] = value
    return answer


def _answer_unknown(error: Exception) -> Response:
    _log.event(
        logging.ERROR,
        INTERNAL,
        f"{type(error).__name__}: {error}",
        method=request.method,
        path=request.path,
        at=where(error),
    )
    return problem(500, INTERNAL, "internal error; the log of capture-api says more")


def where(error: BaseException | None) -> str:
    """Return where an exception came from, innermost first: a traceback would be many lines."""
    frames = traceback.extract_tb(error.__traceback__)[-4:] if error is not None else []
    return " < ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in reversed(frames))

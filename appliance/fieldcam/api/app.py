# SPDX-License-Identifier: MIT
"""The application: views, who may call them, and how errors look."""

from __future__ import annotations

import threading
from importlib import metadata

from flask import Response
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI

from fieldcam.api import access, listeners, problems, schemas
from fieldcam.api.auth_store import AuthStore
from fieldcam.api.context import EXTENSION, Context
from fieldcam.api.routes import capture_health, docs, images, local, results, system
from fieldcam.api.strict_json import StrictJSONProvider, StrictRequest
from fieldcam.catalog.reader import CatalogReader
from fieldcam.catalog.result_reader import ResultReader
from fieldcam.core.clock import Clock, SystemClock
from fieldcam.core.config import Config

MAX_BODY_BYTES = 64 * 1024
CATALOG_BUSY_SECONDS = 2.0

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class Application(OpenAPI):
    """Flask with strict requests and a document of itself."""

    request_class = StrictRequest


def create_app(config: Config, clock: Clock | None = None, stop: threading.Event | None = None) -> Application:
    """Make the application.

    Args:
        config: of the appliance.
        clock: time.
        stop: set when the process is asked to end.

    Raises:
        RuntimeError: a view has no access mark; a mistake in the program.
    """
    clock = clock or SystemClock()
    version = metadata.version("fieldcam")
    app = Application(
        "fieldcam.api",
        static_folder=None,
        info=Info(title="fieldcam", version=version),
        doc_ui=False,
        security_schemes={"token": {"type": "http", "scheme": "bearer"}},
        validation_error_callback=schemas.refuse,
        validation_error_model=schemas.LocalProblem,
    )
    app.json = StrictJSONProvider(app)
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        MAX_FORM_MEMORY_SIZE=MAX_BODY_BYTES,
        MAX_FORM_PARTS=10,
        PROPAGATE_EXCEPTIONS=False,
    )
    layout = config.layout
    app.extensions[EXTENSION] = Context(
        config=config,
        clock=clock,
        tokens=AuthStore(layout.auth, clock),
        captures=CatalogReader(layout.catalog, "capture", busy_seconds=CATALOG_BUSY_SECONDS),
        results=ResultReader(layout.catalog, busy_seconds=CATALOG_BUSY_SECONDS),
        live=CatalogReader(layout.live_catalog, "live", busy_seconds=CATALOG_BUSY_SECONDS),
        version=version,
        started_ns=clock.boottime_ns(),
        stop=stop or threading.Event(),
    )
    problems.install(app)
    app.before_request(lambda: access.check(app))
    app.after_request(_finish)
    for api in (local.api, images.api, results.api, capture_health.api, system.api):
        app.register_api(api)
    app.register_blueprint(docs.blueprint)
    access.require_marks(app)
    return app


def _finish(answer: Response) -> Response:
    for name, value in _HEADERS.items():
        answer.headers.setdefault(name, value)
    listeners.add_cors(answer)
    return answer

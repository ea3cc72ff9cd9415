# SPDX-License-Identifier: MIT
"""The documentation of the API, made from the code; its page needs no internet.

Not a secret: the same for every appliance of a release, without data. So it is open on the token listener too; a
browser could not send a token with a page.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from flask import Blueprint, Response, current_app
from werkzeug.exceptions import NotFound

from fieldcam.api.access import local, open_to_all

blueprint = Blueprint("docs", __name__)

_ASSETS = {
    "swagger-ui.css": ("css", "text/css"),
    "swagger-ui-bundle.js": ("js", "text/javascript"),
}
# Swagger UI styles its elements by attributes; scripts run from this server only.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>fieldcam API</title>
<link rel="stylesheet" href="{base}/assets/swagger-ui.css">
</head>
<body>
<div id="api" data-document="{document}"></div>
<script src="{base}/assets/swagger-ui-bundle.js"></script>
<script src="{base}/assets/start.js"></script>
</body>
</html>
"""
_START = """"use strict";
const place = document.getElementById("api");
SwaggerUIBundle({ url: place.dataset.document, domNode: place, deepLinking: true, validatorUrl: null });
"""


@blueprint.get("/docs")
@local
def docs() -> Response:
    """Return the page."""
    return _page("/docs", "/openapi.json")


@blueprint.get("/docs/assets/<name>")
@local
def docs_asset(name: str) -> Response:
    """Return a part of the page."""
    return _asset(name)


@blueprint.get("/openapi.json")
@local
def openapi() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return _document()


@blueprint.get("/api/docs")
@open_to_all
def api_docs() -> Response:
    """Return the page."""
    return _page("/api/docs", "/api/openapi.json")


@blueprint.get("/api/docs/assets/<name>")
@open_to_all
def api_docs_asset(name: str) -> Response:
    """Return a part of the page."""
    return _asset(name)


@blueprint.get("/api/openapi.json")
@open_to_all
def api_openapi() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return _document()


def _document() -> dict[str, Any]:
    """Return what the library made of the views, without what it says wrongly."""
    made: dict[str, Any] = current_app.api_doc  # type: ignore[attr-defined]
    for operations in made["paths"].values():
        for operation in operations.values():
            # It promises its own error format wherever a view does not say otherwise, and that bodies are needed.
            if _is_list(operation["responses"].get("422", {})):
                del operation["responses"]["422"]
            if "requestBody" in operation:
                operation["requestBody"]["required"] = False
    return made


def _is_list(response: dict[str, Any]) -> bool:
    content: dict[str, Any] = response.get("content", {}).get("application/json", {})
    return bool(content.get("schema", {}).get("type") == "array")


def _page(base: str, document: str) -> Response:
    answer = Response(_PAGE.format(base=base, document=document), mimetype="text/html")
    answer.headers["Content-Security-Policy"] = _POLICY
    return answer


def _asset(name: str) -> Response:
    if name == "start.js":
        return Response(_START, mimetype="text/javascript")
    if name not in _ASSETS:
        raise NotFound
    folder, mimetype = _ASSETS[name]
    text = resources.files("flask_openapi3_swagger").joinpath("templates", "swagger", folder, name).read_bytes()
    answer = Response(text, mimetype=mimetype)
    answer.headers["Cache-Control"] = "private, max-age=3600"
    return answer

# SPDX-License-Identifier: MIT
"""What clients of the HTTP API may rely on: fields, statuses, and who may call what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import simplejpeg

from fieldcam.api.access import Access, access_of
from fieldcam.api.app import create_app
from fieldcam.core.config import Config
from tests.api_process import Api, api_process, api_tree

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
BAD_TOKEN = {"Authorization": "Bearer fc_000000000000_" + "A" * 43}

# Who may call what: a route that is added has to be added here too, by hand.
LOCAL, OPEN = Access("local"), Access("open")
MATRIX = {
    ("POST", "/capture"): LOCAL,
    ("GET", "/settings"): LOCAL,
    ("PUT", "/settings"): LOCAL,
    ("GET", "/video/feed"): LOCAL,
    ("GET", "/health"): LOCAL,
    ("GET", "/docs"): LOCAL,
    ("GET", "/docs/assets/<name>"): LOCAL,
    ("GET", "/openapi.json"): LOCAL,
    ("GET", "/api/docs"): OPEN,
    ("GET", "/api/docs/assets/<name>"): OPEN,
    ("GET", "/api/openapi.json"): OPEN,
    ("GET", "/api/v1/capture/health"): OPEN,
    ("POST", "/api/v1/capture/test"): Access("token", "operator"),
    ("GET", "/api/v1/images"): Access("token", "viewer"),
    ("GET", "/api/v1/images/latest"): Access("token", "viewer"),
    ("GET", "/api/v1/images/<int:id>"): Access("token", "viewer"),
    ("GET", "/api/v1/images/<int:id>/file"): Access("token", "viewer"),
    ("GET", "/api/v1/results"): Access("token", "viewer"),
    ("GET", "/api/v1/system/status"): Access("token", "viewer"),
}
DOCUMENTED = {key for key in MATRIX if "docs" not in key[1] and "openapi" not in key[1]}


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """Return a running API beside a running capture process."""
    with api_tree() as tree, tree.capture_process(), api_process(tree) as made:
        yield made


@pytest.fixture(scope="module")
def token(api: Api) -> dict[str, str]:
    """Return the header of a viewer's token."""
    return api.bearer()


def in_use(rule: str) -> str:
    return rule.replace("<name>", "start.js").replace("<int:id>", "7")


def routes() -> set[tuple[str, str]]:
    rules = create_app(Config()).url_map.iter_rules()
    return {(method, rule.rule) for rule in rules for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}


# --- who may call what ------------------------------------------------------------------------------------------------


def test_every_route_stands_in_the_matrix_with_its_mark() -> None:
    app = create_app(Config())

    marks = {
        (method, rule.rule): access_of(app, rule.endpoint)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert marks == MATRIX


@pytest.mark.parametrize(("method", "rule"), sorted(MATRIX))
@pytest.mark.parametrize("headers", [{}, BAD_TOKEN], ids=["no token", "bad token"])
def test_without_a_good_token_the_token_listener_serves_open_routes_only(
    api: Api, method: str, rule: str, headers: dict[str, str]
) -> None:
    answer = api.tokened.request(method, in_use(rule), headers=headers)

    assert answer.status_code == (200 if MATRIX[method, rule].kind == "open" else 401)


@pytest.mark.parametrize(("method", "rule"), sorted(MATRIX))
def test_with_a_viewers_token_the_token_listener_serves_all_but_local_routes_and_those_of_other_roles(
    api: Api, token: dict[str, str], method: str, rule: str
) -> None:
    answer = api.tokened.request(method, in_use(rule), headers=token)

    if MATRIX[method, rule].kind == "local":
        assert answer.status_code == 404
    elif MATRIX[method, rule].role != "viewer":
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "AUTH_ERROR")
    else:
        # There is no manager here, so no catalog: 503 is an answer of the view, not of the guard.
        assert answer.status_code in {200, 503}


@pytest.mark.parametrize(("method", "rule"), sorted(MATRIX))
@pytest.mark.parametrize("with_token", [False, True])
def test_the_local_listener_serves_local_and_open_routes_only(
    api: Api, token: dict[str, str], method: str, rule: str, *, with_token: bool
) -> None:
    with api.local.stream(method, in_use(rule), headers=token if with_token else {}) as answer:
        status = answer.status_code

    assert status == (404 if MATRIX[method, rule].kind == "token" else 200)


def test_without_a_token_nobody_learns_what_exists(api: Api) -> None:
    asked = [
        ("GET", "/api/v1/images"),
        ("GET", "/api/v1/nothing"),
        ("DELETE", "/api/v1/images"),
        ("PATCH", "/health"),
        ("OPTIONS", "/api/v1/images"),
        ("GET", "/"),
    ]

    answers = [api.tokened.request(method, path) for method, path in asked]

    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json() == {
        "statusCode": 401,
        "message": "a valid token is needed",
        "error": "Unauthorized",
        "code": "INVALID_TOKEN",
    }


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Basic {}", "Bearer {}x", "Bearer x{}", "{}", "Token {}", "Bearer {} {}"],
)
def test_a_token_counts_only_as_it_was_issued(api: Api, token: dict[str, str], header: str) -> None:
    text = token["Authorization"].removeprefix("Bearer ")

    answer = api.tokened.get("/api/v1/system/status", headers={"Authorization": header.format(text, text)})

    assert answer.status_code == 401


def test_the_host_header_does_not_choose_the_listener(api: Api) -> None:
    answer = api.tokened.get("/health", headers={"Host": f"localhost:{api.local_port}"})

    assert answer.status_code == 401


def test_openapi_lists_every_route(api: Api) -> None:
    document = api.local.get("/openapi.json").json()

    listed = {
        (method.upper(), path.replace("{id}", "<int:id>"))
        for path, item in document["paths"].items()
        for method in item
    }
    assert listed == DOCUMENTED
    assert routes() == set(MATRIX)
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def test_openapi_is_complete_in_itself(api: Api) -> None:
    text = api.local.get("/openapi.json").text

    named = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert named <= set(api.local.get("/openapi.json").json()["components"]["schemas"])


@pytest.mark.parametrize("base", ["/docs", "/api/docs"])
def test_the_page_of_the_documents_needs_no_other_server(api: Api, base: str) -> None:
    client = api.local if base == "/docs" else api.tokened
    page = client.get(base)

    links = re.findall(r'(?:src|href|data-document)="([^"]+)"', page.text)

    assert len(links) == 4
    assert all(link.startswith("/") and not link.startswith("//") for link in links)
    assert [client.get(link).status_code for link in links] == [200] * 4
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]


# --- the local family -------------------------------------------------------------------------------------------------


def test_a_capture_answers_with_the_documented_fields(api: Api) -> None:
    before = datetime.now(UTC)
    answer = api.local.post("/capture", json={"exposure": 50, "gain": 1.5})

    said = answer.json()
    path = Path(said["filepath"])
    assert answer.status_code == 200
    assert set(said) >= {
        "success", "filename", "filepath", "timestamp", "capturedAt", "exposureTime", "gain", "fileSize", "width",
        "height", "settings", "image_info", "metadata", "imageId", "databaseSaved",
    }  # fmt: skip
    assert (said["success"], said["exposureTime"], said["gain"], said["databaseSaved"]) == (True, 50.0, 1.5, False)
    assert said["settings"] == {"exposure": 50.0, "gain": 1.5, "resolution": {"width": 320, "height": 240}}
    assert said["image_info"] == {"size_bytes": said["fileSize"], "format": "JPG"}
    assert said["metadata"] == {"format": "JPG", "quality": 95, "cameraConnected": False, "simulatedMode": True}
    assert TIME.fullmatch(said["timestamp"])
    assert datetime.fromisoformat(said["capturedAt"]) >= before.replace(microsecond=before.microsecond // 1000 * 1000)
    assert (path.is_absolute(), path.name, path.stat().st_size) == (True, said["filename"], said["fileSize"])
    assert simplejpeg.decode_jpeg(path.read_bytes()).shape == (said["height"], said["width"], 3)
    assert path.with_suffix(".json").exists()
    assert isinstance(said["imageId"], int)


def test_a_capture_needs_no_body(api: Api) -> None:
    answers = [
        api.local.post("/capture"),
        api.local.post("/capture", content=b"", headers={"Content-Type": "application/json"}),
        api.local.post("/capture", json={}),
    ]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.json()["imageId"] for answer in answers}) == 3


def test_what_a_capture_asks_for_holds_for_it_alone(api: Api) -> None:
    before = api.local.get("/settings").json()
    asked = {
        "exposure": 20, "gain": 2, "quality": 60, "job_id": 9, "position": {"x": 1.5, "y": 0, "z": -2},
        "sample_no": "S1", "submission_no": "B2", "description": "Plättchen", "not_before": "any",
    }  # fmt: skip

    said = api.local.post("/capture", json=asked).json()

    assert said["filename"].startswith("capture_S1_B2_")
    assert (said["exposureTime"], said["metadata"]["quality"]) == (20.0, 60)
    assert api.local.get("/settings").json() == before


def test_a_capture_of_another_camera(api: Api) -> None:
    with api.tree.capture_process("north"):
        said = api.local.post("/capture?camera=north").json()

    assert (said["camera"], said["width"], said["height"]) == ("north", 160, 128)
    assert "/cameras/north/" in said["filepath"]


def test_settings_have_the_documented_fields(api: Api) -> None:
    said = api.local.get("/settings").json()

    assert set(said) == {"exposure", "gain", "resolution", "available_resolutions", "connected", "streaming"}
    assert said["resolution"] in said["available_resolutions"]
    assert (said["connected"], said["streaming"]) == (False, False)


def test_put_settings_answers_as_get_and_holds(api: Api) -> None:
    try:
        put = api.local.put("/settings", json={"exposure": 33, "resolution": {"width": 640, "height": 480}})
        got = api.local.get("/settings").json()
        said = api.local.post("/capture").json()
    finally:
        api.local.put("/settings", json={"exposure": 100, "resolution": {"width": 320, "height": 240}})

    assert put.status_code == 200
    assert (got["exposure"], got["resolution"]) == (33.0, {"width": 640, "height": 480})
    assert {**put.json(), "resolution": None} == {**got, "resolution": None}
    assert (said["exposureTime"], said["width"], said["height"]) == (33.0, 640, 480)


def test_health_has_the_documented_fields(api: Api) -> None:
    answer = api.local.get("/health")

    said = answer.json()
    # There is no manager here: frames are served, but something is wrong.
    assert (answer.status_code, said["status"], said["camera_connected"]) == (200, "degraded", False)
    assert said["simulatedMode"] is True
    assert TIME.fullmatch(said["timestamp"])
    assert {reason["code"] for reason in said["reasons"]} >= {"MANAGER_NOT_RUNNING"}
    assert 0 <= said["latest_image_age"] < 10


# --- the other families -----------------------------------------------------------------------------------------------


def test_the_v_family_health_has_the_documented_fields(api: Api) -> None:
    answer = api.tokened.get("/api/v1/capture/health")

    said = answer.json()
    assert (answer.status_code, said["success"], said["status"]) == (200, True, "degraded")
    assert TIME.fullmatch(said["timestamp"])
    assert set(said["details"]) == {
        "uptime_seconds", "camera_connected", "camera_capturing", "websocket_connections", "version",
    }  # fmt: skip


def test_system_status_has_the_documented_fields(api: Api, token: dict[str, str]) -> None:
    said = api.tokened.get("/api/v1/system/status", headers=token).json()

    assert set(said) >= {
        "host_capture_healthy", "container_accessible", "latest_image_age", "disk_usage_percent", "images_in_queue",
        "error_alerts", "version", "timestamp", "simulated", "health", "cameras",
    }  # fmt: skip
    assert [camera["camera"] for camera in said["cameras"]] == ["default", "north"]
    assert (said["simulated"], said["cameras"][0]["simulated"]) == (True, True)


def test_errors_have_the_shape_of_their_family(api: Api, token: dict[str, str]) -> None:
    local = api.local.get("/nothing")
    gateway = api.tokened.get("/api/v1/nothing", headers=token)
    v = api.tokened.get("/api/v1/capture/nothing", headers=token)
    v_without = api.tokened.get("/api/v1/capture/nothing")

    assert (local.status_code, set(local.json())) == (404, {"detail"})
    assert (gateway.status_code, set(gateway.json())) == (404, {"statusCode", "message", "error", "code"})
    assert (v.status_code, set(v.json()), v.json()["success"]) == (404, {"success", "error", "timestamp"}, False)
    assert (v_without.status_code, v_without.json()["error"]["code"]) == (401, "INVALID_TOKEN")


@pytest.mark.parametrize("path", ["/health", "/nothing", "/settings"])
def test_every_answer_carries_the_headers_of_a_careful_server(api: Api, path: str) -> None:
    headers = api.local.get(path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert re.search(r"\d", headers["Server"]) is None

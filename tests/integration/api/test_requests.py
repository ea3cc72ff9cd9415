# SPDX-License-Identifier: MIT
"""Requests that are refused, a camera that says no, and foreign pages."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fieldcam.control import protocol
from fieldcam.core.errors import (
    CameraInUseError,
    CameraNotAvailableError,
    CaptureFailedError,
    CaptureInProgressError,
    CaptureTimeoutError,
    FieldcamError,
    StorageFullError,
    StorageUnavailableError,
)
from tests.api_process import Api, StandIn, a_beat, a_sidecar, api_process, api_tree, stand_in
from tests.appliance_tree import wait_until

# --- bad requests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 422, "not valid JSON"),
        (b"[]", 422, "must be a JSON object"),
        (b'{"exposure": NaN}', 422, "NaN"),
        (b'{"exposure": 1e999}', 422, "exposure"),
        (b'{"gain": 1, "gain": 2}', 422, "gain: stands twice"),
        (b'{"exposure": 0}', 422, "exposure: 0 is not allowed; more than 0"),
        (b'{"exposure": "5"}', 422, "exposure: '5' is not allowed"),
        (b'{"exposrue": 5}', 422, "exposrue: unknown field"),
        (b'{"sample_no": "../../etc/passwd"}', 422, "sample_no"),
        (b'{"submission_no": "1"}', 422, "sample_no: is missing"),
        (b'{"description": "\\ud800"}', 422, "description"),
        (b"\xff\xfe", 422, "not UTF-8"),
        (b"[" * 60_000, 422, "nested"),
        (b'{"a":' * 10_000, 422, "nested"),
        (b'{"description": "' + b"x" * 65_536 + b'"}', 413, ""),
    ],
)
def test_a_bad_body_is_told_and_never_reaches_the_camera(
    quiet: tuple[Api, StandIn], body: bytes, status: int, says: str
) -> None:
    api, process = quiet
    asked = len(process.asked)

    answer = api.local.post("/capture", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == status
    assert says in answer.json()["detail"]
    assert len(process.asked) == asked


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_a_body_of_another_kind_is_refused(quiet: tuple[Api, StandIn], headers: dict[str, str]) -> None:
    answer = quiet[0].local.post("/capture", content=b'{"exposure": 5}', headers=headers)

    assert (answer.status_code, set(answer.json())) == (415, {"detail"})


def test_a_body_that_claims_to_be_huge_is_refused_without_reading_it(quiet: tuple[Api, StandIn]) -> None:
    api, _ = quiet
    with socket.create_connection(("127.0.0.1", api.local_port), timeout=10) as connection:
        connection.sendall(
            f"POST /capture HTTP/1.1\r\nHost: localhost:{api.local_port}\r\nContent-Type: application/json\r\n"
            "Content-Length: 2147483648\r\n\r\n".encode()
        )
        status_line = connection.recv(100).split(b"\r\n")[0]

    assert status_line.startswith(b"HTTP/1.1 413")


def test_a_chunked_body_has_the_same_limit(quiet: tuple[Api, StandIn]) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 8192

    answer = quiet[0].local.post("/capture", content=chunks(), headers={"Content-Type": "application/json"})

    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/health?" + "x" * 4000, {}, 414),
        ("/health", {f"X-{n}": "1" for n in range(60)}, 431),
        ("/health", {"X-Long": "x" * 9000}, 431),
        ("/health", {"X_Under": "1"}, 400),
    ],
)
def test_requests_beyond_the_limits_are_refused(
    quiet: tuple[Api, StandIn], target: str, headers: dict[str, str], status: int
) -> None:
    api, _ = quiet

    assert api.raw(api.local_port, "GET", target, headers)[0] == status


@pytest.mark.parametrize("path", ["/settings?camera=nowhere", "/video/feed?camera=nowhere", "/video/feed?fps=0"])
def test_a_bad_parameter_is_told(quiet: tuple[Api, StandIn], path: str) -> None:
    answer = quiet[0].local.get(path)

    assert answer.status_code == 422
    assert re.match("camera: there is no camera|fps: ", answer.json()["detail"])


def test_another_method_is_refused(quiet: tuple[Api, StandIn]) -> None:
    answer = quiet[0].local.get("/capture")

    assert (answer.status_code, set(answer.json())) == (405, {"detail"})
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("key", ["", "a b", "x" * 129, "é"])
def test_a_bad_idempotency_key_is_told(quiet: tuple[Api, StandIn], key: str) -> None:
    answer = quiet[0].local.post("/capture", headers=httpx.Headers([(b"Idempotency-Key", key.encode())]))

    assert (answer.status_code, answer.json()["detail"].partition(":")[0]) == (422, "Idempotency-Key")


def test_what_was_asked_reaches_the_camera(quiet: tuple[Api, StandIn]) -> None:
    api, process = quiet
    body = {
        "exposure": 5, "gain": 2.5, "quality": 80, "resolution": {"width": 320, "height": 240}, "not_before": "any",
        "job_id": "J-1", "position": {"x": 1}, "sample_no": "S", "submission_no": "T", "description": "d",
    }  # fmt: skip

    api.local.post("/capture", json=body, headers={"Idempotency-Key": "k-1"})

    asked = process.asked[-1]
    assert len(asked.pop("request_sha256")) == 64
    assert asked == {
        "op": protocol.CAPTURE, "exposure_ms": 5.0, "gain": 2.5, "quality": 80, "width": 320, "height": 240,
        "not_before_ns": 0, "job_id": "J-1", "x_position": 1.0, "sample_no": "S", "submission_no": "T",
        "description": "d", "idempotency_key": "k-1",
    }  # fmt: skip


# --- a camera that says no --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (CameraNotAvailableError("no camera found"), 503, "Camera not connected: no camera found"),
        (CameraInUseError("taken"), 503, "Camera not connected: taken"),
        (CaptureFailedError("the sensor hangs"), 500, "Capture failed: the sensor hangs"),
        (CaptureTimeoutError("too late"), 500, "Capture failed: too late"),
        (CaptureInProgressError("8 wait already"), 409, "8 wait already"),
        (StorageFullError("no space left"), 507, "no space left"),
        (StorageUnavailableError("not mounted"), 507, "not mounted"),
    ],
)
def test_what_the_camera_says_has_its_status(
    quiet: tuple[Api, StandIn], error: FieldcamError, status: int, says: str
) -> None:
    api, process = quiet

    def fail(_: dict[str, Any]) -> dict[str, Any]:
        raise error

    before, process.handlers[protocol.CAPTURE] = process.handlers[protocol.CAPTURE], fail
    try:
        answer = api.local.post("/capture")
    finally:
        process.handlers[protocol.CAPTURE] = before

    assert (answer.status_code, answer.json()) == (status, {"detail": says})


def test_an_answer_that_cannot_be_read_is_an_error_and_no_traceback(quiet: tuple[Api, StandIn]) -> None:
    api, process = quiet
    before, process.handlers[protocol.CAPTURE] = process.handlers[protocol.CAPTURE], lambda _: {"sidecar": {}}
    try:
        answer = api.local.post("/capture")
    finally:
        process.handlers[protocol.CAPTURE] = before

    assert (answer.status_code, "cannot be read" in answer.json()["detail"]) == (503, True)
    assert "Traceback" not in answer.text + api.log_text()


def test_a_camera_that_reports_nothing_gives_nulls(quiet: tuple[Api, StandIn]) -> None:
    api, process = quiet
    sidecar = a_sidecar(exposure=None, gain=None, quality=None).to_dict()
    before = process.handlers[protocol.CAPTURE]
    process.handlers[protocol.CAPTURE] = lambda _: {"sidecar": sidecar, "path": "/x", "database_saved": False}
    try:
        said = api.local.post("/capture").json()
    finally:
        process.handlers[protocol.CAPTURE] = before

    assert (said["exposureTime"], said["gain"], said["metadata"]["quality"]) == (None, None, None)
    assert said["metadata"]["cameraConnected"] is True


def test_a_missing_capture_process_is_told_at_once() -> None:
    with api_tree() as tree, api_process(tree) as api:
        began = time.monotonic()
        answers = [api.local.post("/capture"), api.local.get("/settings"), api.local.get("/video/feed")]
        seconds = time.monotonic() - began
        health = api.local.get("/health")
        v = api.tokened.get("/api/v1/capture/health")

    assert [answer.status_code for answer in answers] == [503] * 3
    assert all(answer.json()["detail"].startswith("Camera not connected: ") for answer in answers)
    assert seconds < 5
    assert (health.status_code, health.json()["status"], health.json()["latest_image_age"]) == (503, "unhealthy", None)
    assert (v.status_code, v.json()["success"], v.json()["status"]) == (503, False, "unhealthy")


def test_a_frozen_camera_is_unhealthy_though_its_process_runs() -> None:
    with api_tree() as tree, stand_in(tree) as process, api_process(tree) as api:
        wait_until(lambda: api.local.get("/health").status_code == 200, "healthy")
        process.beat = lambda: a_beat(frame_age=11.0)

        said = wait_until(
            lambda: (answer := api.local.get("/health")).status_code == 503 and answer.json(), "unhealthy"
        )

    assert said["camera_connected"] is True
    assert "FRAMES_STALE" in {reason["code"] for reason in said["reasons"]}


# --- browsers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8001"},
        {"Host": "localhost"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000.evil.example"},
        {"Origin": "https://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ],
)
def test_a_foreign_page_cannot_drive_the_camera(quiet: tuple[Api, StandIn], headers: dict[str, str]) -> None:
    api, process = quiet
    asked = len(process.asked)

    answers = [api.local.post("/capture", headers=headers), api.local.get("/nothing", headers=headers)]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert not any("Access-Control-Allow-Origin" in answer.headers for answer in answers)
    assert len(process.asked) == asked


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_every_name_of_this_machine_is_served(quiet: tuple[Api, StandIn], name: str) -> None:
    api, _ = quiet

    answer = api.local.get("/settings", headers={"Host": f"{name}:{api.local_port}"})

    assert answer.status_code == 200


def test_an_allowed_page_is_let_in(quiet: tuple[Api, StandIn]) -> None:
    api, _ = quiet
    origin = "http://localhost:3000"

    answer = api.local.get("/settings", headers={"Origin": origin})
    asked = api.local.options("/capture", headers={"Origin": origin, "Access-Control-Request-Method": "POST"})

    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, origin)
    assert asked.status_code == 204
    assert asked.headers["Access-Control-Allow-Origin"] == origin
    assert "Content-Type" in asked.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in asked.headers
    assert "Origin" in answer.headers["Vary"]


def test_a_preflight_of_a_foreign_page_gets_nothing(quiet: tuple[Api, StandIn]) -> None:
    api, _ = quiet
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}

    local = api.local.options("/capture", headers=headers)
    tokened = api.tokened.options("/api/v1/images", headers=headers)

    assert [local.status_code, tokened.status_code] == [403, 401]
    assert "Access-Control-Allow-Origin" not in {**local.headers, **tokened.headers}

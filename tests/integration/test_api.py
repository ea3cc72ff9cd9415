# SPDX-License-Identifier: MIT
"""A real API process: bad requests, a camera that is away, watching, waiting, files, and its end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import simplejpeg

from fieldcam.api.context import MAX_STREAMS, MAX_WAITS
from fieldcam.catalog.reader import LIVE_ID_BASE
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
from tests.api_process import COMMAND, Api, StandIn, a_beat, a_sidecar, api_process, api_tree, stand_in
from tests.appliance_tree import wait_until

PART = re.compile(rb"--frame\r\n((?:[^\r\n]+\r\n)+)\r\n")


@pytest.fixture(scope="module")
def quiet() -> Iterator[tuple[Api, StandIn]]:
    """Return an API whose capture process is a stand-in that says what a test wants."""
    with api_tree() as tree, stand_in(tree) as process, api_process(tree) as api:
        yield api, process


@pytest.fixture(scope="module")
def live() -> Iterator[Api]:
    """Return an API beside a real capture process."""
    with api_tree() as tree, tree.capture_process(), api_process(tree) as api:
        yield api


@pytest.fixture(scope="module")
def whole() -> Iterator[Api]:
    """Return an API beside a real capture process and a real manager."""
    with (
        api_tree() as tree,
        tree.capture_process(),
        tree.process("fieldcam.cli.image_sync_manager"),
        api_process(tree) as api,
    ):
        wait_until(lambda: api.local.post("/capture").json()["databaseSaved"], "a capture has its row")
        yield api


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


# --- watching ---------------------------------------------------------------------------------------------------------


def parts_of(answer: httpx.Response, number: int) -> list[tuple[dict[str, str], bytes]]:
    """Read so many parts of a stream."""
    found: list[tuple[dict[str, str], bytes]] = []
    buffer = b""
    for chunk in answer.iter_raw():
        buffer += chunk
        while (match := PART.match(buffer)) is not None:
            headers = dict(line.split(": ", 1) for line in match[1].decode().splitlines())
            end = match.end() + int(headers["Content-Length"])
            if len(buffer) < end + 2:
                break
            found.append((headers, buffer[match.end() : end]))
            assert buffer[end : end + 2] == b"\r\n"
            buffer = buffer[end + 2 :]
        if len(found) >= number:
            return found[:number]
    raise AssertionError(f"the stream ended after {len(found)} parts")


def test_a_stream_brings_new_frames_with_their_headers(live: Api) -> None:
    with live.local.stream("GET", "/video/feed") as answer:
        found = parts_of(answer, 5)

    times = [float(headers["X-Timestamp"]) for headers, _ in found]
    assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
    assert all(later > earlier for earlier, later in pairwise(times))
    for headers, jpeg in found:
        assert simplejpeg.decode_jpeg(jpeg).shape[2] == 3
        assert (headers["Content-Type"], headers["X-Simulated"]) == ("image/jpeg", "true")
        assert 0 <= float(headers["X-Age"]) < 5
        assert headers["X-Captured-At"].endswith("Z")


def test_native_frames_are_those_of_the_loop(live: Api) -> None:
    with live.local.stream("GET", "/video/feed?native=1") as answer:
        found = parts_of(answer, 3)

    sequences = [int(headers["X-Sequence"]) for headers, _ in found]
    assert sequences == sorted(set(sequences))
    assert simplejpeg.decode_jpeg(found[0][1]).shape == (240, 320, 3)


def test_a_stream_is_thinned_and_scaled_on_request(live: Api) -> None:
    with live.local.stream("GET", "/video/feed?fps=2&width=160") as answer:
        found = parts_of(answer, 5)

    times = [float(headers["X-Timestamp"]) for headers, _ in found]
    assert simplejpeg.decode_jpeg(found[0][1]).shape[1] == 160
    assert times[-1] - times[0] >= 4 * 0.5 * 0.75


def test_the_camera_streams_only_while_somebody_watches(live: Api) -> None:
    with live.local.stream("GET", "/video/feed") as answer:
        chunks = answer.iter_raw()  # kept: httpx hangs up when it is thrown away
        next(chunks)
        watched = live.local.get("/settings").json()["streaming"]

    assert watched is True
    wait_until(lambda: live.local.get("/settings").json()["streaming"] is False, "the subscription is gone")


def test_a_head_request_does_not_start_a_stream(live: Api) -> None:
    answer = live.local.head("/video/feed")

    assert (answer.status_code, answer.headers["Content-Type"]) == (
        200,
        "multipart/x-mixed-replace; boundary=frame",
    )


def test_places_for_streams_are_counted_and_given_back(live: Api) -> None:
    with ExitStack() as watchers:
        for _ in range(MAX_STREAMS):
            answer = watchers.enter_context(live.local.stream("GET", "/video/feed?fps=1"))
            assert answer.status_code == 200
        refused = live.local.get("/video/feed")
        health = live.local.get("/health")

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert health.status_code == 200

    def is_served() -> bool:
        with live.local.stream("GET", "/video/feed") as answer:
            return answer.status_code == 200

    wait_until(is_served, "a place is free again")


def test_a_reader_that_takes_nothing_is_let_go_and_hurts_nobody(live: Api) -> None:
    with socket.create_connection(("127.0.0.1", live.local_port), timeout=10) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.sendall(f"GET /video/feed?native=1 HTTP/1.1\r\nHost: localhost:{live.local_port}\r\n\r\n".encode())
        stalled.recv(100)

        wait_until(lambda: "CLIENT_TOO_SLOW" in live.log_text(), "the reader is let go", 60)
        health = live.local.get("/health")

    assert health.status_code == 200
    assert "Traceback" not in live.log_text()


def test_a_stream_without_new_frames_is_an_error_and_never_a_frozen_picture(quiet: tuple[Api, StandIn]) -> None:
    answer = quiet[0].local.get("/video/feed")

    assert (answer.status_code, answer.json()["detail"]) == (
        503,
        "Camera not connected: camera default gives no frames",
    )


# --- the newest frame -------------------------------------------------------------------------------------------------


def test_the_newest_frame_comes_with_what_is_known_of_it(live: Api) -> None:
    answer = live.tokened.get("/api/v1/images/latest", headers=live.bearer())

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert simplejpeg.decode_jpeg(answer.content).shape == (240, 320, 3)
    assert (answer.headers["X-Simulated"], answer.headers["X-Camera"]) == ("true", "default")
    assert 0 <= float(answer.headers["X-Age"]) < 5


@pytest.mark.parametrize(
    ("path", "accept"), [("/api/v1/images/latest?format=json", "*/*"), ("/api/v1/images/latest", "application/json")]
)
def test_the_newest_frame_as_json_is_its_sidecar(live: Api, path: str, accept: str) -> None:
    said = live.tokened.get(path, headers={**live.bearer(), "Accept": accept}).json()

    assert (said["kind"], said["simulated"], said["width"]) == ("live", True, 320)
    assert 0 <= said["age"] < 5


def test_the_same_frame_is_not_sent_twice(live: Api) -> None:
    token = live.bearer()

    def is_unchanged() -> bool:
        tag = live.tokened.get("/api/v1/images/latest", headers=token).headers["ETag"]
        answer = live.tokened.get("/api/v1/images/latest", headers={**token, "If-None-Match": tag})
        return answer.status_code == 304 and answer.content == b""

    wait_until(is_unchanged, "no new frame between two requests")


def test_waiting_brings_each_frame_once(live: Api) -> None:
    token = live.bearer()
    first = live.tokened.get("/api/v1/images/latest", headers=token)

    sequences = [int(first.headers["X-Sequence"])]
    tag = first.headers["ETag"]
    for _ in range(5):
        answer = live.tokened.get("/api/v1/images/latest?wait=5", headers={**token, "If-None-Match": tag})
        assert answer.status_code == 200
        tag = answer.headers["ETag"]
        sequences.append(int(answer.headers["X-Sequence"]))

    assert sequences == sorted(set(sequences))


def test_a_frame_older_than_allowed_is_refused(quiet: tuple[Api, StandIn]) -> None:
    with api_tree(max_image_age=60.0) as tree:
        with tree.capture_process() as process:
            process.kill()
        with api_process(tree) as api:
            token = api.bearer()
            fine = api.tokened.get("/api/v1/images/latest", headers=token)
            old = api.tokened.get("/api/v1/images/latest?max_age=0.001", headers=token)
            waited = api.tokened.get("/api/v1/images/latest?max_age=0.001&wait=0.3", headers=token)

    assert fine.status_code == 200
    assert [(answer.status_code, answer.json()["code"]) for answer in (old, waited)] == [(503, "IMAGE_TOO_OLD")] * 2


def test_without_frames_there_is_no_newest(quiet: tuple[Api, StandIn]) -> None:
    api, _ = quiet

    answer = api.tokened.get("/api/v1/images/latest", headers=api.bearer())

    assert (answer.status_code, answer.json()["code"]) == (404, "IMAGE_NOT_FOUND")


def test_places_for_waiting_are_counted(quiet: tuple[Api, StandIn]) -> None:
    api, _ = quiet
    token = api.bearer()

    def wait() -> int:
        return httpx.get(
            f"http://127.0.0.1:{api.port}/api/v1/images/latest?wait=3", headers=token, timeout=20, trust_env=False
        ).status_code

    with ThreadPoolExecutor(MAX_WAITS + 4) as pool:
        asked: list[Future[int]] = [pool.submit(wait) for _ in range(MAX_WAITS + 4)]
        statuses = sorted(one.result() for one in asked)

    assert statuses == [404] * MAX_WAITS + [503] * 4


# --- the catalog ------------------------------------------------------------------------------------------------------


def test_pages_bring_every_image_once_newest_first(whole: Api) -> None:
    token = whole.bearer()
    made = [whole.local.post("/capture", json={"job_id": 77}).json()["imageId"] for _ in range(5)]
    wait_until(
        lambda: len(whole.tokened.get("/api/v1/images?job_id=77", headers=token).json()["images"]) == 5, "five rows"
    )

    found: list[int] = []
    cursor = None
    while True:
        query = "job_id=77&limit=2" + (f"&cursor={cursor}" if cursor else "")
        page = whole.tokened.get(f"/api/v1/images?{query}", headers=token).json()
        found += [image["id"] for image in page["images"]]
        cursor = page["next"]
        if cursor is None:
            break

    assert found == sorted(made, reverse=True)


def test_live_frames_and_captures_are_listed_together_unless_a_kind_is_asked_for(whole: Api) -> None:
    token = whole.bearer()

    def kinds(query: str) -> set[str]:
        answer = whole.tokened.get(f"/api/v1/images?limit=500{query}", headers=token)
        return {image["kind"] for image in answer.json()["images"]}

    wait_until(lambda: kinds("") == {"live", "capture"}, "both kinds")
    assert kinds("&kind=capture") == {"capture"}
    assert kinds("&kind=live") == {"live"}


def test_an_image_and_its_file(whole: Api) -> None:
    token = whole.bearer()
    said = whole.local.post("/capture", json={"exposure": 40}).json()
    path = f"/api/v1/images/{said['imageId']}"
    image = wait_until(
        lambda: (answer := whole.tokened.get(path, headers=token)).status_code == 200 and answer.json(), "the row"
    )

    file = whole.tokened.get(image["file"], headers=token)
    part = whole.tokened.get(image["file"], headers={**token, "Range": "bytes=2-5"})
    again = whole.tokened.get(image["file"], headers={**token, "If-None-Match": file.headers["ETag"]})
    beyond = whole.tokened.get(image["file"], headers={**token, "Range": "bytes=99999999-"})

    content = Path(said["filepath"]).read_bytes()
    assert (image["filename"], image["exposure_time"], image["simulated"]) == (said["filename"], 40.0, True)
    assert (file.status_code, file.content, file.headers["Content-Type"]) == (200, content, "image/jpeg")
    assert (part.status_code, part.content) == (206, content[2:6])
    assert part.headers["Content-Range"] == f"bytes 2-5/{len(content)}"
    assert (again.status_code, again.content) == (304, b"")
    assert (beyond.status_code, beyond.json()["code"]) == (416, "REQUESTED_RANGE_NOT_SATISFIABLE")
    assert file.headers["X-Simulated"] == "true"


@pytest.mark.parametrize("image_id", [0, 999_999, LIVE_ID_BASE + 10**9, 2**63, 10**30])
@pytest.mark.parametrize("tail", ["", "/file"])
def test_an_image_that_is_not_there(whole: Api, image_id: int, tail: str) -> None:
    answer = whole.tokened.get(f"/api/v1/images/{image_id}{tail}", headers=whole.bearer())

    assert (answer.status_code, answer.json()["code"]) == (404, "IMAGE_NOT_FOUND")


PAYLOADS = [
    "..", "../..", "../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e%2fetc/passwd",
    "..%252f..%252fetc%252fpasswd", "..%00/", "1%00", "%00", "1%0a", "1%0d%0aX-Evil:%201", "/etc/passwd",
    "//etc/passwd", "..\\..\\etc\\passwd", "..%5c..%5cetc%5cpasswd", "%c0%ae%c0%ae%c0%afetc%c0%afpasswd",
    "%e2%88%95etc%e2%88%95passwd", "%ef%bc%8e%ef%bc%8e/etc/passwd", "file:///etc/passwd", "1;ls", "1|id", "$(id)",
    "-1", "+1", "1.0", "1e3", "0x10", "%D9%A1", "%EF%BC%91", "1'--", "1%20OR%201=1", "%27%20OR%20%271", "~root", "nul",
    "1%2e", "1%20", "%e2%80%ae1", "9" * 300, "a" * 300, "latest/..", "latest/file", "latest%2ffile", "%ff", "%",
]  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_path_leaves_the_volume(whole: Api, payload: str) -> None:
    token = whole.bearer()
    targets = [f"/api/v1/images/{payload}", f"/api/v1/images/{payload}/file", f"/api/v1/images?cursor={payload}",
               f"/api/v1/images?camera={payload}", f"/api/v1/images/latest?camera={payload}",
               f"/api/docs/assets/{payload}"]  # fmt: skip

    answers = [whole.raw(whole.port, "GET", target, token) for target in targets]

    assert all(status < 500 for status, _ in answers)
    assert not any(b"root:" in body or b"Traceback" in body for _, body in answers)
    assert not any(body.startswith(b"\xff\xd8") for _, body in answers[:2] if payload not in {"%D9%A1", "%EF%BC%91"})


def test_live_routes_go_on_without_the_catalog(whole: Api) -> None:
    token = whole.bearer()
    with api_tree() as tree, tree.capture_process(), api_process(tree) as api:
        token = api.bearer()
        pages = api.tokened.get("/api/v1/images", headers=token)
        latest = api.tokened.get("/api/v1/images/latest", headers=token)
        capture = api.local.post("/capture")

    assert (pages.status_code, pages.json()["code"]) == (503, "CATALOG_UNAVAILABLE")
    assert str(tree.root) not in pages.text
    assert latest.status_code == 200
    assert (capture.status_code, capture.json()["databaseSaved"]) == (200, False)


def test_system_status_has_what_the_manager_says(whole: Api) -> None:
    token = whole.bearer()

    said = wait_until(
        lambda: (
            (status := whole.tokened.get("/api/v1/system/status", headers=token).json())["images_in_queue"] is not None
            and status
        ),
        "the manager answers",
    )

    assert isinstance(said["host_capture_healthy"], bool)
    assert said["disk_usage_percent"] > 0
    assert "MANAGER_NOT_RUNNING" not in {reason["code"] for reason in said["health"]["reasons"]}


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_revoked_token_is_refused_at_once(quiet: tuple[Api, StandIn]) -> None:
    api, _ = quiet
    issued = api.store().issue("lost laptop", "viewer")
    headers = {"Authorization": f"Bearer {issued.text}"}
    before = api.tokened.get("/api/v1/system/status", headers=headers).status_code

    api.store().revoke(issued.token.id)

    assert (before, api.tokened.get("/api/v1/system/status", headers=headers).status_code) == (200, 401)


def test_a_damaged_database_of_tokens_lets_nobody_in_and_local_clients_go_on() -> None:
    with api_tree() as tree, stand_in(tree), api_process(tree) as api:
        token = api.bearer()
        tree.config.layout.auth.write_bytes(b"damaged" * 1000)
        refused = api.tokened.get("/api/v1/system/status", headers=token)
        local = api.local.get("/settings")

    assert (refused.status_code, refused.json()["code"]) == (503, "AUTH_UNAVAILABLE")
    assert str(tree.root) not in refused.text
    assert local.status_code == 200


# --- the process ------------------------------------------------------------------------------------------------------


def start(tree: Any, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *COMMAND],
        env={**os.environ, "FIELDCAM_CONFIG": str(tree.file), **environ},
        capture_output=True, text=True, timeout=60, check=False, cwd="/",
    )  # fmt: skip


def test_a_taken_port_is_told_with_its_key() -> None:
    with api_tree() as tree, socket.socket() as other:
        other.bind(("127.0.0.1", tree.config.port))
        other.listen()
        port = tree.config.port
        ended = start(tree)

    assert ended.returncode == 78
    assert f"port: 127.0.0.1:{port} is taken by another program" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_wrong_configuration_is_told_line_by_line() -> None:
    with api_tree() as tree:
        ended = start(tree, FIELDCAM_MAX_IMAGES="none", FIELDCAM_INTERVALL="1")

    assert ended.returncode == 78
    assert len([line for line in ended.stderr.splitlines() if line.startswith("error: CONFIG_INVALID: ")]) == 2
    assert "Traceback" not in ended.stderr


def test_no_local_listener_when_it_is_switched_off() -> None:
    with api_tree(local_listener=False) as tree, api_process(tree) as api:
        token = api.bearer("admin")
        with pytest.raises(httpx.ConnectError):
            api.local.get("/health")
        served = api.tokened.get("/health", headers=token).status_code

    assert served == 404


def test_the_end_does_not_wait_for_watchers() -> None:
    with api_tree() as tree, tree.capture_process(), api_process(tree) as api:
        with api.local.stream("GET", "/video/feed") as answer:
            chunks = answer.iter_raw()  # kept: httpx hangs up when it is thrown away
            next(chunks)
            began = time.monotonic()
            api.process.send_signal(signal.SIGTERM)
            api.process.wait(timeout=15)
            seconds = time.monotonic() - began
        log = api.log_text()

    assert (api.process.returncode, seconds < 6) == (0, True)
    assert "Traceback" not in log


def test_every_log_line_has_a_time_a_level_and_a_code(quiet: tuple[Api, StandIn]) -> None:
    api, _ = quiet
    api.local.get("/nothing%0aforged%20line")

    lines = api.log_text().splitlines()

    assert lines
    assert all(re.match(r"\S+Z (INFO|WARNING|ERROR|DEBUG) capture-api [A-Z_]+", line) for line in lines), lines


def test_sixty_requests_at_once_are_all_answered(live: Api) -> None:
    started = threading.Barrier(60)

    def ask() -> int:
        started.wait()
        return httpx.get(f"http://localhost:{live.local_port}/health", timeout=20, trust_env=False).status_code

    with ThreadPoolExecutor(60) as pool:
        statuses = {one.result() for one in [pool.submit(ask) for _ in range(60)]}

    assert statuses == {200}


def test_the_settings_of_the_server_are_those_of_the_security_notes() -> None:
    with api_tree() as tree:
        printed = subprocess.run(
            [sys.executable, "-m", "gunicorn", "--print-config", *COMMAND[2:]],
            env={**os.environ, "FIELDCAM_CONFIG": str(tree.file)},
            capture_output=True, text=True, timeout=60, check=True, cwd="/",
        ).stdout  # fmt: skip
        ports = [f"127.0.0.1:{port}" for port in (tree.config.local_port, tree.config.port)]

    found = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in printed.splitlines())}
    wanted = {
        "workers": "1", "threads": "64", "worker_class": "gthread", "timeout": "30", "graceful_timeout": "8",
        "keepalive": "2",
        "limit_request_line": "2048", "limit_request_fields": "40", "limit_request_field_size": "8190",
        "header_map": "refuse", "control_socket_disable": "True", "preload_app": "False", "max_requests": "0",
        "permit_unconventional_http_method": "False", "strip_header_spaces": "False", "casefold_http_method": "False",
        "permit_obsolete_folding": "False", "proxy_protocol": "off", "http2_cleartext": "off",
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == wanted
    assert json.loads(found["bind"].replace("'", '"')) == ports


# --- the commands, beside running processes ---------------------------------------------------------------------------


def fieldcam(api: Api, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fieldcam.cli.main", "--config", str(api.tree.file), *arguments],
        capture_output=True, text=True, timeout=90, check=False, cwd="/",
    )  # fmt: skip


def test_status_waits_for_a_served_frame(whole: Api) -> None:
    ended = fieldcam(whole, "status", "--wait-fresh", "30", "--json")

    said = json.loads(ended.stdout)
    assert (ended.returncode, said["api"], said["simulated"]) == (0, True, True)
    assert said["latest_image_age"] < 10


def test_doctor_finds_what_works_and_what_does_not(whole: Api) -> None:
    ended = fieldcam(whole, "doctor", "--json")

    states = {finding["check"]: finding["state"] for finding in json.loads(ended.stdout)}
    assert ended.returncode == 1  # the second camera has no process
    assert [check for check, state in states.items() if state == "failed"] == ["capture process (north)"]
    assert {"manager", "frames (default)", "catalog of captures", "local listener", "health", "tokens"} <= set(states)

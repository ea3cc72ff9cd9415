# SPDX-License-Identifier: MIT
"""Streams, the newest frame, and waiting for the next."""

from __future__ import annotations

import re
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise

import httpx
import pytest
import simplejpeg

from fieldcam.api.context import MAX_STREAMS, MAX_WAITS
from tests.api_process import Api, StandIn, api_process, api_tree
from tests.appliance_tree import wait_until

PART = re.compile(rb"--frame\r\n((?:[^\r\n]+\r\n)+)\r\n")


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

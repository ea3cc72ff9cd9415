# SPDX-License-Identifier: MIT
"""The client, against a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fieldcam.bench import noop
from fieldcam.bench.row import NotMeasuredError
from fieldcam.bench.tree import free_ports
from fieldcam.bench.web import Client, first_frame, frames, is_healthy, requests_per_second

JPEGS = [b"\xff\xd8one\r\n\r\n--x\xff\xd9", b"\xff\xd8two\xff\xd9"]


def part(jpeg: bytes) -> bytes:
    head = f"--x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\nX-Timestamp: 1\r\n\r\n"
    return head.encode() + jpeg + b"\r\n"


BODIES = {
    "/video/feed": (200, b"".join(part(jpeg) for jpeg in JPEGS)),
    "/broken": (200, b"--x\r\n" + b"X-Line: 1\r\n" * 40),
    "/half": (200, part(b"\xff\xd8cut off")),
    "/health": (200, b'{"status": "healthy"}'),
    "/refused": (503, b'{"detail": "no camera"}'),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, body = BODIES[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def port() -> Iterator[int]:
    with serving() as found:
        yield found


def test_frames_are_cut_by_their_length_although_the_boundary_stands_in_one(port: int) -> None:
    assert list(frames(port)) == JPEGS


def test_the_first_frame_is_a_whole_jpeg(port: int) -> None:
    assert first_frame(port) == JPEGS[0]


@pytest.mark.parametrize("path", ["/broken", "/half", "/refused"])
def test_what_is_no_whole_jpeg_is_no_first_frame(port: int, path: str) -> None:
    assert first_frame(port, path) is None


def test_a_part_without_a_length_is_an_error(port: int) -> None:
    with pytest.raises(HTTPException, match="no Content-Length"):
        list(frames(port, "/broken"))


def test_nobody_listening_is_no_frame_and_not_healthy() -> None:
    (free,) = free_ports(1)

    assert first_frame(free) is None
    assert is_healthy(free) is False
    assert noop.answers(free) is False


def test_a_refusal_says_what_was_answered(port: int) -> None:
    with Client(port) as client, pytest.raises(NotMeasuredError, match=r"503.*no camera"):
        client.must("GET", "/refused")


def test_requests_are_counted(port: int) -> None:
    rate, times = requests_per_second(port, "/health", 0.1)

    assert rate > 0
    assert len(times) >= 1


def test_the_server_that_does_nothing_answers_as_gunicorn_serves_it() -> None:
    with noop.running() as found, Client(found) as client:
        status, body = client.ask("GET", "/anything")

    assert (status, body) == (200, noop.ANSWER)

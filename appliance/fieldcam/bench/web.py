# SPDX-License-Identifier: MIT
"""A client of the local listener: one connection that is kept, as a program on the host would."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from types import TracebackType
from typing import Any, Self

from fieldcam.bench.row import NotMeasuredError

ADDRESS = "127.0.0.1"
TIMEOUT_SECONDS = 35.0
_MAX_HEADERS = 20


class Client:
    """Asks one server over one connection.

    Args:
        port: on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(ADDRESS, port, timeout=TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._connection.close()

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, bytes]:
        """Send a request and return status and body of the answer."""
        data = json.dumps(body) if body is not None else None
        headers = {"Content-Type": "application/json"} if data is not None else {}
        self._connection.request(method, path, data, headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def must(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request and return the JSON of the answer.

        Raises:
            NotMeasuredError: the answer is no success.
        """
        try:
            status, text = self.ask(method, path, body)
        except (OSError, http.client.HTTPException) as error:
            raise NotMeasuredError(f"{method} {path}: {type(error).__name__}: {error}") from error
        if status != 200:
            raise NotMeasuredError(f"{method} {path} was answered with {status}: {text[:300].decode(errors='replace')}")
        found: dict[str, Any] = json.loads(text)
        return found


def frames(port: int, path: str = "/video/feed") -> Iterator[bytes]:
    """Yield the JPEGs of a multipart stream until it ends.

    Raises:
        OSError: nobody listens, or the connection broke.
        http.client.HTTPException: the answer is no stream of JPEGs.
    """
    with closing(http.client.HTTPConnection(ADDRESS, port, timeout=TIMEOUT_SECONDS)) as connection:
        connection.request("GET", path)
        with connection.getresponse() as answer:
            if answer.status != 200:
                raise http.client.HTTPException(f"GET {path} was answered with {answer.status}")
            while (length := _next_length(answer)) is not None:
                yield answer.read(length)


def first_frame(port: int, path: str = "/video/feed") -> bytes | None:
    """Return the first JPEG of a stream, or None when there is none yet."""
    try:
        with closing(frames(port, path)) as stream:  # type: ignore[type-var]  # a generator, which can be closed
            jpeg = next(stream, None)
    except (OSError, http.client.HTTPException):
        return None
    return jpeg if jpeg and jpeg.startswith(b"\xff\xd8") and jpeg.rstrip().endswith(b"\xff\xd9") else None


def is_healthy(port: int) -> bool:
    """Return whether /health says so."""
    try:
        with Client(port) as client:
            return client.ask("GET", "/health")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def requests_per_second(port: int, path: str, seconds: float) -> tuple[float, list[float]]:
    """Ask again and again over one connection; return requests a second, and how long each took."""
    times: list[float] = []
    with Client(port) as client:
        client.must("GET", path)  # the connection is made before the clock runs
        started = now = time.perf_counter()
        while now - started < seconds:
            client.must("GET", path)
            before, now = now, time.perf_counter()
            times.append(now - before)
    return len(times) / (now - started), times


def _next_length(answer: http.client.HTTPResponse) -> int | None:
    """Read up to the body of the next part; return its length, or None at the end of the stream."""
    length: int | None = None
    for _ in range(_MAX_HEADERS):
        line = answer.readline()
        if not line:
            return None
        name, _, value = line.decode("latin-1").partition(":")
        if name.strip().lower() == "content-length":
            length = int(value)
        elif not line.strip() and length is not None:
            return length
    raise http.client.HTTPException("a part of the stream has no Content-Length")

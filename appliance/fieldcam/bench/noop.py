# SPDX-License-Identifier: MIT
"""A server that does nothing, under the same gunicorn: what of a figure is Python, HTTP and this machine."""

from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from fieldcam.bench.tree import free_ports
from fieldcam.bench.waiting import pause
from fieldcam.bench.web import Client

ANSWER = b'{"status":"healthy"}'
GUNICORN = ("gunicorn", "--worker-class", "gthread", "--threads", "64", "--workers", "1", "--log-level", "error")
START_TRIES = 1000


def application(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer every request with the same few bytes (WSGI)."""
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))])
    return [ANSWER]


def command(port: int) -> list[str]:
    """Return the command that serves it."""
    return [sys.executable, "-m", *GUNICORN, "--bind", f"127.0.0.1:{port}", "fieldcam.bench.noop:application"]


def answers(port: int) -> bool:
    """Return whether some server answers there, whatever it says."""
    try:
        with Client(port) as client:
            client.ask("GET", "/")
    except (OSError, http.client.HTTPException):
        return False
    return True


@contextmanager
def running() -> Iterator[int]:
    """Run it; give its port."""
    (port,) = free_ports(1)
    process = subprocess.Popen(command(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(START_TRIES):
            if answers(port) or process.poll() is not None:
                break
            pause(0.01)
        yield port
    finally:
        process.terminate()
        process.wait()

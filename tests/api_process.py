# SPDX-License-Identifier: MIT
"""A real API process on free ports, and a stand-in for a capture process at its control socket."""

from __future__ import annotations

import dataclasses
import http.client
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from fieldcam.api.auth_store import AuthStore, Role
from fieldcam.control import protocol
from fieldcam.control.server import Handler, Server
from fieldcam.core.clock import Instant, SystemClock
from fieldcam.core.frame import Sidecar, instant_fields
from fieldcam.core.heartbeat import FrameNote, Heartbeat, write_heartbeat
from tests.appliance_tree import Tree, deployed_tree, wait_until

COMMAND = ("-m", "gunicorn", "-c", "python:fieldcam.api.gunicorn_config", "fieldcam.api.main:create()")


@dataclass(frozen=True)
class Api:
    """A running API process.

    Attributes:
        local: client of the local listener.
        tokened: client of the token listener, without a token.
    """

    tree: Tree
    process: subprocess.Popen[bytes]
    log: Path
    local: httpx.Client
    tokened: httpx.Client

    @property
    def local_port(self) -> int:
        """Port of the local listener."""
        return self.tree.config.local_port

    @property
    def port(self) -> int:
        """Port of the token listener."""
        return self.tree.config.port

    def store(self) -> AuthStore:
        """Return the database of tokens, as a command opens it."""
        return AuthStore(self.tree.config.layout.auth, SystemClock())

    def bearer(self, role: Role = "viewer", name: str = "test") -> dict[str, str]:
        """Return the header of a new token."""
        return {"Authorization": f"Bearer {self.store().issue(name, role).text}"}

    def raw(self, port: int, method: str, target: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Send a request target exactly as it is written; httpx would tidy it up."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.putrequest(method, target, skip_host=True)
            for name, value in {"Host": f"127.0.0.1:{port}", **(headers or {})}.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def log_text(self) -> str:
        """Return what the process logged."""
        return self.log.read_text(encoding="utf-8")


def free_ports(number: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


@contextmanager
def api_tree(**settings: Any) -> Iterator[Tree]:
    """Make a tree whose listeners have free ports."""
    local_port, port = free_ports(2)
    with deployed_tree(**{"max_images": 20, "local_port": local_port, "port": port} | settings) as tree:
        yield tree


def _client(base_url: str) -> httpx.Client:
    # The server ends a connection that is idle for two seconds: a request must not meet its end.
    return httpx.Client(base_url=base_url, timeout=20, trust_env=False, limits=httpx.Limits(keepalive_expiry=1))


@contextmanager
def api_process(tree: Tree) -> Iterator[Api]:
    """Run the API of a tree until it listens; it is ended at the end."""
    log = tree.root / "api.log"
    config = tree.config
    with (
        log.open("ab") as stream,
        subprocess.Popen(
            [sys.executable, *COMMAND],
            env={**os.environ, "FIELDCAM_CONFIG": str(tree.file)},
            stderr=stream,
            stdout=stream,
            cwd="/",
        ) as process,
        _client(f"http://localhost:{config.local_port}") as local,
        _client(f"http://127.0.0.1:{config.port}") as tokened,
    ):
        api = Api(tree, process, log, local, tokened)
        try:
            wait_until(lambda: _listens(api), "the API answers")
            yield api
        finally:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def _listens(api: Api) -> bool:
    if api.process.poll() is not None:
        raise AssertionError(f"the API ended with {api.process.returncode}:\n{api.log_text()}")
    try:
        api.tokened.get("/api/v1/capture/health")
    except httpx.TransportError:
        return False
    return True


# --- a stand-in for the capture process -------------------------------------------------------------------------------

SETTINGS: Mapping[str, Any] = {
    "exposure": 100.0, "gain": 1.0, "width": 320, "height": 240, "quality": 95,
    "available_resolutions": [[320, 240]], "connected": True, "streaming": False,
}  # fmt: skip


def a_sidecar(**changes: Any) -> Sidecar:
    """Return the sidecar of a capture."""
    base = Sidecar(
        filename="capture_20260113_103045_123.jpg", camera="default", kind="capture", sequence=7, width=320,
        height=240, file_size=1234, sha256="0" * 64, backend="rpicam", simulated=False, time_quality="synchronized",
        id=5, quality=95, exposure=100.0, gain=1.5, **instant_fields(Instant.now(SystemClock())),
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def a_beat(frame_age: float | None = 0.1, **changes: Any) -> Heartbeat:
    """Return the heartbeat of a real camera that works, as of now."""
    now = Instant.now(SystemClock())
    note = None
    if frame_age is not None:
        note = FrameNote("capture_x.jpg", "live", now.boottime_ns - int(frame_age * 1e9), "2026", 7, 320, 240)
    base = Heartbeat(
        camera="default", pid=1, boot_id=now.boot_id, boottime_ns=now.boottime_ns, started_boottime_ns=0,
        state="running", mode="continuous", backend="rpicam", model="imx500", simulated=False, camera_connected=True,
        delivering=True, is_capturing=False, images_captured=5, error_count=0, interval=1.0, live_storage="ok",
        archive="ok", time_quality="synchronized", last_frame=note, settings=dict(SETTINGS),
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


@dataclass
class StandIn:
    """Answers in place of a capture process; `handlers` and `beat` may be changed while it runs."""

    handlers: dict[str, Handler] = field(default_factory=dict)
    beat: Callable[[], Heartbeat | None] = a_beat
    asked: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, op: str, args: dict[str, Any]) -> Any:
        """Answer a request."""
        self.asked.append({"op": op, **args})
        return self.handlers[op](args)


@contextmanager
def stand_in(tree: Tree, camera: str = "default", **changes: Any) -> Iterator[StandIn]:
    """Stand in for the capture process of a camera: control socket and heartbeat."""
    paths = tree.paths(camera)
    paths.run.mkdir(parents=True, exist_ok=True)
    process = StandIn(
        {
            protocol.CAPTURE: lambda _: {
                "sidecar": a_sidecar().to_dict(), "path": "/archive/x.jpg", "database_saved": True, "seconds": 0.1,
            },
            protocol.TEST: lambda _: {
                "width": 320, "height": 240, "file_size": 1234, "seconds": 0.1, "simulated": False,
            },
            protocol.GET_SETTINGS: lambda _: dict(SETTINGS),
            protocol.PUT_SETTINGS: lambda _: dict(SETTINGS),
        },
        lambda: a_beat(camera=camera, **changes),
    )  # fmt: skip
    ops = (protocol.CAPTURE, protocol.TEST, protocol.GET_SETTINGS, protocol.PUT_SETTINGS)
    stop = threading.Event()

    def run() -> None:
        with Server(paths.control_socket, {op: _handler(process, op) for op in ops}) as server:
            while not stop.is_set():
                if (beat := process.beat()) is not None:
                    write_heartbeat(paths.heartbeat, beat)
                server.step(0.1)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_until(lambda: paths.heartbeat.exists() or process.beat() is None, "the stand-in speaks")
        yield process
    finally:
        stop.set()
        thread.join()


def _handler(process: StandIn, op: str) -> Handler:
    return lambda args: process.answer(op, args)

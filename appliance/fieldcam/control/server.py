# SPDX-License-Identifier: MIT
"""Answering requests of other processes.

One thread polls the socket and runs the handlers, one after another. A handler that must not block returns a `Future`
instead of a result; the answer goes out when it is done, and other requests are served meanwhile.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq

from fieldcam.control import protocol
from fieldcam.core.errors import ControlError, FieldcamError
from fieldcam.core.logs import get_logger

Result = dict[str, Any]
Handler = Callable[[dict[str, Any]], "Result | Future[Result]"]

_log = get_logger(__name__)


class Server:
    """The control socket of a process.

    Args:
        socket_path: where to listen; an old socket file is replaced, so the caller must hold the owner lock.
        handlers: one function per request name; it raises `FieldcamError` for a bad answer.
    """

    def __init__(self, socket_path: Path, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 500
        self._socket.bind(f"ipc://{socket_path}")
        socket_path.chmod(protocol.SOCKET_MODE)
        self._done: list[tuple[list[bytes], Future[Result]]] = []
        self._done_lock = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._wake, zmq.POLLIN)
        self._closed = False

    def __enter__(self) -> Self:
        """Return the server."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the socket."""
        self.close()

    def serve(self, stop: threading.Event) -> None:
        """Answer requests until `stop` is set; `wake` makes it look at once."""
        while not stop.is_set():
            self.step(0.5)

    def step(self, timeout_seconds: float) -> None:
        """Answer what is there; wait for a first request at most so long."""
        ready = dict(self._poller.poll(max(0, round(timeout_seconds * 1000))))
        if self._wake in ready:
            os.eventfd_read(self._wake)
            self._send_done()
        if self._socket in ready:
            self._handle(self._socket.recv_multipart())

    def wake(self) -> None:
        """Let a waiting `step` return; may be called from any thread."""
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Close the socket. Idempotent."""
        with self._done_lock:
            if self._closed:
                return
            self._closed = True
        self._send_done()
        self._socket.close()
        os.close(self._wake)

    def _handle(self, frames: list[bytes]) -> None:
        *envelope, message = frames
        try:
            data = protocol.parse(message)
            handler = self._handlers.get(str(data.get("op")))
            if handler is None:
                raise ControlError(f"unknown request {data.get('op')!r}")
            result = handler(dict(data.get("args") or {}))
        except FieldcamError as error:
            self._send(envelope, protocol.failure(error))
        except Exception as error:  # noqa: BLE001 - one bad request must not end the process
            _log.event(logging.ERROR, "CONTROL_HANDLER_FAILED", f"{type(error).__name__}: {error}")
            self._send(envelope, protocol.failure(ControlError("internal error; see the log")))
        else:
            if isinstance(result, Future):
                result.add_done_callback(lambda future: self._note_done(envelope, future))
            else:
                self._send(envelope, protocol.success(result))

    def _note_done(self, envelope: list[bytes], future: Future[Result]) -> None:
        with self._done_lock:
            if self._closed:
                return
            self._done.append((envelope, future))
            os.eventfd_write(self._wake, 1)

    def _send_done(self) -> None:
        with self._done_lock:
            done, self._done = self._done, []
        for envelope, future in done:
            error = future.exception()
            if error is None:
                self._send(envelope, protocol.success(future.result()))
            elif isinstance(error, FieldcamError):
                self._send(envelope, protocol.failure(error))
            else:
                _log.event(logging.ERROR, "CONTROL_HANDLER_FAILED", f"{type(error).__name__}: {error}")
                self._send(envelope, protocol.failure(ControlError("internal error; see the log")))

    def _send(self, envelope: list[bytes], answer: bytes) -> None:
        # Never waits: a client that does not read loses its answer, nobody else does.
        try:
            self._socket.send_multipart([*envelope, answer], flags=zmq.NOBLOCK)
        except zmq.Again:
            _log.event(logging.WARNING, "CONTROL_ANSWER_DROPPED", "a client does not read its answers")

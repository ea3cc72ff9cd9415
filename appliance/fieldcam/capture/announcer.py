# SPDX-License-Identifier: MIT
"""Telling the manager what was published, without ever waiting for it.

A thread of its own owns the socket. Announcements queue up while the manager restarts; when the queue is full they are
dropped, because the manager finds everything again in the sidecars.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import zmq

from fieldcam.control import protocol
from fieldcam.core.clock import Clock
from fieldcam.core.errors import ControlError

QUEUE = 1000
ACKNOWLEDGE_SECONDS = 1.0


class Announcer:
    """Sends announcements to the manager.

    Args:
        socket_path: control socket of the manager; it need not exist yet.
        clock: for the deadlines of acknowledgements.
    """

    def __init__(self, socket_path: Path, clock: Clock) -> None:
        self._path = socket_path
        self._clock = clock
        self._queue: deque[tuple[bytes, Future[bool] | None]] = deque(maxlen=QUEUE)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stop = threading.Event()
        # After an acknowledgement that did not come, nobody waits again until the manager has been heard.
        self._manager_answers = True
        self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)
        self._thread.start()

    def announce(self, op: str, args: Mapping[str, Any]) -> None:
        """Tell the manager something and go on."""
        self._put(protocol.request(op, args), None)

    def announce_and_wait(self, op: str, args: Mapping[str, Any]) -> Future[bool]:
        """Tell the manager something; the future says within a second whether it has done it."""
        future: Future[bool] = Future()
        self._put(protocol.request(op, args), future)
        return future

    def close(self) -> None:
        """Send what is queued, wait for what must be acknowledged, and end the thread. Idempotent."""
        if not self._stop.is_set():
            self._stop.set()
            os.eventfd_write(self._wake, 1)
            self._thread.join(timeout=3)
            if not self._thread.is_alive():
                os.close(self._wake)

    def _put(self, message: bytes, future: Future[bool] | None) -> None:
        self._queue.append((message, future))
        os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        waiting: dict[bytes, tuple[int, Future[bool]]] = {}
        number = 0
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        with context.socket(zmq.DEALER) as socket:
            socket.linger = 1000
            socket.sndhwm = QUEUE
            socket.connect(f"ipc://{self._path}")
            poller = zmq.Poller()
            poller.register(socket, zmq.POLLIN)
            poller.register(self._wake, zmq.POLLIN)
            while not self._stop.is_set() or self._queue or waiting:
                ready = dict(poller.poll(50 if waiting else 1000))
                if self._wake in ready:
                    os.eventfd_read(self._wake)
                while self._queue:
                    message, future = self._queue.popleft()
                    number += 1
                    key = b"%d" % number
                    sent = _send(socket, [key, message])
                    if future is not None:
                        if sent and self._manager_answers:
                            waiting[key] = (self._clock.boottime_ns() + int(ACKNOWLEDGE_SECONDS * 1e9), future)
                        else:
                            future.set_result(False)
                if socket in ready:
                    self._take_answers(socket, waiting)
                self._give_up_late(waiting)

    def _take_answers(self, socket: zmq.Socket[bytes], waiting: dict[bytes, tuple[int, Future[bool]]]) -> None:
        while socket.poll(0):
            key, answer = socket.recv_multipart()
            self._manager_answers = True
            if (entry := waiting.pop(key, None)) is not None:
                entry[1].set_result(_is_recorded(answer))

    def _give_up_late(self, waiting: dict[bytes, tuple[int, Future[bool]]]) -> None:
        now = self._clock.boottime_ns()
        for key in [key for key, (deadline, _) in waiting.items() if now >= deadline]:
            waiting.pop(key)[1].set_result(False)
            self._manager_answers = False


def _send(socket: zmq.Socket[bytes], frames: list[bytes]) -> bool:
    try:
        socket.send_multipart(frames, flags=zmq.NOBLOCK)
    except zmq.Again:
        return False
    return True


def _is_recorded(answer: bytes) -> bool:
    try:
        data = protocol.parse(answer)
    except ControlError:
        return False
    return bool(data.get("ok") and (data.get("result") or {}).get("recorded"))

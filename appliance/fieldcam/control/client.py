# SPDX-License-Identifier: MIT
"""Asking another process of the appliance, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from fieldcam.control import protocol
from fieldcam.core.errors import ProcessNotRunningError, error_from_dict

# A process that was killed is back within about two seconds; nobody should wait much longer for one that is gone.
CONNECT_SECONDS = 5.0


def ask(
    socket_path: Path, op: str, args: Mapping[str, Any] | None = None, *, timeout_seconds: float, who: str
) -> dict[str, Any]:
    """Send one request and return the result.

    A socket per request: nothing is shared between threads, and an answer that comes too late meets no one. A process
    that dies over the request is noticed at once.

    Args:
        socket_path: control socket of the process.
        op: one of the names in `protocol`.
        args: arguments of the request.
        timeout_seconds: how long to wait for the answer.
        who: name of the process, for the message.

    Raises:
        ProcessNotRunningError: no answer in time, or the process went away.
        FieldcamError: what the other process answered.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    with context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        monitor = socket.get_monitor_socket(zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED)
        try:
            socket.connect(f"ipc://{socket_path}")
            socket.send_multipart([b"", protocol.request(op, args)])
            _wait_for_answer(socket, monitor, timeout_seconds, who)
            answer = protocol.parse(socket.recv_multipart()[-1])
        finally:
            socket.disable_monitor()
            monitor.close(linger=0)
    if not answer.get("ok"):
        raise error_from_dict(answer.get("error") or {})
    return dict(answer.get("result") or {})


def _wait_for_answer(socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes], timeout_seconds: float, who: str) -> None:
    began = time.monotonic()
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(monitor, zmq.POLLIN)
    limit = min(CONNECT_SECONDS, timeout_seconds)
    while True:
        left = limit - (time.monotonic() - began)
        ready = dict(poller.poll(max(0, round(left * 1000))))
        if socket in ready:
            return
        if monitor in ready:
            if recv_monitor_message(monitor)["event"] == zmq.EVENT_DISCONNECTED:
                raise ProcessNotRunningError(f"{who} went away during the request", process=who)
            limit = timeout_seconds
        elif left <= 0:
            raise ProcessNotRunningError(f"{who} does not answer within {limit:g} s", process=who)

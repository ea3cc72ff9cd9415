# SPDX-License-Identifier: MIT
"""Asking another process of the appliance, with a deadline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zmq

from fieldcam.control import protocol
from fieldcam.core.errors import ProcessNotRunningError, error_from_dict


def ask(
    socket_path: Path, op: str, args: Mapping[str, Any] | None = None, *, timeout_seconds: float, who: str
) -> dict[str, Any]:
    """Send one request and return the result.

    A socket per request: nothing is shared between threads, and an answer that comes too late meets no one.

    Args:
        socket_path: control socket of the process.
        op: one of the names in `protocol`.
        args: arguments of the request.
        timeout_seconds: how long to wait for the answer.
        who: name of the process, for the message.

    Raises:
        ProcessNotRunningError: no answer in time.
        FieldcamError: what the other process answered.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    with context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(f"ipc://{socket_path}")
        socket.send_multipart([b"", protocol.request(op, args)])
        if not socket.poll(round(timeout_seconds * 1000)):
            raise ProcessNotRunningError(f"{who} does not answer within {timeout_seconds:g} s", process=who)
        answer = protocol.parse(socket.recv_multipart()[-1])
    if not answer.get("ok"):
        raise error_from_dict(answer.get("error") or {})
    return dict(answer.get("result") or {})

# SPDX-License-Identifier: MIT
"""Watching: MJPEG from the preview socket of a camera.

Each part is a sensor frame that was not sent before; when no new one comes the stream ends, because a frozen picture
must never look live. A client that is too slow loses frames, nobody waits for it, and one that is gone takes its
subscription along: the camera's preview runs only while somebody watches.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import zmq

from fieldcam.api.context import Context
from fieldcam.api.present import true_or_false
from fieldcam.control.protocol import TOPIC_NATIVE, TOPIC_PREVIEW
from fieldcam.core.clock import rfc3339
from fieldcam.core.health import LATE_INTERVALS
from fieldcam.core.layout import CameraPaths
from fieldcam.core.logs import get_logger

_log = get_logger(__name__)
BOUNDARY = "frame"
CONTENT_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
IDLE_SECONDS = 10.0
SEND_SECONDS = 5.0
HIGH_WATER_FRAMES = 2
SCALED_QUALITY = 80
_LOOK_MS = 500


@dataclass(frozen=True, slots=True)
class Wish:
    """How a client wants to watch: at most so many frames a second, at most so wide, or native frames."""

    fps: float | None = None
    width: int | None = None
    native: bool = False


@dataclass(frozen=True, slots=True)
class StreamFrame:
    """A frame as the preview socket brings it."""

    jpeg: bytes
    exposed_at_ns: int
    boot_id: str
    sequence: int | None
    width: int
    height: int
    simulated: bool

    @classmethod
    def parse(cls, message: list[bytes]) -> StreamFrame:
        """Read a message `[topic, header, jpeg]`.

        Raises:
            ValueError: it is another kind of message.
        """
        try:
            _, head, jpeg = message
            data: Mapping[str, Any] = json.loads(head)
            return cls(
                jpeg,
                int(data["exposed_at_ns"]),
                str(data["boot_id"]),
                data.get("sequence"),
                int(data["width"]),
                int(data["height"]),
                bool(data["simulated"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a preview frame: {error}") from None


class Thinning:
    """Lets through at most so many frames a second, evenly, judged by when they were exposed."""

    def __init__(self, fps: float | None) -> None:
        self._period_ns = int(1e9 / fps) if fps else 0
        self._due_ns = 0
        self._last_ns = -1

    def passes(self, exposed_at_ns: int) -> bool:
        """Return whether this frame is to be sent; one that is not newer than the last never is."""
        if exposed_at_ns <= self._last_ns or exposed_at_ns < self._due_ns:
            return False
        self._last_ns = exposed_at_ns
        self._due_ns = max(self._due_ns + self._period_ns, exposed_at_ns)
        return True


def frames(context: Context, paths: CameraPaths, wish: Wish, client: socket.socket | None) -> Generator[StreamFrame]:
    """Yield new frames until the client is gone, the process ends, or no new frame comes.

    Args:
        context: of the application.
        paths: of the camera.
        wish: how to watch.
        client: the client's connection; None when it is not known.
    """
    idle_ns = int(max(IDLE_SECONDS, LATE_INTERVALS * context.config.all_cameras[paths.name].interval) * 1e9)
    thinning = Thinning(wish.fps)
    zmq_context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    with closing(zmq_context.socket(zmq.SUB)) as source:
        source.linger = 0
        source.rcvhwm = HIGH_WATER_FRAMES
        source.connect(f"ipc://{paths.preview_socket}")
        source.subscribe(TOPIC_NATIVE if wish.native else TOPIC_PREVIEW)
        poller = zmq.Poller()
        poller.register(source, zmq.POLLIN)
        if client is not None:
            poller.register(client.fileno(), zmq.POLLIN)
        last_ns = context.clock.boottime_ns()
        while not context.stop.is_set() and context.clock.boottime_ns() - last_ns < idle_ns:
            ready = dict(poller.poll(_LOOK_MS))
            if client is not None and client.fileno() in ready:
                if _has_left(client):
                    return
                poller.unregister(client.fileno())  # it sends a next request already; it will have to wait
                client = None
            frame = _newest(source) if source in ready else None
            if frame is not None and frame.boot_id == context.clock.boot_id():
                # Also a frame that is left out shows that the camera lives.
                last_ns = context.clock.boottime_ns()
                if thinning.passes(frame.exposed_at_ns):
                    yield frame


def parts(context: Context, found: Iterator[StreamFrame], wish: Wish) -> Iterator[bytes]:
    """Yield frames as parts of a multipart answer."""
    for frame in found:
        yield part(context, frame if wish.width is None else scaled(frame, wish.width))


def part(context: Context, frame: StreamFrame) -> bytes:
    """Return a frame with its headers."""
    now = context.now()
    exposed = now.at_boottime(frame.exposed_at_ns)
    headers = {
        "Content-Type": "image/jpeg",
        "Content-Length": str(len(frame.jpeg)),
        "X-Timestamp": f"{exposed.wall_ns / 1e9:.3f}",
        "X-Captured-At": rfc3339(exposed.wall_ns),
        "X-Age": f"{now.seconds_since(exposed):.3f}",
        "X-Simulated": true_or_false(frame.simulated),
    }
    if frame.sequence is not None:
        headers["X-Sequence"] = str(frame.sequence)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return b"".join((f"--{BOUNDARY}\r\n{head}\r\n".encode(), frame.jpeg, b"\r\n"))


def scaled(frame: StreamFrame, max_width: int) -> StreamFrame:
    """Return the frame at most so wide; never larger than it is."""
    if frame.width <= max_width:
        return frame
    import cv2
    import simplejpeg

    height = max(1, round(frame.height * max_width / frame.width))
    pixels = simplejpeg.decode_jpeg(frame.jpeg, "BGR", fastdct=True, min_width=max_width, min_height=height)
    if (pixels.shape[1], pixels.shape[0]) != (max_width, height):
        pixels = cv2.resize(pixels, (max_width, height), interpolation=cv2.INTER_AREA)
    jpeg = simplejpeg.encode_jpeg(pixels, quality=SCALED_QUALITY, colorspace="BGR", fastdct=True)
    return StreamFrame(
        jpeg, frame.exposed_at_ns, frame.boot_id, frame.sequence, max_width, height, simulated=frame.simulated
    )


def limit_sending(client: socket.socket | None) -> None:
    """Give up on a client that takes nothing for some seconds: a stalled reader must not hold a thread."""
    if client is not None:
        client.settimeout(SEND_SECONDS)


def _newest(source: zmq.Socket[bytes]) -> StreamFrame | None:
    """Return the newest frame that waits; older ones are stale for whoever was too slow to take them."""
    message: list[bytes] | None = None
    with suppress(zmq.Again):
        while True:
            message = source.recv_multipart(zmq.NOBLOCK)
    try:
        return StreamFrame.parse(message) if message is not None else None
    except ValueError:
        return None


def _has_left(client: socket.socket) -> bool:
    try:
        return client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True

# SPDX-License-Identifier: MIT
"""The preview socket: frames for whoever watches, and no work at all when nobody does.

An XPUB socket tells us of the first subscriber of a topic and of the last one leaving, also when a client dies. A
camera that can preview beside stills streams in this thread; any other is streamed by its owner between captures, and
where there is a loop, its stills serve as preview. A subscriber
that does not read loses frames; nobody waits for it. Pictures of a sensor that hangs are not sent: the API ends a
stream that brings no new frame, because a frozen picture must never look live.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from fieldcam.camera.base import Camera, CameraSettings
from fieldcam.camera.jpeg import scale_jpeg
from fieldcam.capture.frozen import IdenticalFrames
from fieldcam.control.protocol import SOCKET_MODE, TOPIC_NATIVE, TOPIC_PREVIEW
from fieldcam.core.clock import Clock
from fieldcam.core.errors import FieldcamError
from fieldcam.core.frame import FROZEN_AFTER
from fieldcam.core.logs import StateLog, get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

_log = get_logger(__name__)
HIGH_WATER_FRAMES = 4
RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Still:
    """A frame that the owner loop took, offered to whoever watches; `is_preview` when it is of the camera's stream."""

    jpeg: bytes
    exposed_at_ns: int
    sequence: int | None
    width: int
    height: int
    is_preview: bool = False


class PreviewPublisher:
    """Publishes preview frames in a thread of its own.

    Args:
        socket_path: where to publish.
        camera: the camera; only its `preview` is used here, and only beside stills.
        settings: what is in force now.
        width, fps: of the preview stream.
        clock: for the boot id.
    """

    def __init__(
        self,
        socket_path: Path,
        camera: Camera,
        settings: Callable[[], CameraSettings],
        *,
        width: int,
        fps: float,
        clock: Clock,
    ) -> None:
        self._camera = camera
        self._settings = settings
        self._width = width
        self._fps = fps
        self._boot_id = clock.boot_id()
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._socket = context.socket(zmq.XPUB)
        self._socket.linger = 0
        self._socket.sndhwm = HIGH_WATER_FRAMES
        self._socket.bind(f"ipc://{socket_path}")
        socket_path.chmod(SOCKET_MODE)
        self._watched: set[bytes] = set()
        self._still: Still | None = None
        self._identical = IdenticalFrames()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._camera_is_ready = threading.Event()
        self._stop = threading.Event()
        self._state = StateLog(_log, "PREVIEW_FAILED")
        self._thread = threading.Thread(target=self._run, name="preview", daemon=True)
        self._thread.start()

    @property
    def is_watched(self) -> bool:
        """Whether somebody watches."""
        return bool(self._watched)

    @property
    def wants_stream(self) -> bool:
        """Whether the preview is watched and the camera streams only when no still is taken: then its owner streams."""
        return (
            TOPIC_PREVIEW in self._watched
            and self._camera_is_ready.is_set()
            and not self._camera.info.previews_beside_stills
        )

    def camera_ready(self, *, ready: bool) -> None:
        """Say whether the camera is open; no preview is asked of it otherwise."""
        (self._camera_is_ready.set if ready else self._camera_is_ready.clear)()

    def offer(self, still: Still) -> None:
        """Offer a frame of the loop; it is sent when somebody watches, and replaced when a newer one comes first."""
        if self._watched:
            self._still = still
            os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """End the thread and close the socket. Idempotent."""
        if not self._stop.is_set():
            self._stop.set()
            os.eventfd_write(self._wake, 1)
            self._thread.join(timeout=5)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        while not self._stop.is_set():
            beside = self._camera_is_ready.is_set() and self._camera.info.previews_beside_stills
            if beside and TOPIC_PREVIEW in self._watched:
                self._stream(poller)
            else:
                self._step(poller, 500)
        self._socket.close()

    def _step(self, poller: zmq.Poller, timeout_ms: int) -> None:
        ready = dict(poller.poll(timeout_ms))
        while self._socket.poll(0):
            message = self._socket.recv()
            change = self._watched.add if message[:1] == b"\x01" else self._watched.discard
            if message[1:] in {TOPIC_PREVIEW, TOPIC_NATIVE}:
                change(message[1:])
        if self._wake in ready:
            os.eventfd_read(self._wake)
        still, self._still = self._still, None
        if still is not None:
            self._send_still(still)

    def _stream(self, poller: zmq.Poller) -> None:
        """Send the camera's own stream while somebody watches it."""
        try:
            frames = self._camera.preview(self._settings(), width=self._width, fps=self._fps)
            with closing(frames):
                for frame in frames:
                    identical = self._identical.count_jpeg(frame.jpeg, frame.exposed_at_ns, (frame.width, frame.height))
                    if self._camera.info.repeats or identical < FROZEN_AFTER:
                        self._send(TOPIC_PREVIEW, frame.jpeg, frame.exposed_at_ns, None, frame.width, frame.height)
                    self._state.healed()
                    self._step(poller, 0)
                    if self._stop.is_set() or TOPIC_PREVIEW not in self._watched:
                        return
        except FieldcamError as error:
            self._state.broken(error.message)
        # The stream ended by itself or failed: stills and subscriptions are looked after until it is tried again.
        self._step(poller, round(RETRY_SECONDS * 1000))

    def _send_still(self, still: Still) -> None:
        if still.is_preview:
            self._send(TOPIC_PREVIEW, still.jpeg, still.exposed_at_ns, None, still.width, still.height)
            return
        if TOPIC_NATIVE in self._watched:
            self._send(TOPIC_NATIVE, still.jpeg, still.exposed_at_ns, still.sequence, still.width, still.height)
        if TOPIC_PREVIEW in self._watched and not self._camera.info.previews_beside_stills:
            jpeg, width, height = scale_jpeg(still.jpeg, max_width=self._width)
            self._send(TOPIC_PREVIEW, jpeg, still.exposed_at_ns, still.sequence, width, height)

    def _send(
        self, topic: bytes, jpeg: bytes, exposed_at_ns: int, sequence: int | None, width: int, height: int
    ) -> None:
        header: dict[str, Any] = {
            "exposed_at_ns": exposed_at_ns,
            "boot_id": self._boot_id,
            "sequence": sequence,
            "width": width,
            "height": height,
            "simulated": self._camera.info.simulated,
        }
        self._socket.send_multipart([topic, json.dumps(header).encode(), jpeg], copy=False)

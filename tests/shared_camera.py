# SPDX-License-Identifier: MIT
"""A hand-off area that a camera fills, with a ring or without, for tests of those who read it."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fieldcam.camera.jpeg import encode
from fieldcam.core.clock import Instant, SystemClock
from fieldcam.core.durable import publish
from fieldcam.core.frame import Sidecar, instant_fields
from fieldcam.core.names import format_stem
from fieldcam.handoff.ring_writer import RingWriter
from fieldcam.store.volume import init_volume

SIZE = (640, 480)
INTERVAL = 0.04
Image = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def brightness(number: int) -> int:
    """Return the brightness of the frame of that number; neighbours differ by more than JPEG changes."""
    return 10 + number % 24 * 10


def picture(number: int, size: tuple[int, int] = SIZE) -> Image:
    """Return a picture whose colours have their order: more red than green than blue."""
    image = np.full((size[1], size[0], 3), brightness(number), np.uint8)
    image[: size[1] // 4] = (40, 90, 160)
    return image


class SharedCamera:
    """Publishes frames as the capture process does: sidecar, image, and the ring where there is one.

    Args:
        base: folder to make the places in.
        with_ring: whether there is a ring; it needs no RAM here.
    """

    def __init__(self, base: Path, *, with_ring: bool = False, size: tuple[int, int] = SIZE) -> None:
        self.folder = base / "handoff"
        self.ring = base / "ring"
        self.size = size
        for folder in (self.folder, self.folder / "live", self.folder / "metadata", self.ring):
            folder.mkdir(parents=True)
        self.volume = init_volume(self.folder, "handoff")
        self.published: list[Sidecar] = []
        self._clock = SystemClock()
        self._writer: RingWriter | None = None
        if with_ring:
            self._writer = RingWriter(
                self.ring, volume_id=self.volume.id, clock=self._clock, max_bytes=1 << 28, require_ram=False
            )

    @property
    def options(self) -> dict[str, Any]:
        """The arguments that make a reader see it."""
        return {
            "shared_volume_dir": str(self.folder),
            "ring_dir": str(self.ring) if self._writer is not None else "",
        }

    def publish(self, *, seconds_ago: float = 0.0, only_ring: bool = False, **changes: Any) -> Sidecar:
        """Publish the next frame, exposed so long ago; to the ring first, where a reader wants it."""
        now = Instant.now(self._clock)
        exposed = now.at_boottime(now.boottime_ns - int(seconds_ago * 1e9))
        number = len(self.published)
        jpeg = encode(picture(number, self.size), 95)
        times = instant_fields(exposed)
        values: dict[str, Any] = {
            **times,
            "filename": format_stem(round(times["timestamp"] * 1000) + number) + ".jpg",
            "camera": "default",
            "kind": "live",
            "sequence": number + 1,
            "width": self.size[0],
            "height": self.size[1],
            "file_size": len(jpeg),
            "sha256": hashlib.sha256(jpeg).hexdigest(),
            "backend": "simulated",
            "simulated": True,
            "time_quality": "synchronized",
            "exposure": 12.5,
            "gain": 2.0,
            "settings": {"Lux": 400.5, "ColourGains": [1.5, 2.0], "Model": "imx500"},
        }
        sidecar = Sidecar(**(values | changes))
        stem = sidecar.filename.removesuffix(".jpg")
        if self._writer is not None:
            self._writer.tidy()
            self._writer.publish_jpeg(sidecar, jpeg)
        if not only_ring:
            publish(
                [
                    (self.folder / "metadata" / f"{stem}.json", sidecar.to_json()),
                    (self.folder / "live" / sidecar.filename, jpeg),
                ],
                durable=False,
            )
        self.published.append(sidecar)
        return sidecar

    def bytes_of(self, sidecar: Sidecar) -> bytes:
        """Return the file of a frame."""
        return (self.folder / "live" / sidecar.filename).read_bytes()

    def close(self) -> None:
        """End the ring."""
        if self._writer is not None:
            self._writer.close()

    @contextmanager
    def running(self, frames: int = 1000) -> Iterator[None]:
        """Publish the first frame now and the others in a thread, one per `INTERVAL`, until the block ends."""
        stop = threading.Event()
        began = time.monotonic()

        def run() -> None:
            for number in range(1, frames):
                if stop.wait(max(0.0, began + number * INTERVAL - time.monotonic())):
                    return
                # The time of exposure is kept exactly, whatever this thread has to wait for.
                self.publish(seconds_ago=max(0.0, time.monotonic() - began - number * INTERVAL))

        self.publish()
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

# SPDX-License-Identifier: MIT
"""A hand-off area for the tests of programs that read one: no camera, no appliance, no container.

    from fieldcam.testing import HandOff

    def test_my_service_counts_the_cars(tmp_path, monkeypatch):
        with HandOff(tmp_path / "camera") as hand_off:
            for name, value in hand_off.environment.items():
                monkeypatch.setenv(name, value)      # so that ContainerCameraInterface() reads here
            hand_off.publish(picture_with_two_cars)  # BGR array, or the bytes of a JPEG
            assert MyService().count() == 2
            hand_off.make_stale()
            assert MyService().count() is None

Frames are written by the same code that writes them on an appliance, so a reader cannot tell. It needs what the
library needs, numpy and simplejpeg, and no pytest. docs/provider.md shows more.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import simplejpeg

from fieldcam.core.clock import Clock, Instant, SystemClock
from fieldcam.core.errors import ImageInvalidError
from fieldcam.core.frame import FROZEN_AFTER, Sidecar, instant_fields
from fieldcam.core.jpeg import read_size
from fieldcam.core.layout import MARKER, Layout
from fieldcam.handoff.presence import PresenceMark
from fieldcam.handoff.ring_writer import RingWriter
from fieldcam.handoff.slot import STREAMS
from fieldcam.provider.place import AREA_VARIABLE, RING_VARIABLE
from fieldcam.provider.provider import SharedVolumeImageProvider
from fieldcam.store.volume import init_volume
from fieldcam.store.writer import FrameWriter, Stored

if TYPE_CHECKING:
    import numpy.typing as npt

DEFAULT_SIZE = (640, 480)
_RING_BYTES = 256 * 1024 * 1024
_HIDDEN = MARKER + ".away"

Damage = Literal["cut", "half-written", "no sidecar", "bad sidecar"]


def picture(shade: int = 128, size: tuple[int, int] = DEFAULT_SIZE) -> npt.NDArray[np.uint8]:
    """Return a picture of one colour, BGR, uint8, shape (height, width, 3), for tests that only need any.

    Args:
        shade: its blue, 0 to 255; green is 255 minus that, red is half.
        size: width and height in pixels.
    """
    pixels = np.empty((size[1], size[0], 3), np.uint8)
    pixels[:] = (shade, 255 - shade, shade // 2)
    return pixels


class HandOff:
    """A hand-off area with one camera, and a ring if wanted. Use it in a `with` block, or `close` it.

    Args:
        folder: where; made when missing. A temporary folder of the test's.
        ring: hand decoded frames over, too, as an appliance with enough memory does.
        camera: `default`, or the name of a further camera, whose folder is `cameras/<name>` in the area.
        max_images: how many frames are kept, oldest gone first.
        clock: another clock, to be given to the provider as well.

    Attributes:
        area: the hand-off area, with its marker.
        folder: of the camera: what `shared_volume_dir` is to be.
        ring_dir: folder of the rings; empty text without one.
        environment: variables that make the documented constructors read here when they are given no folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ring: bool = False,
        camera: str = "default",
        max_images: int = 100,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self.area = folder / "hand-off"
        self.area.mkdir(parents=True, exist_ok=True)
        volume = init_volume(self.area, "handoff")
        rings = folder / "ring"
        layout = Layout(
            capture_dir=self.area,
            archive_dir=folder / "archive",
            run_dir=folder / "run",
            state_dir=folder / "state",
            ring_dir=rings,
            results_dir=folder / "results",
        )
        paths = layout.camera(camera)
        self.folder = paths.handoff_root
        self.ring_dir = str(rings) if ring else ""
        self.environment = {AREA_VARIABLE: str(self.folder), RING_VARIABLE: self.ring_dir}
        self._camera = camera
        self._metadata = paths.metadata
        self._max_images = max_images
        self._writer = FrameWriter.for_live(volume, paths, durable=False, boot_id=self._clock.boot_id())
        self._stored: list[Stored] = []
        self._last_jpeg = b""
        self._sequence = self._clock.boottime_ns() // 1_000_000
        self._volume_id = volume.id
        self._ring_folder = paths.ring
        self._ring: RingWriter | None = None
        self._presence: list[PresenceMark] = []
        if ring:
            paths.ring.mkdir(parents=True, exist_ok=True)
            self._ring = self._open_ring()
            self._presence = [PresenceMark(paths.ring, stream, self._clock) for stream in STREAMS]

    def publish(
        self,
        image: npt.NDArray[np.uint8] | bytes | None = None,
        *,
        age: float = 0.0,
        sequence: int | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Publish a frame, whole, as a capture process does: sidecar first, both by rename.

        Args:
            image: BGR, uint8, shape (height, width, 3), or the bytes of a JPEG; None = some picture.
            age: how long ago its exposure began, in seconds; a negative one is in the future.
            sequence: None = one more than the last.
            fields: other fields of the sidecar, such as `settings={"Lux": 3.5}`, `gain=2.0` or `boot_id="another"`.

        Returns:
            The metadata as a reader gets them, but for `age`.

        Raises:
            ImageInvalidError: the array or the bytes are no image.
        """
        stored = self._store(self._as_jpeg(image), age, sequence, fields)
        if self._ring is not None:
            self._fill_ring(stored.sidecar, self._last_jpeg)
        return stored.sidecar.to_dict()

    def make_stale(self, age: float = 3600.0) -> None:
        """Let the newest frame be so many seconds old, as if the camera had stopped delivering."""
        self.clear()
        self.publish(self._last_jpeg or None, age=age)

    def make_frozen(self) -> None:
        """Publish the last picture as one of a camera that gives the same image again and again."""
        self.publish(self._last_jpeg or None, identical_frames=FROZEN_AFTER)

    def make_damaged(self, damage: Damage = "cut") -> str:
        """Publish a frame that is newer than all others and no good; return its file name.

        Args:
            damage: `cut`: half of the JPEG is missing, and the sidecar says so much is right; `half-written`: the file
                is shorter than the sidecar says; `no sidecar`; `bad sidecar`: it is no JSON.
        """
        jpeg = self._last_jpeg or self._as_jpeg(None)
        stored = self._store(jpeg[: len(jpeg) // 2] if damage == "cut" else jpeg, 0.0, None, {}, size_of=jpeg)
        sidecar = self._metadata / (stored.path.stem + ".json")
        if damage == "half-written":
            with stored.path.open("r+b") as stream:
                stream.truncate(len(jpeg) // 2)
        elif damage == "no sidecar":
            sidecar.unlink()
        elif damage == "bad sidecar":
            sidecar.write_bytes(b'{"schema": 1,')
        self._last_jpeg = jpeg
        return stored.path.name

    def clear(self) -> None:
        """Remove all frames, as an operator may at any moment."""
        while self._stored:
            self._remove(self._stored.pop())
        if self._ring is not None:
            self._ring.close()
            self._ring = self._open_ring()

    def unmount(self) -> None:
        """Let the area look as when its disk is not mounted: the marker is gone."""
        (self.area / MARKER).rename(self.area / _HIDDEN)

    def mount(self) -> None:
        """Undo `unmount`."""
        (self.area / _HIDDEN).rename(self.area / MARKER)

    def provider(self, **arguments: Any) -> SharedVolumeImageProvider:
        """Return a provider that reads here; close it."""
        values: dict[str, Any] = {"ring_dir": self.ring_dir, "clock": self._clock} | arguments
        return SharedVolumeImageProvider(self.folder, **values)

    def close(self) -> None:
        """Let go of the ring; the files stay. Idempotent."""
        for mark in self._presence:
            mark.close()
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _as_jpeg(self, image: npt.NDArray[np.uint8] | bytes | None) -> bytes:
        if isinstance(image, bytes):
            read_size(image)
            return image
        pixels = picture(self._sequence % 256) if image is None else np.ascontiguousarray(image)
        try:
            jpeg: bytes = simplejpeg.encode_jpeg(pixels, 95, "BGR", "420", fastdct=False)
        except (ValueError, TypeError) as error:
            raise ImageInvalidError(f"the pixels cannot be encoded: {error}") from None
        return jpeg

    def _store(
        self, jpeg: bytes, age: float, sequence: int | None, fields: dict[str, Any], *, size_of: bytes | None = None
    ) -> Stored:
        width, height = read_size(size_of or jpeg)
        self._sequence = self._sequence + 1 if sequence is None else sequence
        now = Instant.now(self._clock)
        sidecar = Sidecar(
            filename="",
            camera=self._camera,
            kind="live",
            **instant_fields(now.at_boottime(now.boottime_ns - round(age * 1e9))),
            sequence=self._sequence,
            width=width,
            height=height,
            file_size=len(jpeg),
            sha256=hashlib.sha256(jpeg).hexdigest(),
            backend="simulated",
            simulated=True,
            time_quality="synchronized",
            quality=95,
        )
        stored = self._writer.publish(jpeg, dataclasses.replace(sidecar, **fields))
        self._last_jpeg = jpeg
        self._stored.append(stored)
        while len(self._stored) > self._max_images:
            self._remove(self._stored.pop(0))
        return stored

    def _open_ring(self) -> RingWriter:
        # A test's folder may be on a disk, and what a test writes wears nothing out.
        return RingWriter(
            self._ring_folder,
            volume_id=self._volume_id,
            clock=self._clock,
            max_bytes=_RING_BYTES,
            require_ram=False,
        )

    def _fill_ring(self, sidecar: Sidecar, jpeg: bytes) -> None:
        assert self._ring is not None
        for mark in self._presence:
            mark.touch()  # or nothing would be decoded while nobody reads
        self._ring.publish_jpeg(sidecar, jpeg)

    def _remove(self, stored: Stored) -> None:
        stored.path.unlink(missing_ok=True)
        (self._metadata / (stored.path.stem + ".json")).unlink(missing_ok=True)

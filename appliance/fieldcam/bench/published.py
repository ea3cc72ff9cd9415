# SPDX-License-Identifier: MIT
"""Frames as the capture process publishes them: a hand-off area of the benchmark's own, and a ring beside it.

Files are written, and made visible by a rename, with the functions that capture uses. The moment that counts is taken
directly before that rename: whatever a reader sees of the file, it sees later.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fieldcam.bench.row import NotMeasuredError, Size
from fieldcam.bench.stand_in import StandIn
from fieldcam.bench.tree import RAM
from fieldcam.core.clock import Instant, SystemClock
from fieldcam.core.durable import rename_without_overwriting, write_temporary
from fieldcam.core.frame import Sidecar, instant_fields
from fieldcam.core.names import format_stem
from fieldcam.store.volume import init_volume

KEPT_FRAMES = 100  # max_images of the documents: whoever lists the folder lists as many
DIFFERENT_PICTURES = 4  # so that no frame is the one before it
_SPARE_BYTES = 16_000_000  # of the tmpfs, beside the slots


@dataclass(frozen=True, slots=True)
class Published:
    """A frame that was made visible.

    Attributes:
        sequence: its number.
        filename: its name in live/; empty for a frame that only went to the ring.
        at_ns: CLOCK_BOOTTIME directly before it could be seen.
    """

    sequence: int
    filename: str
    at_ns: int


class Area:
    """A hand-off area with frames in it.

    Args:
        root: an empty folder.
        pictures: whole JPEGs, published in turn.
        size: of the pictures.
        kept: how many frames stay in live/; the area starts with as many.

    Attributes:
        live: where consumers look.
        volume_id: of its marker.
        last_sequence: number of the newest frame.
    """

    def __init__(self, root: Path, pictures: Sequence[bytes], size: Size, *, kept: int = KEPT_FRAMES) -> None:
        self.root = root
        self.live = root / "live"
        self._metadata = root / "metadata"
        for folder in (self.live, self._metadata):
            folder.mkdir()
        self.volume_id = init_volume(root, "handoff").id
        self._clock = SystemClock()
        self._pictures = pictures
        self._digests = [hashlib.sha256(picture).hexdigest() for picture in pictures]
        self._size = size
        self._kept = kept
        self._stems: deque[str] = deque()
        self.last_sequence = 0
        self._last_ms = 0
        self._fill()

    def sidecar(self) -> Sidecar:
        """Return what is said of the next frame, as if its exposure began now; it has no file yet."""
        self.last_sequence += 1
        width, height = self._size
        return Sidecar(
            filename="",
            camera="default",
            kind="live",
            **instant_fields(Instant.now(self._clock)),
            sequence=self.last_sequence,
            width=width,
            height=height,
            file_size=0,
            sha256="",
            backend="simulated",
            simulated=True,
            time_quality="assumed",
            quality=95,
        )

    def now_ns(self) -> int:
        """Return CLOCK_BOOTTIME."""
        return self._clock.boottime_ns()

    def picture(self, sequence: int) -> bytes:
        """Return the JPEG of a frame."""
        return self._pictures[sequence % len(self._pictures)]

    def publish(self, sidecar: Sidecar | None = None) -> Published:
        """Publish a file and its sidecar; the oldest frame goes.

        Args:
            sidecar: of a frame that went to the ring already; None = the next frame.
        """
        whole = self._with_file(sidecar or self.sidecar())
        stem = whole.filename.removesuffix(".jpg")
        image = write_temporary(self.live, whole.filename, self.picture(whole.sequence), durable=False)
        beside = write_temporary(self._metadata, f"{stem}.json", whole.to_json(), durable=False)
        rename_without_overwriting(beside, self._metadata / f"{stem}.json")
        at_ns = self._clock.boottime_ns()
        rename_without_overwriting(image, self.live / whole.filename)
        self._stems.append(stem)
        while len(self._stems) > self._kept:
            oldest = self._stems.popleft()
            (self.live / f"{oldest}.jpg").unlink()
            (self._metadata / f"{oldest}.json").unlink()
        return Published(whole.sequence, whole.filename, at_ns)

    def forget(self, filename: str) -> None:
        """Make sure that the bytes of a file are no longer in memory, as after hours; a tmpfs keeps them."""
        descriptor = os.open(self.live / filename, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)

    def _with_file(self, sidecar: Sidecar) -> Sidecar:
        self._last_ms = max(self._last_ms + 1, self._clock.wall_ns() // 1_000_000)
        which = sidecar.sequence % len(self._pictures)
        facts = {"file_size": len(self._pictures[which]), "sha256": self._digests[which]}
        return Sidecar.from_dict(sidecar.to_dict() | facts | {"filename": format_stem(self._last_ms) + ".jpg"})

    def _fill(self) -> None:
        """Put frames into live/ that share their bytes: what is listed counts here, not what is read."""
        first = self.publish()
        while len(self._stems) < self._kept:
            sidecar = self._with_file(self.sidecar())
            stem = sidecar.filename.removesuffix(".jpg")
            (self._metadata / f"{stem}.json").write_bytes(sidecar.to_json())
            os.link(self.live / first.filename, self.live / sidecar.filename)
            self._stems.append(stem)


def draw_pictures(size: Size, number: int = DIFFERENT_PICTURES) -> list[bytes]:
    """Return JPEGs as the simulated camera makes them, 2 to 5 MB each at 12 million pixels."""
    with StandIn(size) as stand_in:
        return [stand_in.take().jpeg for _ in range(number)]


@contextmanager
def disk_folder() -> Iterator[Path]:
    """Make a folder where TMPDIR says, which must be on a disk where the row says so."""
    with tempfile.TemporaryDirectory(prefix="fc-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def ram_folder(needed_bytes: int) -> Iterator[Path]:
    """Make a folder on a tmpfs.

    Args:
        needed_bytes: what will be written there.

    Raises:
        NotMeasuredError: there is none, or it is too small.
    """
    if not (RAM.is_dir() and os.access(RAM, os.W_OK)):
        raise NotMeasuredError(f"{RAM} is no folder that can be written: there is no RAM for the ring")
    facts = os.statvfs(RAM)
    free = facts.f_bavail * facts.f_frsize
    if free < needed_bytes + _SPARE_BYTES:
        raise NotMeasuredError(
            f"{RAM} has {free / 1e6:.0f} MB free, {(needed_bytes + _SPARE_BYTES) / 1e6:.0f} MB are needed "
            "(docker run --shm-size)"
        )
    with tempfile.TemporaryDirectory(prefix="fc-", dir=RAM, ignore_cleanup_errors=True) as name:
        yield Path(name)

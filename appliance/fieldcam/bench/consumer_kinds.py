# SPDX-License-Identifier: MIT
"""The ways of getting frames that are measured: our library, the ring alone, the bare decoder, the documented design.

Each loads only what it needs, when it is made: it runs in a process of its own (`consumer.py`).
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fieldcam.bench.documented_design import DocumentedConsumer
from fieldcam.core.clock import SystemClock

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fieldcam.handoff.ring_reader import Lease

ASK_SECONDS = 0.05
STDIN = 0  # a line there ends a stream


@dataclass(frozen=True, slots=True)
class Taken:
    """A frame that a consumer has.

    Attributes:
        key: number or file name of the frame, as text.
        seen_ns: CLOCK_BOOTTIME when it could be looked at without a copy, or when the work on it began.
        at_ns: CLOCK_BOOTTIME when the array was the consumer's.
        published_at_ns: as the slot says; 0 when it came from a file.
        age_seconds: since the start of the exposure, as the library says.
    """

    key: str
    seen_ns: int
    at_ns: int
    published_at_ns: int = 0
    age_seconds: float = 0.0


class Consumer(Protocol):
    """One way to get frames."""

    def take(self, how: str, timeout: float) -> Taken | None:
        """Wait for a frame that this consumer has not had; None when none came."""

    def facts(self) -> dict[str, Any]:
        """Return what the consumer says of itself."""

    def close(self) -> None:
        """Let go of everything."""


class LibraryConsumer:
    """Our library, as a container uses it.

    Args:
        area: hand-off area.
        ring: folder of the ring; empty = none.
        after: number of the frame that it has had already.
    """

    def __init__(self, area: str, ring: str = "", after: str = "-1") -> None:
        from fieldcam.core.errors import SharedVolumeError
        from fieldcam.provider.provider import SharedVolumeImageProvider

        self._error = SharedVolumeError
        self._provider = SharedVolumeImageProvider(area, ring_dir=ring)
        self._sequence = int(after)
        self._out: npt.NDArray[np.uint8] | None = None

    def take(self, how: str, timeout: float) -> Taken | None:
        """Take a frame.

        Args:
            how: `array` waits for a new frame, gets an array of its own and drops it; `reused` has it put into the
                array from before; `latest` asks for the newest one, new or not, every 50 ms.
            timeout: seconds.
        """
        if how == "latest":
            select.select([STDIN], [], [], ASK_SECONDS)
            self._provider.get_latest_image()
            return None
        if how == "reused":
            return self._take_into_the_same_array(timeout)
        try:
            frame = self._provider.wait_for_frame(self._sequence, timeout)
        except self._error:
            return None
        at_ns = _now_ns()
        self._sequence = frame.sequence
        return Taken(str(frame.sequence), at_ns, at_ns, age_seconds=float(frame.metadata["age"]))

    def _take_into_the_same_array(self, timeout: float) -> Taken | None:
        try:
            with self._provider.hold(newer_than=self._sequence, timeout=timeout) as held:
                self._sequence = held.sequence
                self._out = held.image(out=self._out)
                at_ns = _now_ns()
                return Taken(str(held.sequence), at_ns, at_ns, age_seconds=held.age)
        except self._error:
            return None

    def facts(self) -> dict[str, Any]:
        """Return the documented status."""
        return self._provider.get_status()

    def close(self) -> None:
        """Close the provider."""
        self._provider.close()


class RingConsumer:
    """The ring alone, without the library above it.

    Args:
        folder: of the ring.
        volume_id: of the hand-off area.
    """

    def __init__(self, folder: str, volume_id: str) -> None:
        from fieldcam.handoff.ring_reader import RingReader
        from fieldcam.handoff.watch import FolderWatch

        self._reader = RingReader(Path(folder), volume_id=volume_id, clock=SystemClock())
        self._watch = FolderWatch([Path(folder)])
        self._sequence = -1
        self._out: npt.NDArray[np.uint8] | None = None
        self._fresh: npt.NDArray[np.uint8] | None = None
        self._held: Lease | None = None

    def take(self, how: str, timeout: float) -> Taken | None:
        """Take a frame.

        Args:
            how: `view` looks at it without a copy, `reused` copies it into an array that is there, `fresh` into a new
                one, `hold` keeps the lease until the next frame is asked for.
            timeout: seconds.
        """
        self._let_go()
        self._fresh = None  # while it waits, as a consumer that is done with the frame before
        lease = self._next(timeout)
        if lease is None:
            return None
        seen_ns = at_ns = _now_ns()
        self._sequence = lease.sequence
        if how == "hold":
            self._held = lease
        else:
            with lease:
                if how == "reused":
                    self._out = lease.copy(self._out)
                    at_ns = _now_ns()
                elif how == "fresh":
                    self._fresh = lease.copy()
                    at_ns = _now_ns()
        return Taken(str(lease.sequence), seen_ns, at_ns, lease.published_at_ns)

    def facts(self) -> dict[str, Any]:
        """Return how it is told of frames."""
        return {"mode": self._watch.mode}

    def close(self) -> None:
        """Let go of the ring."""
        self._let_go()
        self._watch.close()
        self._reader.close()

    def _next(self, timeout: float) -> Lease | None:
        deadline = time.monotonic() + timeout
        while (lease := self._reader.newest(newer_than=self._sequence)) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._watch.wait(left)
        return lease

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


class NoticeConsumer:
    """Waits for a new name and does nothing with it.

    Args:
        folder: live/.
    """

    def __init__(self, folder: str) -> None:
        from fieldcam.handoff.watch import FolderWatch

        self._folder = Path(folder)
        self._watch = FolderWatch([self._folder])
        self._newest = self._look()

    def take(self, how: str, timeout: float) -> Taken | None:
        """Wait for a name later than any before; the only HOW is `notice`."""
        del how
        deadline = time.monotonic() + timeout
        while (name := self._look()) <= self._newest:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._watch.wait(left)
        at_ns = _now_ns()
        self._newest = name
        return Taken(name, at_ns, at_ns)

    def facts(self) -> dict[str, Any]:
        """Return how it is told of files."""
        return {"mode": self._watch.mode}

    def close(self) -> None:
        """Stop watching."""
        self._watch.close()

    def _look(self) -> str:
        with os.scandir(self._folder) as entries:
            return max((entry.name for entry in entries if not entry.name.startswith(".")), default="")


class BareDecoder:
    """simplejpeg and nothing else: bytes that are in memory already, to pixels.

    Args:
        folder: with JPEGs, decoded in turn.
    """

    def __init__(self, folder: str) -> None:
        import simplejpeg

        self._decode: Callable[..., npt.NDArray[np.uint8]] = simplejpeg.decode_jpeg
        self._pictures = [file.read_bytes() for file in sorted(Path(folder).glob("*.jpg"))]
        self._turn = 0
        self._out: npt.NDArray[np.uint8] | None = None

    def take(self, how: str, timeout: float) -> Taken | None:
        """Decode one.

        Args:
            how: `fresh` into a new array, `reused` into the one from before.
            timeout: unused.
        """
        del timeout
        picture = self._pictures[self._turn % len(self._pictures)]
        self._turn += 1
        if how == "fresh":
            self._out = None  # as a consumer that drops its frame while it waits for the next
        seen_ns = _now_ns()
        self._out = self._decode(picture, "BGR", buffer=self._out)
        return Taken("", seen_ns, _now_ns())

    def facts(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def close(self) -> None:
        """Nothing is open."""


class DocumentedReader:
    """The documented design: poll every 0.1 s, then `cv2.imread`.

    Args:
        folder: live/.
    """

    def __init__(self, folder: str) -> None:
        self._consumer = DocumentedConsumer(Path(folder))

    def take(self, how: str, timeout: float) -> Taken | None:
        """Take a frame.

        Args:
            how: `array` has the newest one in hand; `keep` also puts it into the documented cache of ten arrays;
                `notice` only learns of it.
            timeout: seconds.
        """
        found = self._consumer.wait(timeout)
        if found is None:
            return None
        name, seen_ns = found
        if how != "notice":
            self._consumer.load(name, keep=how == "keep")
        return Taken(name, seen_ns, _now_ns())

    def facts(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def close(self) -> None:
        """Nothing is open."""


KINDS: dict[str, Callable[..., Consumer]] = {
    "library": LibraryConsumer,
    "ring": RingConsumer,
    "notice": NoticeConsumer,
    "bare": BareDecoder,
    "documented": DocumentedReader,
}


def _now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

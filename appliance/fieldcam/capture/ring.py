# SPDX-License-Identifier: MIT
"""Live frames for containers before they are files: a thread that puts the newest one into the ring.

The owner loop offers a frame and goes on; of frames that come faster than they can be put in, the newest wins. Nothing
is decoded and nothing copied while nobody reads. The ring is a second way to the same frames: where it cannot be used
capture goes on, says so once, and tries again every second.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fieldcam.capture.ring_plan import plan_ring, total_ram_bytes
from fieldcam.core.clock import Clock
from fieldcam.core.config import Config
from fieldcam.core.errors import (
    FieldcamError,
    ImageInvalidError,
    SharedVolumeError,
    StorageFullError,
    StorageUnavailableError,
)
from fieldcam.core.frame import Sidecar
from fieldcam.core.layout import CameraPaths
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.handoff import RingStats, RingWriter
from fieldcam.store.volume import Volume

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_log = get_logger(__name__)
OK = "ok"
LOOK_SECONDS = 1.0
# Half is for slots that readers do not let go, and the newest is never written over: so two and two.
_FRAMES_IN_BUDGET = 4
_HEADER_BYTES = 2**16  # of a slot, generously
_FOLDER_MODE = 0o755  # containers read, capture alone writes


@dataclass(frozen=True, slots=True)
class _Offer:
    """A live frame; either its pixels or its JPEG are there."""

    sidecar: Sidecar
    pixels: npt.NDArray[np.uint8] | None = None
    jpeg: bytes = b""


@dataclass(frozen=True, slots=True)
class _Open:
    """A writer, and what it was opened for: another volume or another folder needs another writer."""

    writer: RingWriter
    volume: Volume
    folder: tuple[int, int]


class Ring:
    """Publishes live frames of one camera in the ring.

    Args:
        config: of the appliance.
        paths: of this camera.
        clock: time.
        ram_bytes: of the machine; None = as the kernel says.
    """

    def __init__(self, config: Config, paths: CameraPaths, clock: Clock, ram_bytes: int | None = None) -> None:
        self._config = config
        self._paths = paths
        self._clock = clock
        self._plan = plan_ring(config, total_ram_bytes() if ram_bytes is None else ram_bytes)
        self._open: _Open | None = None
        self._newest: _Offer | None = None
        self._is_read = False
        self._replaced = 0
        self._stats: RingStats | None = None
        self._published = self._dropped = 0  # by writers that are closed
        self._state = StateLog(_log, "RING_UNAVAILABLE", camera=paths.name)
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ring", daemon=True)

    # --- asked by other threads -----------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """`ok`, `off: ` and why, or why the ring cannot be used."""
        return f"off: {self._plan.why_off}" if self._plan.why_off else self._state.reason or OK

    @property
    def is_required(self) -> bool:
        """Whether the operator wants a ring."""
        return self._plan.is_required

    @property
    def counters(self) -> Mapping[str, int]:
        """Frames published and dropped since the process began, slots now, their bytes, bytes of slots given up."""
        now = self._stats
        return {
            "published": self._published + (now.published if now else 0),
            "dropped": self._dropped + self._replaced + (now.dropped if now else 0),
            "slots": now.slots if now else 0,
            "bytes": now.slot_bytes if now else 0,
            "abandoned": now.abandoned_bytes if now else 0,
        }

    def start(self) -> None:
        """Try the ring once, so that its state is known, and begin to publish. Does nothing where it is off."""
        if not self._plan.why_off:
            self._look()
            self._thread.start()

    def offer_pixels(self, sidecar: Sidecar, pixels: npt.NDArray[np.uint8]) -> None:
        """Offer decoded pixels, BGR, that nobody changes any more. Never waits."""
        self._offer(_Offer(sidecar, pixels=pixels))

    def offer_jpeg(self, sidecar: Sidecar, jpeg: bytes) -> None:
        """Offer a JPEG that was proved whole. Never waits."""
        self._offer(_Offer(sidecar, jpeg=jpeg))

    def close(self) -> None:
        """End the thread and give the RAM back. Idempotent."""
        if self._thread.is_alive():
            with self._changed:
                self._stopping = True
                self._changed.notify()
            self._thread.join(timeout=5)

    def _offer(self, offer: _Offer) -> None:
        if self._plan.why_off:
            return
        with self._changed:
            self._replaced += self._newest is not None and self._is_read
            self._newest = offer
            self._changed.notify()

    # --- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        look_at_ns = self._clock.boottime_ns() + int(LOOK_SECONDS * 1e9)
        try:
            while True:
                offer = self._wait_until(look_at_ns)
                if self._stopping:
                    return
                if offer is not None:
                    self._publish(offer)
                # Also when no frames come: readers that left give their slots back.
                if (now := self._clock.boottime_ns()) >= look_at_ns:
                    look_at_ns = now + int(LOOK_SECONDS * 1e9)
                    self._look()
        finally:
            self._let_go()
            if not self._stopping:
                self._state.broken("the thread of the ring has ended because of a fault of the program", logging.ERROR)

    def _wait_until(self, boottime_ns: int) -> _Offer | None:
        seconds = (boottime_ns - self._clock.boottime_ns()) / 1e9
        with self._changed:
            if self._newest is None and not self._stopping and seconds > 0:
                self._changed.wait(seconds)
            offer, self._newest = self._newest, None
        return offer

    def _publish(self, offer: _Offer) -> None:
        if self._open is None:
            return
        writer = self._open.writer
        try:
            wanted = writer.wanted()
            self._is_read = bool(wanted)
            if not wanted:
                return
            if offer.pixels is not None:
                writer.publish_pixels(offer.sidecar, offer.pixels)
            else:
                writer.publish_jpeg(offer.sidecar, offer.jpeg)
        except ImageInvalidError as error:
            # Whole by its markers, but not decodable. The file says the same to whoever reads it.
            _log.event(logging.WARNING, "RING_FRAME_DAMAGED", error.message, sequence=offer.sidecar.sequence)
        except (SharedVolumeError, OSError) as error:
            self._lost(error)
        else:
            needed = _FRAMES_IN_BUDGET * (offer.sidecar.width * offer.sidecar.height * 3 + _HEADER_BYTES)
            if "main" in wanted and needed > self._plan.max_bytes:
                self._state.broken(
                    f"{self._plan.max_bytes // 10**6} MB are too few for frames of {offer.sidecar.width}x"
                    f"{offer.sidecar.height}: set ring_max_bytes to {-(-needed // 10**6)} MB or more for each camera"
                )
            else:
                self._state.healed("decoded frames are handed off again")
        finally:
            self._note_stats()

    def _look(self) -> None:
        """Open the ring, or see that it is still the same and let it give back what nobody needs."""
        try:
            if self._open is not None and self._identity() != (self._open.volume, self._open.folder):
                self._let_go()
            if self._open is None:
                self._open = self._open_ring()
                self._state.healed("decoded frames can be handed off again")
            self._open.writer.tidy()
        except (SharedVolumeError, OSError) as error:
            self._lost(error)
        self._note_stats()

    def _open_ring(self) -> _Open:
        if self._paths.ring != self._config.ring_dir and self._config.ring_dir.is_dir():
            self._paths.ring.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        volume, _ = self._identity()
        writer = RingWriter(
            self._paths.ring,
            volume_id=volume.id,
            clock=self._clock,
            max_bytes=self._plan.max_bytes,
            lores_width=self._config.ring_lores_width,
        )
        return _Open(writer, *self._identity())

    def _identity(self) -> tuple[Volume, tuple[int, int]]:
        volume = Volume.open(self._config.capture_dir, "handoff")
        try:
            found = self._paths.ring.stat()
        except OSError as error:
            raise StorageUnavailableError(
                f"{self._paths.ring}: {error.strerror}; deploy again, or mount a tmpfs there",
                path=str(self._paths.ring),
            ) from error
        return volume, (found.st_dev, found.st_ino)

    def _lost(self, error: FieldcamError | OSError) -> None:
        self._state.broken(error.message if isinstance(error, FieldcamError) else str(error))
        # Where there is no room, the slots that are there go on being used; anything else is opened anew.
        if not isinstance(error, StorageFullError):
            self._let_go()

    def _let_go(self) -> None:
        if self._open is not None:
            opened, self._open = self._open, None
            with suppress(SharedVolumeError, OSError):
                opened.writer.close()
            now, self._stats = opened.writer.stats, None
            self._published += now.published
            self._dropped += now.dropped

    def _note_stats(self) -> None:
        self._stats = self._open.writer.stats if self._open is not None else None

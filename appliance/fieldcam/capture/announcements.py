# SPDX-License-Identifier: MIT
"""What a capture process tells the manager, in the manager's words (control.protocol)."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from fieldcam.capture.announcer import Announcer
from fieldcam.control import protocol
from fieldcam.core.clock import Clock, Instant, rfc3339
from fieldcam.store.writer import Stored


class Announcements:
    """Speaks for one camera.

    Args:
        camera: its name.
        announcer: carries the words.
        clock: for the time of events.
    """

    def __init__(self, camera: str, announcer: Announcer, clock: Clock) -> None:
        self._camera = camera
        self._announcer = announcer
        self._clock = clock

    def recorded(self, stored: Stored) -> None:
        """A live frame is on disk."""
        self._announcer.announce(protocol.RECORD, _record(stored))

    def record_and_wait(self, stored: Stored) -> Future[bool]:
        """A capture is on disk; the future says whether its row is written."""
        return self._announcer.announce_and_wait(protocol.RECORD, _record(stored))

    def rolled(self, filenames: list[str]) -> None:
        """Frames were rolled out of live/."""
        self._announcer.announce(protocol.REMOVED, {"camera": self._camera, "filenames": filenames})

    def event(self, kind: str, cause: str, details: Mapping[str, Any]) -> None:
        """Something happened that belongs into the journal of the appliance."""
        now = Instant.now(self._clock)
        self._announcer.announce(
            protocol.EVENT,
            {
                "camera": self._camera,
                "kind": kind,
                "cause": cause,
                "details": dict(details),
                "at": rfc3339(now.wall_ns),
                "boot_id": now.boot_id,
                "monotonic_ns": now.boottime_ns,
            },
        )


def _record(stored: Stored) -> dict[str, Any]:
    return {"sidecar": stored.sidecar.to_dict(), "path": str(stored.path)}

# SPDX-License-Identifier: MIT
"""The ledger of gaps: which slots of the loop have no frame, and why. A time-lapse wants to know."""

from __future__ import annotations

from fieldcam.capture.announcements import Announcements
from fieldcam.capture.journal import Journal
from fieldcam.store.writer import Stored


class Gaps:
    """Counts slots that were left out, and tells of a gap when it is over.

    Args:
        journal: keeps the counts by cause.
        announce: told of each gap.
    """

    def __init__(self, journal: Journal, announce: Announcements) -> None:
        self._journal = journal
        self._announce = announce
        self._slots = 0
        self._cause = ""
        self._last_frame_at: str | None = None

    def leave_out(self, slots: int, cause: str) -> None:
        """Note slots that have no frame."""
        if slots:
            self._journal.skipped(cause, slots)
            self._slots += slots
            self._cause = cause

    def end(self, stored: Stored) -> None:
        """Note a live frame: whatever was left out before it is one gap."""
        if self._slots:
            details = {"slots": self._slots, "from": self._last_frame_at, "to": stored.sidecar.captured_at}
            self._announce.event("gap", self._cause, details)
        self._slots, self._cause = 0, ""
        self._last_frame_at = stored.sidecar.captured_at

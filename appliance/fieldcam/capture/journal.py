# SPDX-License-Identifier: MIT
"""What a capture process knows of itself: counters, last frame, last error. The heartbeat is made from it.

The owner loop and the control thread both write here, so every change is made under one lock.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections import Counter
from pathlib import Path

from fieldcam.camera.base import PreviewFrame
from fieldcam.core.clock import Clock, Instant, rfc3339
from fieldcam.core.durable import OWN_FILE_MODE, OWN_FOLDER_MODE, make_folder, replace_file
from fieldcam.core.errors import FieldcamError, SharedVolumeError
from fieldcam.core.frame import Sidecar
from fieldcam.core.heartbeat import CaptureStats, ErrorNote, FrameNote


class Journal:
    """Counters and notes of one capture process.

    Args:
        stats_file: where the counts of on-demand captures outlive a restart.
        clock: for the time of errors.
    """

    def __init__(self, stats_file: Path, clock: Clock) -> None:
        self._stats_file = stats_file
        self._clock = clock
        self._lock = threading.Lock()
        self.stats = _read_stats(stats_file)
        self.images_captured = 0
        self.error_count = 0
        self.failures_in_a_row = 0
        self.last_frame: FrameNote | None = None
        self.last_capture: FrameNote | None = None
        self.last_error: ErrorNote | None = None
        self.slots_skipped: Counter[str] = Counter()

    @property
    def delivering(self) -> bool:
        """Whether the last try gave a frame."""
        return self.last_frame is not None and self.failures_in_a_row == 0

    def frame(self, sidecar: Sidecar) -> None:
        """Note a frame that was stored, or (without a name) a probe."""
        note = FrameNote(
            sidecar.filename,
            sidecar.kind,
            sidecar.monotonic_ns,
            sidecar.captured_at,
            sidecar.sequence,
            sidecar.width,
            sidecar.height,
            sidecar.identical_frames,
        )
        with self._lock:
            self.last_frame = note
            self.failures_in_a_row = 0
            if sidecar.filename:
                self.images_captured += 1
            if sidecar.kind == "capture" and sidecar.filename:
                self.last_capture = note

    def probe(self, frame: PreviewFrame, sequence: int, now: Instant, identical_frames: int) -> None:
        """Note a preview frame: not stored, but it shows that the camera delivers."""
        captured_at = rfc3339(now.at_boottime(frame.exposed_at_ns).wall_ns)
        note = FrameNote(
            "", "live", frame.exposed_at_ns, captured_at, sequence, frame.width, frame.height, identical_frames
        )
        with self._lock:
            self.last_frame = note
            self.failures_in_a_row = 0

    def failure(self, error: FieldcamError, *, of_camera: bool) -> None:
        """Note that something failed; `of_camera` when the camera gave no frame."""
        with self._lock:
            self.error_count += 1
            self.failures_in_a_row += of_camera
            self.last_error = ErrorNote(error.code, error.message, rfc3339(self._clock.wall_ns()))

    def skipped(self, cause: str, slots: int) -> None:
        """Note slots of the loop that were left out."""
        if slots:
            with self._lock:
                self.slots_skipped[cause] += slots

    def answered(self, *, successful: bool, seconds: float) -> None:
        """Note an on-demand capture that was answered."""
        with self._lock:
            before = self.stats
            good = before.successful + successful
            average = before.average_seconds
            if successful:
                average += (seconds - average) / good
            self.stats = CaptureStats(
                total=before.total + 1,
                successful=good,
                failed=before.failed + (not successful),
                average_seconds=average,
                last_at=rfc3339(self._clock.wall_ns()) if successful else before.last_at,
            )
            text = json.dumps(dataclasses.asdict(self.stats)).encode()
        try:
            make_folder(self._stats_file.parent, OWN_FOLDER_MODE)
            replace_file(self._stats_file, text, durable=False, mode=OWN_FILE_MODE)
        except SharedVolumeError:
            return  # counts are worth less than captures; they are in memory still


def _read_stats(file: Path) -> CaptureStats:
    try:
        return CaptureStats(**json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return CaptureStats()

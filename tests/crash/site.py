# SPDX-License-Identifier: MIT
"""The two places of a camera for crash tests, the clocks they are crashed under, and what was acknowledged there."""

from __future__ import annotations

import json
import os
import random
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import simplejpeg

from fieldcam.core.clock import Instant
from fieldcam.core.frame import Kind, Sidecar, instant_fields
from fieldcam.core.layout import CameraPaths, Layout
from fieldcam.store.volume import init_volume

CAMERA = "default"
CAMERA_NUMBER = 3
YEAR_NS = 365 * 86_400_000_000_000
FROZEN_NS = 1_768_300_245_123_000_000

ClockPlan = Literal["real", "frozen", "jumping"]
CLOCK_PLANS: tuple[ClockPlan, ...] = ("real", "frozen", "jumping")


class CrashClock:
    """A clock whose wall time is real, stands still, or jumps up to ten years both ways; boottime is always real.

    Args:
        plan: which of them.
        boot_id: name of this boot.
        seed: of the jumps.
    """

    def __init__(self, plan: ClockPlan = "real", boot_id: str = "boot-0", seed: int = 0) -> None:
        self._plan = plan
        self._boot_id = boot_id
        self._random = random.Random(seed)
        self._offset_ns = 0

    def boottime_ns(self) -> int:
        """Return nanoseconds of CLOCK_BOOTTIME."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def wall_ns(self) -> int:
        """Return wall time as the plan has it."""
        if self._plan == "frozen":
            return FROZEN_NS
        if self._plan == "jumping" and self._random.random() < 0.1:
            self._offset_ns = self._random.randint(-10 * YEAR_NS, 10 * YEAR_NS)
        return time.time_ns() + self._offset_ns

    def boot_id(self) -> str:
        """Return the name of this boot."""
        return self._boot_id


@dataclass(frozen=True, slots=True)
class Site:
    """Where a camera publishes to.

    Attributes:
        root: folder of both places.
        run: folder of what does not outlive a boot.
    """

    root: Path
    run: Path

    @property
    def layout(self) -> Layout:
        """All paths."""
        return Layout(
            capture_dir=self.root / "handoff",
            archive_dir=self.root / "archive",
            run_dir=self.run,
            ring_dir=self.run / "ring",
            results_dir=self.root / "results",
            state_dir=self.root / "state",
        )

    @property
    def paths(self) -> CameraPaths:
        """Paths of the one camera."""
        return self.layout.camera(CAMERA)

    def deploy(self) -> None:
        """Make both places and their markers."""
        layout = self.layout
        for folder in (layout.capture_dir, layout.archive_dir, layout.run_dir):
            folder.mkdir(parents=True, exist_ok=True)
        init_volume(layout.capture_dir, "handoff")
        init_volume(layout.archive_dir, "archive")


class AckError(Exception):
    """An acknowledgement could not be written: a fault was injected there."""


@dataclass(frozen=True, slots=True)
class Ack:
    """A capture whose `publish` returned. Written to a file on another file system, one line each."""

    id: int
    name: str
    sha256: str

    def write(self, descriptor: int) -> None:
        """Append the line in one system call.

        Raises:
            AckError: it failed, which is nothing the store could help.
        """
        try:
            os.write(descriptor, json.dumps(asdict(self)).encode() + b"\n")
        except OSError as error:
            raise AckError from error


def read_acks(file: Path) -> list[Ack]:
    """Return what was acknowledged. Call it after the crash: reading takes time in which a disk may flush."""
    lines = file.read_bytes().split(b"\n") if file.exists() else []
    return [Ack(**json.loads(line)) for line in lines if line]


@cache
def _base_jpeg() -> bytes:
    noise = np.random.default_rng(1).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    jpeg: bytes = simplejpeg.encode_jpeg(noise, quality=90)
    return jpeg


def unique_jpeg(text: str) -> bytes:
    """Return a whole JPEG of some 20 kB that no other text gives: the text is a comment segment in it."""
    comment = text.encode()
    base = _base_jpeg()
    return base[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + base[2:]


def sidecar_of(jpeg: bytes, sha256: str, kind: Kind, sequence: int, moment: Instant) -> Sidecar:
    """Return the sidecar of a frame, as the capture process makes it."""
    return Sidecar(
        filename="",
        camera=CAMERA,
        kind=kind,
        sequence=sequence,
        width=160,
        height=120,
        file_size=len(jpeg),
        sha256=sha256,
        backend="simulated",
        simulated=True,
        time_quality="unsynchronized",
        **instant_fields(moment),
    )

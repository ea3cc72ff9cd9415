# SPDX-License-Identifier: MIT
"""Frames on disk as the capture process leaves them, for tests of those who only read them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fieldcam.core.clock import SystemClock, rfc3339
from fieldcam.core.config import Config
from fieldcam.core.frame import Sidecar
from fieldcam.core.names import format_stem
from fieldcam.store.volume import init_volume

# 2024-05-01, long before the present of any machine that runs tests.
FIRST_MS = 1_714_521_600_000


class FakeClock:
    """A clock that stands still until it is moved; `boot` names the boot."""

    def __init__(self, *, wall_ms: int = FIRST_MS, boottime_s: float = 1000.0, boot: str = "boot-1") -> None:
        self.wall = wall_ms * 1_000_000
        self.boottime = int(boottime_s * 1e9)
        self.boot = boot

    def boottime_ns(self) -> int:
        return self.boottime

    def wall_ns(self) -> int:
        return self.wall

    def boot_id(self) -> str:
        return self.boot

    def advance(self, seconds: float) -> None:
        self.boottime += int(seconds * 1e9)
        self.wall += int(seconds * 1e9)


def make_config(base: Path, run: Path | None = None, **changes: Any) -> Config:
    """Return a configuration whose places are marked folders below `base`."""
    capture_dir, archive_dir = base / "handoff", base / "archive"
    for folder, kind in ((capture_dir, "handoff"), (archive_dir, "archive")):
        folder.mkdir(parents=True, exist_ok=True)
        init_volume(folder, kind)  # type: ignore[arg-type]
    settings: dict[str, Any] = {
        "capture_dir": capture_dir,
        "archive_dir": archive_dir,
        "state_dir": base / "state",
        "run_dir": run or base / "run",
        "clock_trust": "assume",
        "cameras": {"default": {"backend": "simulated"}},
    }
    return Config.model_validate(settings | changes)


def make_sidecar(number: int, **changes: Any) -> Sidecar:
    """Return the sidecar of the capture of that number, one per second from `FIRST_MS`."""
    wall_ms = FIRST_MS + number * 1000
    values: dict[str, Any] = {
        "filename": format_stem(wall_ms) + ".jpg",
        "camera": "default",
        "kind": "capture",
        "captured_at": rfc3339(wall_ms * 1_000_000),
        "timestamp": wall_ms / 1000,
        "boot_id": "boot-1",
        "monotonic_ns": number * 1_000_000_000,
        "sequence": number,
        "width": 640,
        "height": 480,
        "file_size": 11,
        "sha256": hashlib.sha256(b"image bytes").hexdigest(),
        "backend": "simulated",
        "simulated": True,
        "time_quality": "synchronized",
        "id": number + 1,
        "quality": 95,
        "exposure": 100,
        "gain": 1.5,
        "settings": {"ExposureTime": 100_000, "ColourGains": [1.5, 2.0]},
    }
    return Sidecar(**(values | changes))


def put_frame(images: Path, sidecars: Path, sidecar: Sidecar, image: bytes = b"image bytes") -> Sidecar:
    """Put an image with its sidecar on disk, sidecar first."""
    images.mkdir(parents=True, exist_ok=True)
    sidecars.mkdir(parents=True, exist_ok=True)
    sidecar = dataclasses.replace(sidecar, file_size=len(image), sha256=hashlib.sha256(image).hexdigest())
    stem = sidecar.filename.removesuffix(".jpg")
    (sidecars / f"{stem}.json").write_bytes(sidecar.to_json())
    (images / sidecar.filename).write_bytes(image)
    return sidecar


def put_capture(
    config: Config, number: int, camera: str = "default", image: bytes = b"image bytes", **changes: Any
) -> Sidecar:
    """Put a capture on disk."""
    captures = config.layout.camera(camera).captures
    offset = {"default": 0}.get(camera, 2**40)
    sidecar = make_sidecar(number, camera=camera, id=offset + number + 1, **changes)
    return put_frame(captures, captures, sidecar, image)


def put_live(
    config: Config, number: int, camera: str = "default", image: bytes = b"image bytes", **changes: Any
) -> Sidecar:
    """Put a live frame on disk."""
    paths = config.layout.camera(camera)
    sidecar = make_sidecar(number, camera=camera, id=None, kind="live", **changes)
    return put_frame(paths.live, paths.metadata, sidecar, image)


def as_announcement(config: Config, sidecar: Sidecar) -> dict[str, Any]:
    """Return what the capture process tells the manager of a frame."""
    paths = config.layout.camera(sidecar.camera)
    folder = paths.captures if sidecar.kind == "capture" else paths.live
    return {"sidecar": json.loads(sidecar.to_json()), "path": str(folder / sidecar.filename)}


def of_this_boot(seconds_ago: float) -> dict[str, Any]:
    """Return the time fields of a frame of this boot of this machine."""
    clock = SystemClock()
    wall_ns = clock.wall_ns() - int(seconds_ago * 1e9)
    return {
        "boot_id": clock.boot_id(),
        "monotonic_ns": max(0, clock.boottime_ns() - int(seconds_ago * 1e9)),
        "captured_at": rfc3339(wall_ns),
        "timestamp": wall_ns // 1_000_000 / 1000,
    }


@contextmanager
def as_an_ordinary_user(owning: Path | None = None) -> Iterator[None]:
    """Permissions do not bind root, so root becomes nobody for a while; anyone else is bound already."""
    if os.geteuid() != 0:
        yield
        return
    nobody = 65534
    for path in (owning, *owning.rglob("*")) if owning is not None else ():
        os.chown(path, nobody, nobody)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)

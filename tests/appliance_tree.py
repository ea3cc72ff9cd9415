# SPDX-License-Identifier: MIT
"""A deployed tree for tests: both places with their markers, and a configuration with two simulated cameras."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldcam.control import client
from fieldcam.core.config import Config
from fieldcam.core.config_sources import load
from fieldcam.core.heartbeat import Heartbeat, read_heartbeat
from fieldcam.core.layout import CameraPaths
from fieldcam.store.volume import init_volume

CAMERAS: Mapping[str, Mapping[str, Any]] = {
    "default": {"backend": "simulated", "interval": 0.2, "width": 320, "height": 240},
    "north": {"backend": "simulated", "interval": 0.2, "width": 160, "height": 128, "number": 1},
}


@dataclass(frozen=True)
class Tree:
    """A deployed tree.

    Attributes:
        root: everything is below it.
        file: the configuration file.
    """

    root: Path
    file: Path

    @property
    def config(self) -> Config:
        """The configuration as the programs read it."""
        return load(self.file, environ={})

    def paths(self, camera: str = "default") -> CameraPaths:
        """Return the paths of one camera."""
        return self.config.layout.camera(camera)

    def ask(self, op: str, args: Mapping[str, Any] | None = None, camera: str = "default") -> dict[str, Any]:
        """Ask the capture process of a camera."""
        return client.ask(self.paths(camera).control_socket, op, args, timeout_seconds=30, who="host-camera-capture")

    def beat(self, camera: str = "default") -> Heartbeat | None:
        """Return what the capture process last said."""
        return read_heartbeat(self.paths(camera).heartbeat)

    @contextmanager
    def capture_process(self, camera: str = "default", **environ: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the capture process of a camera; wait until it has stored a frame or its places said why not."""
        with self.process("fieldcam.cli.host_camera_capture", "--camera", camera, **environ) as process:
            wait_until(lambda: self._speaks(camera, process), f"{camera}: the capture process says something")
            yield process

    @contextmanager
    def process(self, module: str, *arguments: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a module of the appliance; it is killed at the end if it still runs."""
        log = self.root / f"{module.rsplit('.', 1)[-1]}.log"
        command = [sys.executable, "-m", module, "--config", str(self.file), *arguments]
        with (
            log.open("ab") as stream,
            subprocess.Popen(command, stderr=stream, stdout=stream, env={**os.environ, **environ}) as process,
        ):
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    def log(self, module: str = "host_camera_capture") -> str:
        """Return what a module logged."""
        return (self.root / f"{module}.log").read_text(encoding="utf-8")

    def _speaks(self, camera: str, process: subprocess.Popen[bytes]) -> bool:
        if process.poll() is not None:
            raise AssertionError(f"the capture process ended with {process.returncode}:\n{self.log()}")
        beat = self.beat(camera)
        return beat is not None and beat.pid == process.pid and (beat.last_frame is not None or beat.error_count > 0)


@contextmanager
def deployed_tree(cameras: Mapping[str, Mapping[str, Any]] = CAMERAS, **settings: Any) -> Iterator[Tree]:
    """Make a tree in a short temporary folder: Unix socket paths may have 107 bytes only."""
    root = Path(tempfile.mkdtemp(prefix="fc-"))
    try:
        for name, kind in (("handoff", "handoff"), ("archive", "archive")):
            (root / name).mkdir()
            init_volume(root / name, kind)  # type: ignore[arg-type]
        for name in ("run", "state"):
            (root / name).mkdir()
        values = {
            "capture_dir": str(root / "handoff"),
            "archive_dir": str(root / "archive"),
            "run_dir": str(root / "run"),
            "state_dir": str(root / "state"),
            "ring_dir": str(root / "ring"),
            "results_dir": str(root / "results"),
            "clock_trust": "assume",
            "live_backing": "storage",
        } | settings
        lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
        for name, camera in cameras.items():
            lines += [f"[cameras.{name}]", *(f"{key} = {_toml(value)}" for key, value in camera.items())]
        file = root / "fieldcam.toml"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield Tree(root, file)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """Poll until the condition gives something true, and return it."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()  # nobody sets it: a poll needs a pause between two looks
    while time.monotonic() < deadline:
        if result := condition():
            return result
        pause.wait(0.02)
    raise AssertionError(f"not within {seconds:g} s: {what}")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else '"' + str(value).replace("\\", "\\\\") + '"'

# SPDX-License-Identifier: MIT
"""Puts the stand-ins for the rpicam tools on the PATH of a test, and its faults under the test's control."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

BIN = Path(__file__).parent / "bin"


class RpicamHome:
    """A stand-in camera of one test's own.

    Args:
        folder: that stands for it.
        monkeypatch: puts the tools on the PATH.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("FAKE_RPICAM_HOME", str(folder))
        monkeypatch.setenv("FAKE_RPICAM_PYTHON", sys.executable)

    def break_with(self, *faults: str) -> None:
        """Let the next shots go wrong; without faults they go well."""
        (self.folder / "rpicam.fault").write_text(" ".join(faults), encoding="utf-8")

    def left_over(self, patience_seconds: float = 5.0) -> list[int]:
        """Return the processes of this camera, orphans included, that are not gone after a moment.

        What was killed without being a child of ours dies a little later.
        """
        give_up = time.monotonic() + patience_seconds
        while (found := self._processes()) and time.monotonic() < give_up:
            time.sleep(0.01)
        return found

    def _processes(self) -> list[int]:
        """Return every process that carries the folder in its environment."""
        mark = f"FAKE_RPICAM_HOME={self.folder}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    environment = (entry / "environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                if mark in environment:
                    found.append(int(entry.name))
        return found

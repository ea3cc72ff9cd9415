# SPDX-License-Identifier: MIT
"""A reader of the ring in a process of its own: prints one line of JSON for every frame it sees.

python -m tests.ring_reader FOLDER STREAM VOLUME_ID
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fieldcam.core.clock import SystemClock
from fieldcam.handoff import FolderWatch, RingReader
from tests.appliance_tree import wait_until

ROOT = Path(__file__).resolve().parents[1]


class Reader:
    """What a reader in another process has seen so far, oldest first."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.seen: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    @property
    def sequences(self) -> list[int]:
        """The numbers of the frames."""
        return [frame["sequence"] for frame in self.seen]

    def wait_for(self, count: int, seconds: float = 20.0) -> list[dict[str, Any]]:
        """Wait until so many more frames have come, and return them."""
        before = len(self.seen)
        wait_until(lambda: len(self.seen) >= before + count, f"{count} more frames in the ring", seconds)
        return self.seen[before : before + count]

    def _collect(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.seen.append(json.loads(line))


@contextmanager
def ring_reader(folder: Path, volume_id: str, stream: str = "main") -> Iterator[Reader]:
    """Read the ring of a camera in another process; it is ended at the end."""
    command = [sys.executable, "-m", "tests.ring_reader", str(folder), stream, volume_id]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Reader(process)
        finally:
            process.kill()


def main() -> None:
    """Read until ended."""
    folder, stream, volume_id = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    clock = SystemClock()
    reader = RingReader(folder, stream, volume_id=volume_id, clock=clock)
    watch = FolderWatch([folder])
    newest = -1
    while True:
        lease = reader.newest(newer_than=newest)
        if lease is None:
            watch.wait(0.2)
            continue
        with lease:
            newest = lease.sequence
            said = {
                "sequence": lease.sequence,
                "shape": lease.pixels.shape,
                "sha256": hashlib.sha256(lease.pixels.tobytes()).hexdigest(),
                "mean": float(lease.pixels.mean()),
                "published_at_ns": lease.published_at_ns,
                "seen_at_ns": clock.boottime_ns(),
                "sidecar": dataclasses.asdict(lease.sidecar),
            }
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()

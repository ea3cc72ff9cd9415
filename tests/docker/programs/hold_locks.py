# SPDX-License-Identifier: MIT
"""Take an exclusive lock on everything that can be read in the hand-off area and the ring, and never let go."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path


def main() -> None:
    """Lock for ever; say now and then on how many files."""
    held: dict[int, int] = {}
    while True:
        for root in (os.environ["CAMERA_CAPTURE_DIR"], os.environ["CAMERA_RING_DIR"]):
            for folder, _, names in os.walk(root):
                for path in (folder, *(f"{folder}/{name}" for name in names)):
                    lock(path, held)
        print(json.dumps({"held": len(held), "in_ring": in_ring(held)}), flush=True)
        time.sleep(0.05)


def lock(path: str, held: dict[int, int]) -> None:
    """Lock one file or folder, unless it is locked already."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return
    number = os.fstat(descriptor).st_ino
    if number not in held:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pass
        else:
            held[number] = descriptor
            return
    os.close(descriptor)


def in_ring(held: dict[int, int]) -> int:
    """Return how many of them were opened in the ring."""
    ring = os.environ["CAMERA_RING_DIR"]
    return sum(str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith(ring) for descriptor in held.values())


if __name__ == "__main__":
    main()

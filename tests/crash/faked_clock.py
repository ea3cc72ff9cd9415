# SPDX-License-Identifier: MIT
"""R12 with the real capture process: libfaketime makes its wall clock jump, CLOCK_BOOTTIME stays true."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from pathlib import Path

from fieldcam.core.clock import Instant, SystemClock
from fieldcam.core.errors import ImageNotFoundError
from fieldcam.store.reader import newest_frame
from tests.appliance_tree import Tree, deployed_tree
from tests.crash.outcome import Outcome, Progress, no_progress

INTERVAL_SECONDS = 0.02
MAX_IMAGES = 1_000_000
LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")
# A jump must not make the loop wait: far above what a busy machine needs for a frame.
LONGEST_GAP_SECONDS = 5.0
DEADLINE_FACTOR = 10


def library() -> Path | None:
    """Return libfaketime for threaded programs, or None (Debian: package faketime)."""
    found = [path for pattern in LIBRARIES for path in Path("/").glob(pattern.lstrip("/"))]
    return found[0] if found else None


def faked_process(frames: int, *, jumps: int = 50, seed: int = 1, progress: Progress = no_progress) -> Outcome:
    """Run the capture process with the simulated camera while its wall clock jumps; one try per frame.

    Raises:
        RuntimeError: libfaketime is not there.
    """
    faketime = library()
    if faketime is None:
        raise RuntimeError("libfaketime is not installed")
    chance = random.Random(seed)
    outcome = Outcome("R12", f"frame of the real capture process, {jumps} jumps of its clock")
    began = time.monotonic()
    camera = {"backend": "simulated", "interval": INTERVAL_SECONDS, "width": 64, "height": 48}
    with deployed_tree({"default": camera}, max_images=MAX_IMAGES) as tree:
        stamp = tree.root / "faketime"
        _set(stamp, time.time())
        environ = {
            "LD_PRELOAD": str(faketime),
            "FAKETIME_TIMESTAMP_FILE": str(stamp),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        shown: list[str] = []
        with tree.capture_process(**environ) as process:
            done = _watch(tree, stamp, frames, jumps, chance, shown, progress)
            process.terminate()
            process.wait(timeout=20)
            told = _images_captured(tree)
        _judge(tree, outcome, shown, told)
        if not done:
            outcome.failures += 1
            outcome.examples.append(f"stopped: only {outcome.tries} of {frames} frames came in time")
    outcome.seconds = time.monotonic() - began
    return outcome


def _watch(
    tree: Tree, stamp: Path, frames: int, jumps: int, chance: random.Random, shown: list[str], progress: Progress
) -> bool:
    """Make the clock jump while frames come; note in `shown` what a reader would be shown wrongly."""
    clock = SystemClock()
    paths = tree.paths()
    images, sidecars = paths.live, paths.metadata
    pause = threading.Event()
    deadline = time.monotonic() + 30 + DEADLINE_FACTOR * frames * INTERVAL_SECONDS
    jumped = 0
    last = -1
    first = None
    while time.monotonic() < deadline:
        before = clock.boottime_ns()
        try:
            frame, sidecar = newest_frame(images, sidecars, boot_id=clock.boot_id())
        except ImageNotFoundError:
            pause.wait(0.05)
            continue
        first = sidecar.sequence if first is None else first
        if sidecar.sequence < last:
            shown.append(f"going back: {frame.image.name} is older than the frame shown before")
        age = Instant.now(clock).seconds_since(sidecar.exposed_at)
        if not 0 <= age <= LONGEST_GAP_SECONDS + (clock.boottime_ns() - before) / 1e9:
            shown.append(f"age: {frame.image.name} seems {age:.1f} s old")
        for _ in range(sidecar.sequence - max(last, first)):
            progress()
        last = sidecar.sequence
        count = last - first + 1
        if count >= frames:
            return True
        if jumped < jumps * count // frames:
            jumped += 1
            _set(stamp, chance.uniform(0, 2**31 + 10**8) if jumped % 3 else time.time())
        pause.wait(0.05)
    return False


def _judge(tree: Tree, outcome: Outcome, shown: list[str], told: int) -> None:
    paths = tree.paths()
    found = sorted(
        (json.loads((paths.metadata / f"{image.stem}.json").read_bytes()) for image in paths.live.glob("*.jpg")),
        key=lambda sidecar: sidecar["monotonic_ns"],
    )
    years = {sidecar["captured_at"][:4] for sidecar in found}
    if len(years) < 2:
        shown.append(f"the clock of the process did not jump: every frame is of {years}")
    for before, sidecar in itertools.pairwise([None, *found]):
        problems = []
        if before is not None and sidecar is not None:
            if sidecar["sequence"] <= before["sequence"]:
                problems.append(f"sequence: {sidecar['filename']} does not rise")
            gap = (sidecar["monotonic_ns"] - before["monotonic_ns"]) / 1e9
            if gap > LONGEST_GAP_SECONDS:
                problems.append(f"gap: {gap:.1f} s before {sidecar['filename']}")
        outcome.tried(problems)
    if len(found) != told:
        shown.append(f"deleted or overwritten: {told} frames were stored, {len(found)} are there")
    if shown:
        outcome.failures += len(shown)
        outcome.examples += shown[:5]


def _images_captured(tree: Tree) -> int:
    beat = tree.beat()
    return beat.images_captured if beat is not None else -1


def _set(stamp: Path, wall: float) -> None:
    text = time.strftime("@%Y-%m-%d %H:%M:%S\n", time.localtime(wall))
    beside = stamp.with_suffix(".new")
    beside.write_text(text, encoding="ascii")
    beside.replace(stamp)

# SPDX-License-Identifier: MIT
"""One long run in live mode, looked at for P8 and P12 together: watching it twice would take ten minutes more.

Nothing else runs meanwhile; this process reads a few small files a second.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fieldcam.bench import counters
from fieldcam.bench.documented_design import capture_then_sleep
from fieldcam.bench.row import NotMeasuredError, Plan, Progress, size_words
from fieldcam.bench.stand_in import StandIn
from fieldcam.bench.tree import Settings, Tree, deployed_tree, wait_until
from fieldcam.bench.waiting import pause
from fieldcam.core.errors import ImageNotFoundError
from fieldcam.core.layout import CameraPaths
from fieldcam.store.reader import iter_frames

INTERVAL_SECONDS = 1.0
MAX_IMAGES = 8  # about 30 MB: /dev/shm of a container often has no more than 64
MAX_LIVE_BYTES = 60_000_000


@dataclass(frozen=True, slots=True)
class LiveRun:
    """What was seen.

    Attributes:
        seconds: how long was looked.
        exposed_ns: CLOCK_BOOTTIME of every frame, in order.
        slots_skipped: by cause, as the capture process counted.
        written_bytes: by all processes of the appliance, to storage.
        device: of the tree; None when it is on none.
        device_written_bytes: to that device, by everybody.
        image_bytes: of one frame.
        loop_began: when each turn of the documented loop began, seconds since its first.
        loop_written_bytes: by the documented loop, to storage.
    """

    seconds: float
    exposed_ns: tuple[int, ...]
    slots_skipped: Mapping[str, int]
    written_bytes: int
    device: str | None
    device_written_bytes: int
    image_bytes: int
    loop_began: tuple[float, ...]
    loop_written_bytes: int


def observe(plan: Plan, progress: Progress) -> LiveRun:
    """Run the appliance in live mode, then the documented loop with the same work.

    Raises:
        NotMeasuredError: the appliance did not start, or a process of it ended meanwhile.
    """
    width, height = plan.live_size
    camera: Settings = {"backend": "simulated", "interval": INTERVAL_SECONDS, "width": width, "height": height}
    settings = {"max_images": MAX_IMAGES, "live_max_bytes": MAX_LIVE_BYTES}
    with deployed_tree(camera, handoff_in_ram=True, **settings) as tree:
        with tree.running() as supervisor:
            wait_until(lambda: (beat := tree.beat()) and beat.last_frame, "the first live frame", tree)
            pause(plan.settle_seconds)
            seen = _watch(tree, supervisor.pid, plan, progress)
        loop_began, loop_bytes = _run_documented_loop(plan, progress, tree.disk)
    return LiveRun(*seen, tuple(loop_began), loop_bytes)


def _watch(
    tree: Tree, supervisor: int, plan: Plan, progress: Progress
) -> tuple[float, tuple[int, ...], Mapping[str, int], int, str | None, int, int]:
    config = tree.config
    paths = config.layout.camera(config.default_camera)
    pids = [supervisor, *counters.descendants(supervisor)]
    skipped_before = _skipped(tree)
    bytes_before, device_before = counters.written_bytes(pids), counters.device_of(tree.disk)
    began_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    found: dict[int, int] = {}
    image_bytes = 0
    turns = round(plan.live_seconds)
    with progress(f"P8, P12 live, {size_words(plan.live_size)}", turns) as step:
        for turn in range(turns):
            pause(began_ns / 1e9 + turn + 1 - time.clock_gettime(time.CLOCK_BOOTTIME))
            image_bytes = _collect(paths, began_ns, found) or image_bytes
            step()
    ended_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    try:
        written = counters.written_bytes(pids) - bytes_before
    except OSError as error:
        raise NotMeasuredError(f"a process of the appliance ended during the run: {error}\n{tree.logs()}") from error
    device_after = counters.device_of(tree.disk)
    return (
        (ended_ns - began_ns) / 1e9,
        tuple(found[sequence] for sequence in sorted(found)),
        _skipped(tree) - skipped_before,
        written,
        device_after.name if device_after else None,
        device_after.written_bytes - device_before.written_bytes if device_after and device_before else 0,
        image_bytes,
    )


def _collect(paths: CameraPaths, began_ns: int, found: dict[int, int]) -> int:
    """Note the frames that are there; return the size of one in bytes."""
    size = 0
    for frame in iter_frames(paths.live, paths.metadata):
        try:
            sidecar = frame.read_sidecar()
        except ImageNotFoundError:
            continue  # rolled out in between
        if sidecar.monotonic_ns >= began_ns:
            found[sidecar.sequence] = sidecar.monotonic_ns
            size = sidecar.file_size
    return size


def _skipped(tree: Tree) -> Counter[str]:
    beat = tree.beat()
    return Counter(beat.slots_skipped if beat else {})


def _run_documented_loop(plan: Plan, progress: Progress, disk: Path) -> tuple[list[float], int]:
    # Files stay until the end: deleted before the kernel writes them back, they would count as never written.
    with tempfile.TemporaryDirectory(dir=disk) as name, StandIn(plan.live_size) as stand_in:
        own = [os.getpid()]
        before = counters.written_bytes(own)
        with progress("P8, P12 documented loop", plan.loop_turns) as step:
            began = capture_then_sleep(
                lambda: stand_in.take().jpeg,
                Path(name),
                turns=plan.loop_turns,
                interval_seconds=INTERVAL_SECONDS,
                step=step,
            )
        return began, counters.written_bytes(own) - before

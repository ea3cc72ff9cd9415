# SPDX-License-Identifier: MIT
"""What the reference documents promise of the library in a container, and what its cache costs in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from fieldcam.bench.consumer_process import ConsumerProcess, Stream
from fieldcam.bench.documented_design import CACHED_IMAGES, DocumentedConsumer
from fieldcam.bench.p1_file_to_array import WAIT_SECONDS, publish_and_wait
from fieldcam.bench.published import Area, disk_folder, draw_pictures
from fieldcam.bench.row import NotMeasuredError, Plan, Progress, Row, Size, judge, milliseconds, size_words
from fieldcam.bench.samples import summarize
from fieldcam.bench.waiting import pause
from fieldcam.provider.provider import SharedVolumeImageProvider

DISK_LOAD_SECONDS = 0.300
HIT_RATE_PERCENT = 90.0
CACHE_BYTES = 64_000_000
DOCUMENTED_CACHE_BYTES = 100_000_000
INTERVAL_SECONDS = 1.0
IDLE_SECONDS = 6.0  # a picture that was decoded is kept for some seconds, in case it is asked for again
IDLE_QUICK_SECONDS = 1.0
DISK_LOADS = 10


def measure(plan: Plan, progress: Progress) -> list[Row]:
    """Measure providers over files on a disk, without a ring.

    Raises:
        NotMeasuredError: a provider found no frame.
    """
    size = plan.hand_off_size
    with ExitStack() as stack:
        area = Area(stack.enter_context(disk_folder()), draw_pictures(size), size)
        step = stack.enter_context(progress("provider", 3))
        ours, documented = _load_from_disk(area, 3 if plan.quick else DISK_LOADS)
        step()
        stream, status = _ask_again_and_again(area, plan.stream_seconds)
        step()
        memory = _fill_caches(area, IDLE_QUICK_SECONDS if plan.quick else IDLE_SECONDS)
        step()
    return [
        disk_row(size, ours, documented),
        hit_row(size, stream, float(status["cache_hit_rate"])),
        cache_row(size, *memory),
    ]


def disk_row(size: Size, ours_seconds: Sequence[float], documented_seconds: Sequence[float]) -> Row:
    """Return the line of a frame that is in nobody's memory."""
    ours, documented = summarize(ours_seconds), summarize(documented_seconds)
    return Row(
        row="doc",
        what=f"load from disk, {size_words(size)}",
        ours=f"worst {milliseconds(ours.max)}, median {milliseconds(ours.median)}",
        baseline=f"median {milliseconds(documented.median)} (cv2.imread)",
        ratio=ours.median / documented.median,
        bar="≤ 300 ms",
        verdict=judge(holds=ours.max <= DISK_LOAD_SECONDS),
        notes=("the file is dropped from the page cache first; a new provider each time, from its constructor on",),
        samples={"load_seconds": ours, "documented_seconds": documented},
    )


def hit_row(size: Size, stream: Stream, hit_percent: float) -> Row:
    """Return the line of a consumer that asks more often than there are frames."""
    return Row(
        row="doc",
        what=f"cache hit rate in active processing, {size_words(size)}",
        ours=f"{hit_percent:.1f} %",
        baseline="90 % (documented)",
        ratio=hit_percent / HIT_RATE_PERCENT,
        bar="> 90 %",
        verdict=judge(holds=hit_percent > HIT_RATE_PERCENT),
        notes=(
            (
                "get_latest_image() every 50 ms beside frames at 1 Hz, as get_status() says; each call copies a "
                f"frame, so this takes {stream.cpu_percent:.0f} % of a core"
            ),
        ),
        figures={"hit_percent": hit_percent, "cpu_percent": stream.cpu_percent},
    )


def cache_row(size: Size, ours_bytes: int, idle_bytes: int, documented_bytes: int, files_bytes: int) -> Row:
    """Return the line of the memory of ten cached frames."""
    return Row(
        row="doc",
        what=f"memory of {CACHED_IMAGES} cached frames, {size_words(size)}",
        ours=f"{idle_bytes / 1e6:.0f} MB",
        baseline=f"{documented_bytes / 1e6:.0f} MB (decoded, as documented)",
        ratio=idle_bytes / max(1, documented_bytes),
        bar="≤ 64 MB",
        verdict=judge(holds=idle_bytes <= CACHE_BYTES),
        notes=(
            (
                f"private memory of a process with the cache filled, minus that of the same process before its first "
                f"frame, {IDLE_SECONDS:g} s after the last call; directly after it, with the last frame decoded, "
                f"{ours_bytes / 1e6:.0f} MB; the files of the frames have {files_bytes / 1e6:.0f} MB"
            ),
        ),
        figures={
            "idle_bytes": float(idle_bytes),
            "busy_bytes": float(ours_bytes),
            "documented_bytes": float(documented_bytes),
        },
    )


def _load_from_disk(area: Area, number: int) -> tuple[list[float], list[float]]:
    ours, documented = [], []
    for _ in range(number):
        area.forget(area.publish().filename)

        def load() -> object:
            with SharedVolumeImageProvider(area.root, ring_dir="", background_monitoring=False) as provider:
                return provider.latest_frame()

        ours.append(_timed(load))
        consumer = DocumentedConsumer(area.live)
        filename = area.publish().filename
        area.forget(filename)
        documented.append(_timed(lambda: consumer.load(filename)))  # noqa: B023 - called at once
    return ours, documented


def _ask_again_and_again(area: Area, seconds: float) -> tuple[Stream, dict[str, Any]]:
    with ConsumerProcess("library", area.root, "", str(area.last_sequence)) as consumer:
        publish_and_wait(area, consumer, WAIT_SECONDS)
        consumer.start_stream("latest")
        for _ in range(max(1, round(seconds / INTERVAL_SECONDS))):
            area.publish()
            pause(INTERVAL_SECONDS)
        return consumer.stop_stream()


def _fill_caches(area: Area, idle_seconds: float) -> tuple[int, int, int, int]:
    """Return bytes: ours directly after the last frame, ours when idle, the documented cache, and the files."""
    files_bytes = sum(len(area.picture(number)) for number in range(CACHED_IMAGES))
    with ConsumerProcess("library", area.root, "", str(area.last_sequence)) as consumer:
        before = consumer.private_bytes()
        for _ in range(CACHED_IMAGES):
            publish_and_wait(area, consumer, WAIT_SECONDS)
        busy = consumer.private_bytes() - before
        if (cached := consumer.facts()["cache_size"]) < CACHED_IMAGES:
            raise NotMeasuredError(f"the cache holds {cached} of {CACHED_IMAGES} frames")
        pause(idle_seconds)
        idle = consumer.private_bytes() - before
    with ConsumerProcess("documented", area.live) as consumer:
        before = consumer.private_bytes()
        for _ in range(CACHED_IMAGES):
            consumer.expect("keep")
            pause(WAIT_SECONDS)
            area.publish()
            consumer.taken()
        documented = consumer.private_bytes() - before
    return busy, idle, documented, files_bytes


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    result = action()
    seconds = time.perf_counter() - started
    del result
    return seconds

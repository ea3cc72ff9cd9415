# SPDX-License-Identifier: MIT
"""P3, the other side: a reader that stops while it holds a frame must not be felt by the writer.

Eight readers take every frame. In every second block one of them is stopped by SIGSTOP while it holds a lease; the
blocks are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from fieldcam.bench import ring_bench
from fieldcam.bench.consumer_process import ConsumerProcess
from fieldcam.bench.row import NotMeasuredError, Plan, Progress, Row, judge, milliseconds, size_words
from fieldcam.bench.samples import summarize
from fieldcam.bench.waiting import pause

READERS = 8
QUICK_READERS = 3
RATE_SECONDS = 0.1
MEDIAN_SHARE, P99_SHARE, P99_MORE_SECONDS = 1.2, 1.2, 0.002


@dataclass(slots=True)
class Measured:
    """Seconds that the writer's call took, with all readers running and with one of them stopped; frames not taken."""

    none_stopped: list[float] = field(default_factory=list)
    one_stopped: list[float] = field(default_factory=list)
    dropped: int = 0


def measure(plan: Plan, progress: Progress) -> list[Row]:
    """Measure on /dev/shm.

    Raises:
        NotMeasuredError: a reader got no frame, or there is too little RAM.
    """
    done = Measured()
    frames = max(1, round(plan.jitter_seconds / RATE_SECONDS))
    with ExitStack() as stack:
        bench = stack.enter_context(ring_bench.running(plan.hand_off_size))
        readers = [
            stack.enter_context(ConsumerProcess("ring", bench.folder, bench.area.volume_id))
            for _ in range(_readers(plan))
        ]
        step = stack.enter_context(progress("P3 writer jitter", 2 * plan.blocks * frames))
        _let_hold(bench, readers[0])  # warm up, and the first slot
        for _ in range(plan.blocks):
            done.none_stopped += _block(bench, readers, frames, step)
            _let_hold(bench, readers[0])
            with readers[0].stopped():
                done.one_stopped += _block(bench, readers[1:], frames, step)
        done.dropped = bench.writer.stats.dropped
    return [row(plan, done)]


def row(plan: Plan, done: Measured) -> Row:
    """Return the line."""
    ours, baseline = summarize(done.one_stopped), summarize(done.none_stopped)
    holds = (
        done.dropped == 0
        and ours.median <= MEDIAN_SHARE * baseline.median
        and ours.p99 <= P99_SHARE * baseline.p99 + P99_MORE_SECONDS
    )
    return Row(
        row="P3",
        what=f"writer beside {_readers(plan)} readers, one stopped with a lease, {size_words(plan.hand_off_size)}",
        ours=f"p99 {milliseconds(ours.p99)}, median {milliseconds(ours.median)}",
        baseline=f"p99 {milliseconds(baseline.p99)}, median {milliseconds(baseline.median)} (none stopped)",
        ratio=ours.p99 / baseline.p99,
        bar="median ≤ 1.2 ×, p99 ≤ 1.2 × + 2 ms, 0 dropped",
        verdict=judge(holds=holds),
        notes=(
            (
                f"publish_pixels() {1 / RATE_SECONDS:g} times a second, {ours.n} and {baseline.n} frames in blocks "
                f"that take turns; worst {milliseconds(ours.max)} and {milliseconds(baseline.max)}; {done.dropped} "
                "frames dropped; each reader takes a view of every frame"
            ),
            "a lease older than 10 s costs the writer a new slot, once",
        ),
        samples={"one_stopped_seconds": ours, "none_stopped_seconds": baseline},
        figures={"dropped": float(done.dropped)},
    )


def _readers(plan: Plan) -> int:
    return QUICK_READERS if plan.quick else READERS


def _block(
    bench: ring_bench.RingBench, readers: Sequence[ConsumerProcess], frames: int, step: Callable[[], None]
) -> list[float]:
    """Publish at a fixed rate to readers that take every frame; return the seconds of each call."""
    for reader in readers:
        reader.start_stream("view")
    times: list[float] = []
    began = bench.area.now_ns()
    for number in range(frames):
        pause((began - bench.area.now_ns()) / 1e9 + number * RATE_SECONDS)
        published = bench.publish_pixels(readers[-1])
        times.append((bench.area.now_ns() - published.at_ns) / 1e9)
        if number % round(1 / RATE_SECONDS) == 0:
            bench.writer.tidy()
        step()
    for reader in readers:
        stream, _ = reader.stop_stream()
        if stream.frames < 1:
            raise NotMeasuredError("a reader got no frame")
    return times


def _let_hold(bench: ring_bench.RingBench, reader: ConsumerProcess) -> None:
    reader.expect("hold")
    pause(RATE_SECONDS)
    bench.publish_pixels(reader)
    reader.taken()

# SPDX-License-Identifier: MIT
"""P3, the other side: a reader that stops while it holds a frame must not be felt by the writer.

Eight readers take every frame. In every second block one of them is stopped by SIGSTOP while it holds a lease; the
blocks are compared.
"""

from __future__ import annotations

import time
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
    """What the writer's calls took.

    Attributes:
        none_stopped, one_stopped: seconds of each, with all readers running and with one of them stopped.
        dropped: frames not taken.
        none_stopped_cpu, one_stopped_cpu: processor seconds of the same calls.
    """

    none_stopped: list[float] = field(default_factory=list)
    one_stopped: list[float] = field(default_factory=list)
    dropped: int = 0
    none_stopped_cpu: list[float] = field(default_factory=list)
    one_stopped_cpu: list[float] = field(default_factory=list)


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
            _block(bench, readers, frames, step, done.none_stopped, done.none_stopped_cpu)
            _let_hold(bench, readers[0])
            with readers[0].stopped():
                _block(bench, readers[1:], frames, step, done.one_stopped, done.one_stopped_cpu)
        done.dropped = bench.writer.stats.dropped
    return [row(plan, done)]


def row(plan: Plan, done: Measured) -> Row:
    """Return the line."""
    ours, baseline = summarize(done.one_stopped), summarize(done.none_stopped)
    ours_cpu, baseline_cpu = summarize(done.one_stopped_cpu), summarize(done.none_stopped_cpu)
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
            (
                "the readers wake while the call renames the slot, and take the writer's core; its processor time "
                f"alone: median {milliseconds(ours_cpu.median)} and {milliseconds(baseline_cpu.median)}, "
                f"p99 {milliseconds(ours_cpu.p99)} and {milliseconds(baseline_cpu.p99)}"
            ),
            "a slot that is held is replaced by tidy(), once a second between two frames and not counted here",
        ),
        samples={
            "one_stopped_seconds": ours,
            "none_stopped_seconds": baseline,
            "one_stopped_cpu_seconds": ours_cpu,
            "none_stopped_cpu_seconds": baseline_cpu,
        },
        figures={"dropped": float(done.dropped)},
    )


def _readers(plan: Plan) -> int:
    return QUICK_READERS if plan.quick else READERS


def _block(
    bench: ring_bench.RingBench,
    readers: Sequence[ConsumerProcess],
    frames: int,
    step: Callable[[], None],
    seconds: list[float],
    cpu_seconds: list[float],
) -> None:
    """Publish at a fixed rate to readers that take every frame; note what each call took."""
    for reader in readers:
        reader.start_stream("view")
    began = bench.area.now_ns()
    for number in range(frames):
        pause((began - bench.area.now_ns()) / 1e9 + number * RATE_SECONDS)
        bench.wait_for(readers[-1])
        before = time.thread_time()
        published = bench.publish_pixels(readers[-1])
        cpu_seconds.append(time.thread_time() - before)
        seconds.append((bench.area.now_ns() - published.at_ns) / 1e9)
        if number % round(1 / RATE_SECONDS) == 0:
            bench.writer.tidy()
        step()
    for reader in readers:
        stream, _ = reader.stop_stream()
        if stream.frames < 1:
            raise NotMeasuredError("a reader got no frame")


def _let_hold(bench: ring_bench.RingBench, reader: ConsumerProcess) -> None:
    reader.expect("hold")
    pause(RATE_SECONDS)
    bench.publish_pixels(reader)
    reader.taken()

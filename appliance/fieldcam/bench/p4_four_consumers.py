# SPDX-License-Identifier: MIT
"""P4: what several consumers of one stream of 12 MP JPEG cost together, in processor time.

The documented design decodes in every consumer. Ours decodes once, into the ring, and the consumers copy. Writing the
files is the same for both and is not counted; they are written during every block.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from fieldcam.bench import ring_bench
from fieldcam.bench.consumer_process import ConsumerProcess, Stream
from fieldcam.bench.documented_design import POLL_SECONDS
from fieldcam.bench.published import KEPT_FRAMES
from fieldcam.bench.ring_bench import RingBench
from fieldcam.bench.row import NotMeasuredError, Plan, Progress, Row, judge, milliseconds, size_words
from fieldcam.bench.waiting import pause

CONSUMERS = 4
BAR = 1.3
PROVIDER_PERCENT = 5.0
INTERVAL_SECONDS = 1.0
LEAST_SHARE = 0.8  # of the frames that every consumer must have taken


@dataclass(slots=True)
class Measured:
    """Processor time of one kind of block.

    Attributes:
        frames: published.
        writer_seconds: of decoding into the ring.
        streams: of every consumer in every block.
    """

    frames: int = 0
    writer_seconds: float = 0.0
    streams: list[Stream] = field(default_factory=list)

    @property
    def per_frame(self) -> float:
        """Processor seconds of all of them per frame."""
        return (self.writer_seconds + sum(stream.cpu_seconds for stream in self.streams)) / self.frames

    @property
    def percent(self) -> float:
        """Share of one core that one consumer takes, without the writer."""
        return sum(stream.cpu_percent for stream in self.streams) / len(self.streams)


def measure(plan: Plan, progress: Progress) -> list[Row]:
    """Measure at 1 Hz; the ring in RAM, the hand-off area on disk.

    Raises:
        NotMeasuredError: a consumer missed frames, or there is too little RAM.
    """
    done = {name: Measured() for name in ("ours", "documented", "documented_4", "files")}
    frames = max(1, round(plan.stream_seconds / INTERVAL_SECONDS))
    with (
        ring_bench.running(plan.hand_off_size) as bench,
        progress("P4 four consumers, 1 Hz", len(done) * plan.blocks * frames) as step,
    ):
        area = bench.area
        library = ("library", area.root)
        blocks: dict[str, tuple[int, tuple[str | Path, ...], Callable[[], float]]] = {
            "ours": (CONSUMERS, (*library, bench.folder), lambda: _to_ring_and_file(bench)),
            "documented": (1, ("documented", area.live), lambda: _to_file(bench)),
            "documented_4": (CONSUMERS, ("documented", area.live), lambda: _to_file(bench)),
            "files": (1, library, lambda: _to_file(bench)),
        }
        for _ in range(plan.blocks):
            for name, (number, command, publish) in blocks.items():
                with ExitStack() as stack:
                    consumers = [stack.enter_context(ConsumerProcess(*map(str, command))) for _ in range(number)]
                    _block(done[name], consumers, frames, publish, step)
    return rows(plan, done)


def rows(plan: Plan, done: Mapping[str, Measured]) -> list[Row]:
    """Return the lines: four consumers together, and one by itself."""
    ours, one, four, files = (done[name] for name in ("ours", "documented", "documented_4", "files"))
    size = size_words(plan.hand_off_size)
    decoding = ours.writer_seconds / ours.frames
    figures = {f"{name}_cpu_seconds_per_frame": found.per_frame for name, found in done.items()}
    return [
        Row(
            row="P4",
            what=f"processor time per frame of {CONSUMERS} consumers, {size} JPEG at 1 Hz",
            ours=f"{milliseconds(ours.per_frame)} in all",
            baseline=f"{milliseconds(one.per_frame)}, one consumer as documented",
            ratio=ours.per_frame / one.per_frame,
            bar="≤ 1.3 × one documented",
            verdict=judge(holds=ours.per_frame <= BAR * one.per_frame),
            notes=(
                (
                    f"ours: decoding once into the ring {milliseconds(decoding)}, the rest is {CONSUMERS} × "
                    f"wait_for_frame(), an array of its own for each; {ours.frames} frames"
                ),
                (
                    f"{CONSUMERS} documented consumers, measured: {milliseconds(four.per_frame)} "
                    f"({four.per_frame / one.per_frame:.2f} × one); everything in between the frames is in all "
                    f"figures, and files come to a folder of {KEPT_FRAMES} on disk in all of them"
                ),
            ),
            figures=figures | {"decoding_cpu_seconds_per_frame": decoding},
        ),
        Row(
            row="doc",
            what=f"processor time of a provider, {size} at 1 Hz",
            ours=f"{ours.percent:.1f} % of a core",
            baseline=f"{one.percent:.1f} % (documented design)",
            ratio=ours.percent / one.percent,
            bar="≤ 5 %",
            verdict=judge(holds=ours.percent <= PROVIDER_PERCENT),
            notes=(
                (
                    f"a consumer that takes every frame, from the ring; without a ring it decodes for itself: "
                    f"{files.percent:.1f} %"
                ),
            ),
            figures={"files_percent": files.percent, "ring_percent": ours.percent, "documented_percent": one.percent},
        ),
    ]


def _block(
    done: Measured,
    consumers: Sequence[ConsumerProcess],
    frames: int,
    publish: Callable[[], float],
    step: Callable[[], None],
) -> None:
    """Publish at 1 Hz to consumers that take every frame.

    Raises:
        NotMeasuredError: one of them missed too many.
    """
    for consumer in consumers:
        consumer.expect("array")
    pause(POLL_SECONDS)
    publish()  # the first one loads what is loaded on use
    for consumer in consumers:
        consumer.taken()
    for consumer in consumers:
        consumer.start_stream("array")
    began = time.monotonic()
    for number in range(frames):
        done.writer_seconds += publish()
        done.frames += 1
        pause(began + (number + 1) * INTERVAL_SECONDS - time.monotonic())
        step()
    for consumer in consumers:
        stream, _ = consumer.stop_stream()
        if stream.frames < LEAST_SHARE * frames:
            raise NotMeasuredError(f"a consumer took {stream.frames} of {frames} frames")
        done.streams.append(stream)


def _to_ring_and_file(bench: RingBench) -> float:
    """Publish as capture does; return the processor time of the ring."""
    bench.wait_for_reader()
    sidecar = bench.area.sidecar()
    before = time.thread_time()
    bench.writer.publish_jpeg(sidecar, bench.area.picture(sidecar.sequence))
    bench.writer.tidy()
    seconds = time.thread_time() - before
    bench.area.publish(sidecar)
    return seconds


def _to_file(bench: RingBench) -> float:
    bench.area.publish()
    return 0.0

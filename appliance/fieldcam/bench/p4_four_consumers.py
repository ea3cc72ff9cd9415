# SPDX-License-Identifier: MIT
"""P4: what several consumers of one stream of 12 MP JPEG cost together, in processor time.

The documented design decodes in every consumer. Ours decodes once, into the ring, and the consumers copy. Writing the
files is the same for both and is not counted; they are written during every block.
"""

from __future__ import annotations

import statistics
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
QUICK_INTERVAL_SECONDS = 0.25
LEAST_SHARE = 0.7  # of the frames that every consumer must have taken
_LEAST_FRAMES = 4
_WITH_RING = {"ours", "reused"}


@dataclass(slots=True)
class Measured:
    """Processor time of one kind of block.

    Attributes:
        consumers: how many at a time.
        writer_seconds: of decoding each frame into the ring; empty where there is none.
        streams: of every consumer in every block.
    """

    consumers: int
    writer_seconds: list[float] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)

    @property
    def frames(self) -> list[float]:
        """Processor seconds of each consumer from one frame to the next."""
        return [seconds for stream in self.streams for seconds in stream.frame_cpu_seconds]

    @property
    def per_frame(self) -> float:
        """Processor seconds of all of them for a frame in the middle."""
        writer = statistics.median(self.writer_seconds) if self.writer_seconds else 0.0
        return writer + self.consumers * statistics.median(self.frames)

    @property
    def mean_per_frame(self) -> float:
        """The same on average: one frame that costs ten times as much is in it."""
        writer = statistics.fmean(self.writer_seconds) if self.writer_seconds else 0.0
        return writer + self.consumers * statistics.fmean(self.frames)

    @property
    def percent(self) -> float:
        """Share of one core that one consumer takes, without the writer."""
        return 100 * statistics.median(self.frames) / INTERVAL_SECONDS


def measure(plan: Plan, progress: Progress) -> list[Row]:
    """Measure at 1 Hz; the ring in RAM, the hand-off area on disk.

    Raises:
        NotMeasuredError: a consumer missed frames, or there is too little RAM.
    """
    several = 2 if plan.quick else CONSUMERS  # starting them is most of a quick run
    done = {"ours": Measured(several), "documented": Measured(1), "documented_4": Measured(several)}
    done |= {"reused": Measured(several), "files": Measured(1)}
    interval = QUICK_INTERVAL_SECONDS if plan.quick else INTERVAL_SECONDS
    frames = max(_LEAST_FRAMES, round(plan.stream_seconds / interval))
    with (
        ring_bench.running(plan.hand_off_size) as bench,
        progress("P4 four consumers, 1 Hz", len(done) * plan.blocks * frames) as step,
    ):
        area = bench.area
        library = ("library", area.root)
        documented = ("documented", area.live)
        commands: dict[str, tuple[str | Path, ...]] = {
            "ours": (*library, bench.folder),
            "reused": (*library, bench.folder),
            "documented": documented,
            "documented_4": documented,
            "files": library,
        }
        for _ in range(plan.blocks):
            for name, command in commands.items():
                with ExitStack() as stack:
                    consumers = [
                        stack.enter_context(ConsumerProcess(*map(str, command))) for _ in range(done[name].consumers)
                    ]
                    _block(done[name], consumers, frames, interval, bench, step, name=name)
    return rows(plan, done)


def rows(plan: Plan, done: Mapping[str, Measured]) -> list[Row]:
    """Return the lines: four consumers together, and one by itself."""
    ours, one, four, files = (done[name] for name in ("ours", "documented", "documented_4", "files"))
    reused = done["reused"]
    size = size_words(plan.hand_off_size)
    decoding = statistics.median(ours.writer_seconds)
    figures = {f"{name}_cpu_seconds_per_frame": found.per_frame for name, found in done.items()}
    figures |= {f"{name}_mean_cpu_seconds_per_frame": found.mean_per_frame for name, found in done.items()}
    return [
        Row(
            row="P4",
            what=f"processor time per frame of {ours.consumers} consumers, {size} JPEG at 1 Hz",
            ours=f"{milliseconds(ours.per_frame)} in all",
            baseline=f"{milliseconds(one.per_frame)}, one consumer as documented",
            ratio=ours.per_frame / one.per_frame,
            bar="≤ 1.3 × one documented",
            verdict=judge(holds=ours.per_frame <= BAR * one.per_frame),
            notes=(
                (
                    f"medians of {len(ours.writer_seconds)} frames; ours: decoding once into the ring "
                    f"{milliseconds(decoding)}, and {ours.consumers} × {milliseconds(statistics.median(ours.frames))} "
                    "for wait_for_frame(), an array of its own for each; on average "
                    f"{milliseconds(ours.mean_per_frame)}, documented {milliseconds(one.mean_per_frame)}"
                ),
                (
                    f"{ours.consumers} consumers that have each frame put into the same array (hold(), image(out=…)): "
                    f"{milliseconds(reused.per_frame)} in all, {reused.per_frame / one.per_frame:.2f} ×"
                ),
                (
                    f"{ours.consumers} documented consumers, measured: {milliseconds(four.per_frame)} "
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
    interval: float,
    bench: RingBench,
    step: Callable[[], None],
    *,
    name: str,
) -> None:
    """Publish to consumers that take every frame.

    Raises:
        NotMeasuredError: one of them missed too many.
    """
    how = "reused" if name == "reused" else "array"
    for consumer in consumers:
        consumer.expect(how)
    pause(POLL_SECONDS)

    def publish() -> list[float]:
        return _to_ring_and_file(bench, consumers[0]) if name in _WITH_RING else _to_file(bench)

    publish()  # the first one loads what is loaded on use
    for consumer in consumers:
        consumer.taken()
    for consumer in consumers:
        consumer.start_stream(how)
    began = time.monotonic()
    for number in range(frames):
        done.writer_seconds += publish()
        pause(began + (number + 1) * interval - time.monotonic())
        step()
    for consumer in consumers:
        stream, _ = consumer.stop_stream()
        if stream.frames < LEAST_SHARE * frames:
            raise NotMeasuredError(f"a consumer took {stream.frames} of {frames} frames")
        done.streams.append(stream)


def _to_ring_and_file(bench: RingBench, reader: ConsumerProcess) -> list[float]:
    """Publish as capture does; return the processor time of the ring."""
    bench.wait_for(reader)
    sidecar = bench.area.sidecar()
    before = time.thread_time()
    bench.writer.publish_jpeg(sidecar, bench.area.picture(sidecar.sequence))
    bench.writer.tidy()
    seconds = time.thread_time() - before
    bench.area.publish(sidecar)
    return [seconds]


def _to_file(bench: RingBench) -> list[float]:
    bench.area.publish()
    return []

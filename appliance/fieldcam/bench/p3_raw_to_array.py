# SPDX-License-Identifier: MIT
"""P3: from a raw frame in the capture process to an array in another one, through the ring.

The clock runs from before the frame is put into a slot. An array of the consumer's own takes two copies at the least:
into the slot, and out of it; a view takes one. All are judged against copies of the same bytes in the same run, like
with like: what ends in an array that was there against a copy into such a one. That is the library's as well: it uses
the memory of a frame again that the consumer has dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fieldcam.bench import ring_bench
from fieldcam.bench.consumer_process import ConsumerProcess
from fieldcam.bench.memcpy import Memcpy, frame_bytes
from fieldcam.bench.p1_file_to_array import seconds_between
from fieldcam.bench.row import Plan, Progress, Row, judge, milliseconds, size_words
from fieldcam.bench.samples import Summary, summarize
from fieldcam.bench.waiting import pause

COPIES = 2.0
VIEW_SECONDS = 0.002
WARM_UP = 4
WAIT_SECONDS = 0.03
WAYS = ("view", "reused", "fresh")


@dataclass(slots=True)
class Measured:
    """Seconds of everything.

    Attributes:
        raw_to: from the raw frame to the array, by way: `view`, `reused`, `fresh`, and `library`, in memory used again.
        published_to_view: from the slot's own stamp to the view.
        publishing: of the writer's call.
    """

    raw_to: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in (*WAYS, "library")})
    published_to_view: list[float] = field(default_factory=list)
    publishing: list[float] = field(default_factory=list)


def measure(plan: Plan, progress: Progress) -> list[Row]:
    """Measure on /dev/shm.

    Raises:
        NotMeasuredError: a frame did not arrive, or there is too little RAM.
    """
    done = Measured()
    with (
        ring_bench.running(plan.hand_off_size) as bench,
        progress("P3 raw frame to array", 2 * plan.raw_frames) as step,
    ):
        memcpy = Memcpy(bench.pixels)
        # One after the other: the library's threads hear of every frame.
        for kind, arguments, ways in (
            ("ring", (bench.folder, bench.area.volume_id), WAYS),
            ("library", (bench.area.root, bench.folder), ("library",)),
        ):
            after = [str(bench.area.last_sequence)] if kind == "library" else []
            with ConsumerProcess(kind, *arguments, *after) as consumer:
                for turn in range(-WARM_UP, plan.raw_frames):
                    for way in ways:
                        _one(bench, consumer, way, done if turn >= 0 else Measured())
                    memcpy.copy()
                    if turn >= 0:
                        step()
    return rows(plan, done, memcpy.reused, memcpy.fresh)


def rows(plan: Plan, done: Measured, reused: Summary, fresh: Summary) -> list[Row]:
    """Return the lines: the consumer's own array, what the library gives, the view, and the notice of it."""
    size = size_words(plan.hand_off_size)
    raw = {way: summarize(seconds) for way, seconds in done.raw_to.items()}
    view, publishing = summarize(done.published_to_view), summarize(done.publishing)
    copies = (
        f"one copy of {frame_bytes(plan.hand_off_size) / 1e6:.0f} MB in this process, same run: "
        f"{milliseconds(reused.median)} into an array that is there (p99 {milliseconds(reused.p99)}), "
        f"{milliseconds(fresh.median)} into a new one (p99 {milliseconds(fresh.p99)}); the bar is judged against the "
    )
    extra = (
        f"putting the frame into its slot takes {milliseconds(publishing.median)} of it (p99 "
        f"{milliseconds(publishing.p99)}); into a new array of the consumer's own it is "
        f"{milliseconds(raw['fresh'].median)} in all (p99 {milliseconds(raw['fresh'].p99)})"
    )
    how = {
        "reused": ("the consumer's own array, reused", reused, copies + "former; " + extra),
        "view": ("a view without a copy", reused, copies + "former"),
        "library": (
            "wait_for_frame() of the library, each frame dropped before the next",
            reused,
            copies + f"former, as the library uses the memory again; {raw['library'].median / fresh.median:.2f} × the "
            "latter, which is what a consumer pays who makes such an array himself",
        ),
    }
    samples = {f"raw_to_{way}_seconds": summary for way, summary in raw.items()}
    samples |= {"memcpy_reused_seconds": reused, "memcpy_fresh_seconds": fresh, "publishing_seconds": publishing}
    lines = [
        Row(
            row="P3",
            what=f"raw frame to array in another process, {size}: {what}",
            ours=f"median {milliseconds(raw[way].median)}, p99 {milliseconds(raw[way].p99)}",
            baseline=f"{milliseconds(against.median)} (one memcpy)",
            ratio=raw[way].median / against.median,
            bar="median ≤ 2 × memcpy",
            verdict=judge(holds=raw[way].median <= COPIES * against.median),
            notes=(note,),
            samples=samples if way == "reused" else {},
        )
        for way, (what, against, note) in how.items()
    ]
    lines.append(
        Row(
            row="P3",
            what=f"published to view without a copy, {size}",
            ours=f"median {milliseconds(view.median)}, p99 {milliseconds(view.p99)}",
            baseline=f"{milliseconds(reused.median)} (one memcpy)",
            ratio=view.median / reused.median,
            bar="median ≤ 2 ms",
            verdict=judge(holds=view.median <= VIEW_SECONDS),
            notes=(f"from the stamp in the slot to the mapped array, {view.n} frames, one reader on /dev/shm",),
            samples={"published_to_view_seconds": view},
        )
    )
    return lines


def _one(bench: ring_bench.RingBench, consumer: ConsumerProcess, way: str, done: Measured) -> None:
    """Publish one raw frame to one consumer."""
    consumer.expect("array" if way == "library" else way)
    pause(WAIT_SECONDS)
    published = bench.publish_pixels(consumer)
    done.publishing.append((bench.area.now_ns() - published.at_ns) / 1e9)
    taken = consumer.taken()
    done.raw_to[way].append(seconds_between(published, taken))
    if way == "view":
        done.published_to_view.append((taken.seen_ns - taken.published_at_ns) / 1e9)

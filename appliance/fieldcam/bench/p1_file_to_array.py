# SPDX-License-Identifier: MIT
"""P1: from a file that was just published to its pixels in a consumer's process.

Ours, the bare decoder and the documented design take turns; each waits while the others work. All three give the
consumer an array of its own. One that drops each frame, as these do, gets the same memory again from our library. So
that is judged against the bare decoder into an array that is there; the documented design makes a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from fieldcam.bench.consumer_kinds import Taken
from fieldcam.bench.consumer_process import ConsumerProcess
from fieldcam.bench.documented_design import POLL_SECONDS
from fieldcam.bench.published import KEPT_FRAMES, Area, Published, disk_folder, draw_pictures
from fieldcam.bench.row import NotMeasuredError, Plan, Progress, Row, Size, judge, milliseconds, size_words
from fieldcam.bench.samples import summarize
from fieldcam.bench.waiting import pause

BARE_SHARE, BARE_MORE_SECONDS = 1.15, 0.005
DOCUMENTED_SHARE = 0.5
WARM_UP = 3
WAIT_SECONDS = 0.05  # before a frame: the consumer is waiting by then, as it mostly is
_GOLDEN = 0.618_033_988_75


@dataclass(slots=True)
class Measured:
    """Seconds of everything."""

    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    bare_reused: list[float] = field(default_factory=list)
    documented: list[float] = field(default_factory=list)
    picture_bytes: float = 0.0


def measure(plan: Plan, progress: Progress) -> list[Row]:
    """Measure on a disk.

    Raises:
        NotMeasuredError: a consumer got no frame.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(disk_folder())
        pictures = draw_pictures(plan.hand_off_size)
        done = Measured(picture_bytes=float(len(pictures[0])))
        # One area for each: neither hears of the other's frames.
        area, other_area = (make_area(folder / name, pictures, plan.hand_off_size) for name in ("ours", "documented"))
        _write_pictures(folder / "pictures", pictures)
        ours = stack.enter_context(ConsumerProcess("library", area.root, "", str(area.last_sequence)))
        bare = stack.enter_context(ConsumerProcess("bare", folder / "pictures"))
        documented = stack.enter_context(ConsumerProcess("documented", other_area.live))
        step = stack.enter_context(progress("P1 file to array", plan.frames))
        for turn in range(-WARM_UP, plan.frames):
            times = (
                publish_and_wait(area, ours, WAIT_SECONDS),
                _decode_bare(bare, "fresh"),
                publish_and_wait(other_area, documented, poll_phase(turn)),
                _decode_bare(bare, "reused"),
            )
            if turn >= 0:
                done.ours.append(times[0])
                done.bare.append(times[1])
                done.documented.append(times[2])
                done.bare_reused.append(times[3])
                step()
    return [row(plan, done)]


def make_area(folder: Path, pictures: Sequence[bytes], size: Size) -> Area:
    """Make a folder and an area in it."""
    folder.mkdir()
    return Area(folder, pictures, size)


def publish_and_wait(area: Area, consumer: ConsumerProcess, wait_seconds: float) -> float:
    """Publish a frame that a consumer waits for; return the seconds until it has it.

    Raises:
        NotMeasuredError: it got none, or another one.
    """
    consumer.expect("array")
    pause(wait_seconds)
    published = area.publish()
    return seconds_between(published, consumer.taken())


def seconds_between(published: Published, taken: Taken) -> float:
    """Return how long a frame took to the consumer's array.

    Raises:
        NotMeasuredError: the consumer has another frame.
    """
    if taken.key not in {published.filename, str(published.sequence)}:
        raise NotMeasuredError(f"the consumer has frame {taken.key}, published was {published}")
    return (taken.at_ns - published.at_ns) / 1e9


def poll_phase(turn: int) -> float:
    """Return how long to wait so that the frames of many turns fall evenly into the poll's 0.1 s."""
    return WAIT_SECONDS + POLL_SECONDS * (turn * _GOLDEN % 1)


def row(plan: Plan, done: Measured) -> Row:
    """Return the line."""
    ours, bare, documented = summarize(done.ours), summarize(done.bare), summarize(done.documented)
    reused = summarize(done.bare_reused)
    bar = BARE_SHARE * reused.median + BARE_MORE_SECONDS
    holds = ours.median <= bar and ours.median <= DOCUMENTED_SHARE * documented.median
    return Row(
        row="P1",
        what=f"file published to array in a consumer, {size_words(plan.hand_off_size)}",
        ours=f"median {milliseconds(ours.median)}, p99 {milliseconds(ours.p99)}",
        baseline=f"documented {milliseconds(documented.median)}, bare decode {milliseconds(reused.median)}",
        ratio=ours.median / documented.median,
        bar=f"≤ 1.15 × bare + 5 ms (= {milliseconds(bar)}) and ≤ 0.5 × documented",
        verdict=judge(holds=holds),
        notes=(
            (
                f"{ours.n} frames of {done.picture_bytes / 1e6:.1f} MB, hand-off area on disk with {KEPT_FRAMES} "
                "frames; ours: wait_for_frame() of a provider without a ring, an array of its own; "
                f"{ours.median / reused.median:.2f} × the bare decode, {documented.median / ours.median:.2f} × faster "
                "than the documented design"
            ),
            (
                "bare: simplejpeg.decode_jpeg of bytes in memory into an array that is there, as the library does for "
                f"a consumer that drops each frame, in a process that waited as long; p99 {milliseconds(reused.p99)}; "
                f"into a new array {milliseconds(bare.median)}"
            ),
            (
                f"documented: poll every 0.1 s + cv2.imread, p99 {milliseconds(documented.p99)}, worst "
                f"{milliseconds(documented.max)}; it gets its files by rename, too, which it never did"
            ),
        ),
        samples={
            "ours_seconds": ours,
            "bare_seconds": bare,
            "bare_reused_seconds": reused,
            "documented_seconds": documented,
        },
        figures={"bar_seconds": bar, "picture_bytes": done.picture_bytes},
    )


def _decode_bare(bare: ConsumerProcess, how: str) -> float:
    pause(WAIT_SECONDS)
    bare.expect(how)
    taken = bare.taken()
    return (taken.at_ns - taken.seen_ns) / 1e9


def _write_pictures(folder: Path, pictures: list[bytes]) -> None:
    folder.mkdir()
    for number, picture in enumerate(pictures):
        (folder / f"{number}.jpg").write_bytes(picture)

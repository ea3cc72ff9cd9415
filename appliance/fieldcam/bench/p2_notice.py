# SPDX-License-Identifier: MIT
"""P2: how soon a consumer knows of a new file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from fieldcam.bench.consumer_process import ConsumerProcess
from fieldcam.bench.p1_file_to_array import make_area, poll_phase, seconds_between
from fieldcam.bench.published import KEPT_FRAMES, Area, disk_folder, draw_pictures
from fieldcam.bench.row import Plan, Progress, Row, judge, milliseconds
from fieldcam.bench.samples import summarize
from fieldcam.bench.waiting import pause

BAR_SECONDS = 0.005
DOCUMENTED_SECONDS = 0.100
WARM_UP = 3
POLLS_SHARE = 5  # one poll takes as long as many notices
WAIT_SECONDS = 0.01


def measure(plan: Plan, progress: Progress) -> list[Row]:
    """Measure on a disk.

    Raises:
        NotMeasuredError: a file was not seen.
    """
    ours: list[float] = []
    poll: list[float] = []
    with ExitStack() as stack:
        folder, pictures = stack.enter_context(disk_folder()), draw_pictures(plan.hand_off_size)
        area, other_area = (make_area(folder / name, pictures, plan.hand_off_size) for name in ("ours", "documented"))
        watching = stack.enter_context(ConsumerProcess("notice", area.live))
        polling = stack.enter_context(ConsumerProcess("documented", other_area.live))
        mode = str(watching.facts()["mode"])
        step = stack.enter_context(progress("P2 notice", plan.notices))
        for turn in range(-WARM_UP, plan.notices):
            seconds = _notice(area, watching, WAIT_SECONDS)
            if turn >= 0:
                ours.append(seconds)
                step()
            if turn % POLLS_SHARE == 0:
                poll.append(_notice(other_area, polling, poll_phase(turn // POLLS_SHARE)))
    return [row(ours, poll, mode)]


def row(ours_seconds: Sequence[float], poll_seconds: Sequence[float], mode: str) -> Row:
    """Return the line."""
    ours, poll = summarize(ours_seconds), summarize(poll_seconds)
    return Row(
        row="P2",
        what="notice of a new file",
        ours=f"p99 {milliseconds(ours.p99)}, median {milliseconds(ours.median)}",
        baseline=f"p99 {milliseconds(poll.p99)}, median {milliseconds(poll.median)} (poll, 0.1 s)",
        ratio=ours.p99 / poll.p99,
        bar="p99 ≤ 5 ms",
        verdict=judge(holds=mode == "inotify" and ours.p99 <= BAR_SECONDS),
        notes=(
            (
                f"{ours.n} renames into live/ on disk, which holds {KEPT_FRAMES} frames, to the name in another "
                f"process: FolderWatch by {mode}, and the folder listed"
                + ("" if mode == "inotify" else "; set TMPDIR to a folder on a disk, where inotify works")
            ),
            f"baseline: the documented poll every 0.1 s, {poll.n} files spread evenly over its interval",
            (
                f"documented promise: detection ≤ 100 ms; worst here {milliseconds(ours.max)}: "
                f"{'holds' if ours.max <= DOCUMENTED_SECONDS else 'SHORT'}"
            ),
        ),
        samples={"notice_seconds": ours, "poll_seconds": poll},
    )


def _notice(area: Area, consumer: ConsumerProcess, wait_seconds: float) -> float:
    consumer.expect("notice")
    pause(wait_seconds)
    published = area.publish()
    return seconds_between(published, consumer.taken())

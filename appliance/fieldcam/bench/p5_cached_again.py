# SPDX-License-Identifier: MIT
"""P5: the frame that a consumer had already, once more: as a view, and as an array of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from fieldcam.bench.memcpy import Memcpy, frame_bytes
from fieldcam.bench.published import Area, disk_folder, draw_pictures
from fieldcam.bench.row import NotMeasuredError, Plan, Progress, Row, judge, milliseconds, size_words
from fieldcam.bench.samples import Summary, summarize
from fieldcam.core.jpeg import decode
from fieldcam.provider.provider import SharedVolumeImageProvider

VIEW_SECONDS = 50e-6
COPIES = 1.3
DOCUMENTED_SECONDS = 0.050
MAX_AGE_SECONDS = 3600.0
VIEWS_PER_TURN = 20
WARM_UP = 3


@dataclass(slots=True)
class Measured:
    """Seconds of a view and of an array of one's own, by `latest_frame` and by the documented `get_latest_image`."""

    views: list[float] = field(default_factory=list)
    copies: list[float] = field(default_factory=list)
    documented_call: list[float] = field(default_factory=list)


def measure(plan: Plan, progress: Progress) -> list[Row]:
    """Measure a provider over files, without a ring, in this process.

    Raises:
        NotMeasuredError: the provider found no frame.
    """
    done = Measured()
    with ExitStack() as stack:
        area = Area(stack.enter_context(disk_folder()), draw_pictures(plan.hand_off_size), plan.hand_off_size)
        published = area.publish()
        memcpy = Memcpy([decode(area.picture(published.sequence))])
        provider = stack.enter_context(
            SharedVolumeImageProvider(area.root, ring_dir="", max_age_seconds=MAX_AGE_SECONDS)
        )
        step = stack.enter_context(progress("P5 cached frame again", plan.cached))
        for turn in range(-WARM_UP, plan.cached):
            found = _turn(provider, memcpy)
            if turn >= 0:
                done.views += found.views
                done.copies += found.copies
                done.documented_call += found.documented_call
                step()
    return rows(plan, done, memcpy.reused, memcpy.fresh)


def rows(plan: Plan, done: Measured, reused: Summary, fresh: Summary) -> list[Row]:
    """Return the lines."""
    view, copy, call = summarize(done.views), summarize(done.copies), summarize(done.documented_call)
    size = size_words(plan.hand_off_size)
    return [
        Row(
            row="P5",
            what=f"cached frame again, view, {size}",
            ours=f"median {view.median * 1e6:.0f} µs, p99 {view.p99 * 1e6:.0f} µs",
            baseline=f"{milliseconds(fresh.median)} (one memcpy, new array)",
            ratio=view.median / fresh.median,
            bar="≤ 50 µs",
            verdict=judge(holds=view.median <= VIEW_SECONDS),
            notes=(f"latest_view() opened and closed again, {view.n} times; worst {milliseconds(view.max)}",),
            samples={"view_seconds": view},
        ),
        Row(
            row="P5",
            what=f"cached frame again, array of one's own, {size}",
            ours=f"median {milliseconds(copy.median)}, p99 {milliseconds(copy.p99)}",
            baseline=f"{milliseconds(fresh.median)} (one memcpy, new array)",
            ratio=copy.median / fresh.median,
            bar="≤ 1.3 × memcpy",
            verdict=judge(holds=copy.median <= COPIES * fresh.median),
            notes=(
                (
                    "latest_frame(), a new array each time, as the memcpy it is judged against "
                    f"({frame_bytes(plan.hand_off_size) / 1e6:.0f} MB, p99 {milliseconds(fresh.p99)}); the memcpy into "
                    f"an array that is there takes {milliseconds(reused.median)}"
                ),
            ),
            samples={"copy_seconds": copy, "memcpy_fresh_seconds": fresh, "memcpy_reused_seconds": reused},
        ),
        Row(
            row="doc",
            what=f"cached frame, get_latest_image(), {size}",
            ours=f"worst {milliseconds(call.max)}, median {milliseconds(call.median)}",
            baseline="50 ms (documented)",
            ratio=call.max / DOCUMENTED_SECONDS,
            bar="≤ 50 ms",
            verdict=judge(holds=call.max <= DOCUMENTED_SECONDS),
            samples={"cached_frame_seconds": call},
        ),
    ]


def _turn(provider: SharedVolumeImageProvider, memcpy: Memcpy) -> Measured:
    found = Measured()
    provider.latest_frame()  # decoded, if it was given up
    for _ in range(VIEWS_PER_TURN):
        found.views.append(_timed(lambda: _look(provider)))
    found.copies.append(_timed(provider.latest_frame))
    memcpy.copy()
    found.documented_call.append(_timed(lambda: _get(provider)))
    return found


def _timed(action: Callable[[], object]) -> float:
    """Do it; return the seconds. What it returns is given back after the clock stopped."""
    started = time.perf_counter()
    result = action()
    seconds = time.perf_counter() - started
    del result
    return seconds


def _look(provider: SharedVolumeImageProvider) -> None:
    with provider.latest_view() as view:
        if view.image.size == 0:
            raise NotMeasuredError("the view is empty")


def _get(provider: SharedVolumeImageProvider) -> Sequence[object]:
    found = provider.get_latest_image()
    if not found[0]:
        raise NotMeasuredError("the provider found no frame")
    return found

# SPDX-License-Identifier: MIT
"""What cleanup removes: pure decisions, without a disk and without a clock.

Whatever is asked for, these stay: the newest 10 of each camera, whatever is younger than a minute (its capture may
still be under way), whatever is pinned, and whatever's age nobody can know. And a pass that would take more than half
of what a camera has is refused as a whole: that is a wrong clock or a wrong setting, not housekeeping.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fieldcam.core.clock import Instant

KEEP_NEWEST = 10
MIN_AGE_SECONDS = 60.0
TRUSTED_TIME = frozenset({"synchronized", "assumed"})


@dataclass(frozen=True, slots=True)
class CaptureFact:
    """A capture that may be too old; `age_seconds` is None when nobody can know it."""

    stem: str
    id: int
    age_seconds: float | None
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class LiveFact:
    """A live frame: where it stands in the order of frames (earlier ones sort first), and its age."""

    stem: str
    order: tuple[bool, int, int]
    age_seconds: float | None
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Stems to remove, or why none is."""

    remove: tuple[str, ...] = ()
    refused: str | None = None


def captures_too_old(
    facts: Sequence[CaptureFact], *, max_age_seconds: float, newest_ids: Collection[int], total: int, expired: int
) -> Decision:
    """Decide which captures of a camera are removed for their age.

    Args:
        facts: captures that may be too old.
        max_age_seconds: the age allowed.
        newest_ids: ids of the newest `KEEP_NEWEST` captures of this camera.
        total: how many captures this camera has.
        expired: how many of them are older than allowed, those in `facts` and others.
    """
    remove = tuple(
        fact.stem
        for fact in facts
        if fact.age_seconds is not None
        and fact.age_seconds > max(max_age_seconds, MIN_AGE_SECONDS)
        and fact.id not in newest_ids
        and not fact.pinned
    )
    # `facts` may be one portion of many, so what counts is how many would go in the end.
    return _unless_too_many(remove, max(len(remove), min(expired, total - len(newest_ids))), total)


def live_beyond_limit(facts: Sequence[LiveFact], *, max_images: int) -> Decision:
    """Decide which live frames of a camera are removed while its capture process, which rolls them, is away."""
    in_order = sorted(facts, key=lambda fact: fact.order)
    beyond = in_order[: max(0, len(in_order) - max(max_images, KEEP_NEWEST))]
    remove = tuple(fact.stem for fact in beyond if is_settled(fact.age_seconds) and not fact.pinned)
    return _unless_too_many(remove, len(remove), len(facts))


def is_settled(age_seconds: float | None) -> bool:
    """Return whether a file is surely older than a minute."""
    return age_seconds is not None and age_seconds >= MIN_AGE_SECONDS


def age_of(moment: Instant, now: Instant, *, wall_times_trusted: bool) -> float | None:
    """Return how long ago a moment was, in seconds; None when nobody can know.

    Args:
        moment: of the frame.
        now: the present.
        wall_times_trusted: both the clock of today and the one the frame was stamped with were right.
    """
    if moment.boot_id == now.boot_id:
        return (now.boottime_ns - moment.boottime_ns) / 1e9
    if wall_times_trusted:
        return (now.wall_ns - moment.wall_ns) / 1e9
    return None


def least_age_of(moment: Instant, now: Instant) -> float:
    """Return the age in seconds that a frame has at least, without trusting any wall clock.

    A frame of an earlier boot is at least as old as this boot.
    """
    if moment.boot_id == now.boot_id:
        return (now.boottime_ns - moment.boottime_ns) / 1e9
    return now.boottime_ns / 1e9


def _unless_too_many(remove: tuple[str, ...], affected: int, total: int) -> Decision:
    if remove and 2 * affected > total:
        return Decision(refused=f"{affected} of {total} would go: more than half at once is refused")
    return Decision(remove)

# SPDX-License-Identifier: MIT
"""One line of the result, and what a measurement is given to work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fieldcam.bench.samples import Summary

Verdict = Literal["pass", "short", "info"]
Size = tuple[int, int]
# Takes a label and a number of steps; inside the block, each call says that one more step is done.
Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]

FULL_SIZE: Size = (4056, 3040)


class NotMeasuredError(Exception):
    """A row could not be measured; the message says why. It ends the command with 1, a short bar does not."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line.

    Attributes:
        row: P6 …, or `doc` for a figure of the reference documents.
        what: what was measured.
        ours, baseline, bar: in words, with units.
        ratio: ours divided by the baseline; None where that has no meaning.
        verdict: `info` where there is no bar.
        notes: what a reader must know to judge the line.
        samples: every set of samples behind it, by name with unit.
        figures: single numbers behind it, by name with unit.
    """

    row: str
    what: str
    ours: str
    baseline: str
    ratio: float | None
    bar: str
    verdict: Verdict
    notes: tuple[str, ...] = ()
    samples: Mapping[str, Summary] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        quick: small sizes, for CI: proves that the benchmark works and nothing else.
        live_seconds: length of the run in live mode (P8, P12).
        settle_seconds: how long live mode runs before it is looked at.
        captures: how many captures of each size (P6).
        sizes: sizes of the captures.
        live_size: size of the live frames.
        starts: how often the appliance is started (P14).
        loop_turns: turns of the documented loop (P8, P12).
        probe_seconds: length of the short measurements (streams, requests).
        hand_off_size: size of the frames handed to consumers (P1 to P5).
        frames: how many files are handed over (P1).
        notices: how many files are noticed (P2).
        raw_frames: how many raw frames are handed over each way (P3).
        jitter_seconds: length of a block with eight readers (P3).
        stream_seconds: length of a block at 1 Hz (P4, provider).
        blocks: how many blocks of each kind.
        cached: how often a cached frame is taken again (P5).
        checkout: a checkout to run `make up` in a copy of; None leaves that line out.
    """

    quick: bool
    live_seconds: float
    settle_seconds: float
    captures: int
    sizes: tuple[Size, ...]
    live_size: Size
    starts: int
    loop_turns: int
    probe_seconds: float
    hand_off_size: Size
    frames: int
    notices: int
    raw_frames: int
    jitter_seconds: float
    stream_seconds: float
    blocks: int
    cached: int
    checkout: Path | None

    @classmethod
    def full(cls, seconds: float | None, checkout: Path | None) -> Plan:
        """Return the plan behind the figures in docs/performance.md: about 20 minutes."""
        return cls(
            quick=False,
            live_seconds=seconds or 600.0,
            settle_seconds=5.0,
            captures=200,
            sizes=((640, 480), (1920, 1080), FULL_SIZE),
            live_size=FULL_SIZE,
            starts=3,
            loop_turns=20,
            probe_seconds=5.0,
            hand_off_size=FULL_SIZE,
            frames=80,
            notices=300,
            raw_frames=100,
            jitter_seconds=12.0,
            stream_seconds=8.0,
            blocks=4,
            cached=100,
            checkout=checkout,
        )

    @classmethod
    def small(cls, seconds: float | None) -> Plan:
        """Return the plan of CI: below a minute; its figures mean nothing."""
        return cls(
            quick=True,
            live_seconds=seconds or 6.0,
            settle_seconds=1.0,
            captures=20,
            sizes=((640, 480), FULL_SIZE),
            live_size=FULL_SIZE,
            starts=1,
            loop_turns=2,
            probe_seconds=1.0,
            hand_off_size=(1280, 960),  # the RAM of a container is small, and 8 readers want slots
            frames=3,
            notices=10,
            raw_frames=3,
            jitter_seconds=0.5,
            stream_seconds=1.0,
            blocks=1,
            cached=5,
            checkout=None,
        )


def judge(*, holds: bool) -> Verdict:
    """Return the verdict on a bar."""
    return "pass" if holds else "short"


def milliseconds(seconds: float) -> str:
    """Return a duration in words."""
    return f"{seconds * 1000:.1f} ms"


def size_words(size: Size) -> str:
    """Return a size in words."""
    return f"{size[0]}×{size[1]}"

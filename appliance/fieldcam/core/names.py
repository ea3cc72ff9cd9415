# SPDX-License-Identifier: MIT
"""File names of frames (contract section 1).

`capture_YYYYMMDD_HHMMSS_mmm`, UTC; with numbers `capture_<sample_no>_<submission_no>_YYYYMMDD_HHMMSS_mmm`. A name is
never used twice, not even after its file was deleted, and the clock may stand still or go back. So a name belongs to a
*generation*: the first has no suffix and only ever uses times later than any before; when the time is not later, the
next generation `_2`, `_3` … is used, within which times rise again. A pair (generation, millisecond) is thus used at
most once, and two numbers per folder are all that has to be remembered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

PREFIX = "capture"
SAMPLE_NUMBER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
CAMERA_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
SERVICE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")  # a consumer's: part of a path, as a camera's is
_STEM = re.compile(
    r"capture_(?:(?P<numbers>.+)_)?(?P<date>\d{8})_(?P<time>\d{6})_(?P<ms>\d{3})(?:_(?P<generation>[2-9]|[1-9]\d+))?"
)


@dataclass(frozen=True, slots=True)
class ParsedName:
    """What a file name says."""

    wall_ms: int
    generation: int


@lru_cache(maxsize=4096)  # a folder is listed again and again, and its names are the same
def parse(stem: str) -> ParsedName | None:
    """Return what the stem of a file name says, or None when it is not a name of ours."""
    match = _STEM.fullmatch(stem)
    if match is None:
        return None
    try:
        moment = datetime.strptime(match["date"] + match["time"], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return ParsedName(int(moment.timestamp()) * 1000 + int(match["ms"]), int(match["generation"] or 1))


def format_stem(
    wall_ms: int, generation: int = 1, sample_no: str | None = None, submission_no: str | None = None
) -> str:
    """Return the stem of a file name. The numbers must have been checked against `SAMPLE_NUMBER`."""
    moment = datetime.fromtimestamp(wall_ms // 1000, UTC)
    parts = [PREFIX, *(number for number in (sample_no, submission_no) if number)]
    parts += [f"{moment:%Y%m%d}", f"{moment:%H%M%S}", f"{wall_ms % 1000:03d}"]
    if generation > 1:
        parts.append(str(generation))
    return "_".join(parts)


@dataclass(frozen=True, slots=True)
class NameState:
    """What must be remembered so that no name is given twice.

    Attributes:
        high_ms: the latest millisecond any name was given in, in any generation.
        generation: the highest generation used (1 = no suffix was ever needed).
        generation_ms: the latest millisecond used in that generation.
    """

    high_ms: int = -1
    generation: int = 1
    generation_ms: int = -1

    def next(self, wall_ms: int) -> tuple[NameState, int]:
        """Return the state after a name was given at `wall_ms`, and the generation that name belongs to."""
        if wall_ms > self.high_ms:
            return NameState(wall_ms, self.generation, self.generation_ms), 1
        if self.generation > 1 and wall_ms > self.generation_ms:
            return NameState(self.high_ms, self.generation, wall_ms), self.generation
        return NameState(self.high_ms, self.generation + 1, wall_ms), self.generation + 1

    def with_seen(self, name: ParsedName) -> NameState:
        """Return the state after a file of that name was found on disk."""
        high_ms = max(self.high_ms, name.wall_ms)
        if name.generation > self.generation:
            return NameState(high_ms, name.generation, name.wall_ms)
        if name.generation == self.generation:
            return NameState(high_ms, self.generation, max(self.generation_ms, name.wall_ms))
        return NameState(high_ms, self.generation, self.generation_ms)

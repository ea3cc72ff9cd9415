# SPDX-License-Identifier: MIT
"""One thing that is followed from frame to frame: where it was seen, and what that says of its motion."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from services.geometry import Box, Point

_FIT_SECONDS = 0.5  # speed is fitted to the sightings of that time
_STANDING_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where a track was seen.

    Attributes:
        at: seconds.
        center: pixels.
        box: pixels.
        is_cut: a part of it is out of the picture.
        is_merged: it was in one blob with another, so `center` and `box` are where it must have been.
    """

    at: float
    center: Point
    box: Box
    is_cut: bool
    is_merged: bool = False


@dataclass(slots=True, eq=False)
class Claim:
    """The right to be counted, once: pieces of one vehicle have it together."""

    is_counted: bool = False

    def join(self, other: Claim) -> Claim:
        """Return this claim, for both to have: it is used up if either was."""
        self.is_counted = self.is_counted or other.is_counted
        return self


@dataclass(slots=True, eq=False)
class Track:
    """One thing that is followed."""

    sightings: list[Sighting]
    area: float
    colour: tuple[float, float, float]
    claim: Claim = field(default_factory=Claim)
    neighbour: Track | None = None  # it appeared right beside this one: perhaps a piece of it
    own: int = 0  # the first of the sightings that is its own, not of the track that it came out of

    @property
    def last(self) -> Sighting:
        """The newest sighting."""
        return self.sightings[-1]

    @property
    def is_new(self) -> bool:
        """Whether it was seen once only, so that nobody knows where it goes."""
        return len(self.sightings) == 1

    def velocity(self) -> Point:
        """Return pixels a second, from the newest sightings; nothing for a new one."""
        recent = [seen for seen in self.sightings[-12:] if self.last.at - seen.at <= _FIT_SECONDS]
        if len(recent) < 3:
            recent = self.sightings[-3:]
        if len(recent) < 2:
            return Point(0, 0)
        at = np.array([seen.at for seen in recent])
        at -= at.mean()
        weight = at / float((at**2).sum())
        x, y = (np.array([getattr(seen.center, axis) for seen in recent]) for axis in "xy")
        return Point(float(weight @ x), float(weight @ y))

    def has_stood(self, distance: float) -> bool:
        """Return whether it stood for some seconds, moving by no more than `distance` pixels."""
        recent = [seen for seen in self.sightings if self.last.at - seen.at <= _STANDING_SECONDS]
        return (
            len(recent) < len(self.sightings)
            and len(recent) > 2
            and all((seen.center - self.last.center).length < distance for seen in recent)
        )

    def expected(self, at: float) -> Point:
        """Return where it should be."""
        return self.last.center + self.velocity().times(at - self.last.at)

# SPDX-License-Identifier: MIT
"""Counts vehicles that cross a line, by direction, from pictures and the moments of their exposure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from services.blobs import BlobFinder
from services.geometry import Line, Point, region_mask
from services.movement import MovementFinder
from services.track import Sighting, Track
from services.tracker import Tracker

if TYPE_CHECKING:
    import numpy.typing as npt

State = Literal["settling", "watching"]
_LONGEST_FORGETTING = 300.0  # seconds without a frame, after which the scene is learned anew as well
_SLOW = 0.35  # seconds between frames, from which two sightings must do
_SHORTEST_GAP = 0.6
_USUAL_STEPS = 2.5  # usual steps that make a gap

MIDDLE = Line(Point(0.5, 0.0), Point(0.5, 1.0))  # from top to bottom


@dataclass(frozen=True, slots=True)
class CounterSettings:
    """Where and what is counted; places are fractions of the picture.

    Attributes:
        line: vehicles are counted when they cross it.
        labels: names of the two directions: to the positive side of the line (`geometry.Line`), and back.
        region: corners of the polygon that is looked at; None is the whole picture.
        least_area: share of the picture (0..1) that a vehicle covers at least.
        width: pixels to which a picture is reduced; more sees smaller vehicles and takes more time, by its square.
    """

    line: Line = MIDDLE
    labels: tuple[str, str] = ("to_right", "to_left")
    region: tuple[Point, ...] | None = None
    least_area: float = 0.001
    width: int = 480


@dataclass(frozen=True, slots=True)
class Crossing:
    """A vehicle crossed the line.

    Attributes:
        at_ns: exposure of the frame in which it was beyond the line.
        direction: one of the labels.
        step: how far it went from frame to frame, as a share of the picture's width; above 0.2 others are missed.
    """

    at_ns: int
    direction: str
    step: float


@dataclass(frozen=True, slots=True)
class FrameOutcome:
    """What one picture showed.

    Attributes:
        crossings: vehicles that crossed the line since the picture before.
        state: `settling` while the scene is learned: nothing is counted then.
        brightness: mean grey of the region, 0..255.
        missed: frames that should have been between this and the one before, as far as the usual pace tells.
        seconds: since the picture before; None for the first.
        shifted: pixels of the reduced picture by which the camera was moved.
    """

    crossings: tuple[Crossing, ...]
    state: State
    brightness: float
    missed: int
    seconds: float | None
    shifted: float


class VehicleCounter:
    """Counts vehicles. One camera, one thread.

    Args:
        settings: where and what.
    """

    def __init__(self, settings: CounterSettings) -> None:
        self._settings = settings
        self._view: tuple[int, int] | None = None
        self._last_ns: int | None = None
        self._steps: deque[float] = deque(maxlen=15)
        self._size = (0, 0)
        self._line = settings.line
        self._region = np.zeros((1, 1), np.uint8)
        self._movement = MovementFinder(np.zeros((32, 32), np.uint8))
        self._blobs = BlobFinder(32, 32, least_area=1, travel=Point(1, 0))
        self._tracker = Tracker(settings.line, 1)

    @property
    def usual_seconds(self) -> float | None:
        """Seconds from frame to frame, as they usually are; None before the third frame."""
        return median(self._steps) if len(self._steps) >= 2 else None

    def update(
        self, picture: npt.NDArray[np.uint8], at_ns: int, view: tuple[int, int] | None = None
    ) -> FrameOutcome | None:
        """Take the next picture; None when it is not newer than the one before.

        Args:
            picture: BGR uint8, of any size.
            at_ns: start of its exposure, on a clock that nobody sets.
            view: (width, height) of the camera's full picture, where `picture` may be reduced by different amounts. A
                change makes everything start anew.
        """
        view = view or (picture.shape[1], picture.shape[0])
        if view != self._view:
            self._start(view)
        if self._last_ns is not None and at_ns <= self._last_ns:
            if at_ns == self._last_ns:
                return None
            self._start(view)  # another boot: its clock began anew
        seconds = None if self._last_ns is None else (at_ns - self._last_ns) / 1e9
        self._last_ns = at_ns
        missed = self._note_step(seconds)
        small = np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        brightness = float(cv2.mean(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), self._region)[0])
        scene = self._movement.look(small, seconds or 0.0)
        if scene is None:
            self._tracker.forget()
            return FrameOutcome((), "settling", brightness, missed, seconds, 0.0)
        at = at_ns / 1e9
        self._tracker.follow(self._blobs.find(scene), at, self._patience())
        crossings = tuple(
            Crossing(at_ns, self._settings.labels[0 if self._distance(track.last) > 0 else 1], self._step(track))
            for track in list(self._tracker.seen_at(at))
            if self._crosses(track)
        )
        return FrameOutcome(crossings, "watching", brightness, missed, seconds, scene.shift.by.length)

    def _start(self, view: tuple[int, int]) -> None:
        """Begin anew, with pictures of another size."""
        width = min(self._settings.width, view[0])
        height = max(16, round(width * view[1] / view[0]))
        self._view, self._size = view, (width, height)
        self._line = self._settings.line.scaled(width, height)
        self._region = region_mask(self._settings.region, width, height)
        self._movement = MovementFinder(self._region)
        self._blobs = BlobFinder(
            width, height, least_area=max(12.0, self._settings.least_area * width * height), travel=self._line.normal
        )
        self._tracker = Tracker(self._line, width)
        self._last_ns = None
        self._steps.clear()

    def _note_step(self, seconds: float | None) -> int:
        """Note the time since the frame before; forget who is where when it was long. Return the frames missed."""
        if seconds is None:
            return 0
        usual = self.usual_seconds
        self._steps.append(seconds)
        if seconds > _LONGEST_FORGETTING:
            self._movement.start_anew()
        if seconds > max(_SHORTEST_GAP, _USUAL_STEPS * (usual or 1.0)):
            self._tracker.forget()
        return 0 if usual is None else max(0, round(seconds / usual) - 1)

    def _patience(self) -> float:
        return max(0.8, 2.2 * (self.usual_seconds or 1.0))

    def _distance(self, seen: Sighting) -> float:
        return self._line.distance(seen.center)

    def _step(self, track: Track) -> float:
        return round(track.velocity().length * (self.usual_seconds or 1.0) / self._size[0], 3)

    def _crosses(self, track: Track) -> bool:
        """Return whether the track has crossed the line, the first time that this is certain."""
        if track.claim.is_counted:
            return False
        now = track.last
        side = self._distance(now)
        clear = max(0.02 * self._size[0], 0.1 * self._tracker.extent(now.box))
        before = next((seen for seen in reversed(track.sightings) if self._distance(seen) * side < 0), None)
        if abs(side) < clear or before is None or not self._line.is_crossed(before.center, now.center):
            return False
        if not self._is_travelling(track) or self._tracker.is_piece_of_a_counted(track):
            return False
        track.claim.is_counted = True
        self._tracker.learn_lane(track)
        return True

    def _is_travelling(self, track: Track) -> bool:
        """Return whether it goes somewhere as a whole: no branch in the wind, no patch of light that grows."""
        seen = track.sightings
        least = 2 if (self.usual_seconds or 1.0) > _SLOW else 4
        first, now = seen[0], seen[-1]
        own = seen[track.own :]
        frames = (now.at - own[0].at) / (self.usual_seconds or 1.0)
        if len(own) < least or len(own) - 1 < 0.5 * frames:  # drops of rain make a way, but a patchy one
            return False
        travelled = self._distance(now) - self._distance(first)
        long = self._tracker.extent(now.box)
        if abs(travelled) < max(0.06 * self._size[0], 0.35 * long):
            return False
        if (now.center - first.center).length < 0.6 * self._way(seen):
            return False
        # Its far end must come along: what grows, such as a patch of light, keeps it where it was.
        sign = 1.0 if travelled > 0 else -1.0
        tail, tail_at_first = (self._distance(s) * sign - self._tracker.extent(s.box) / 2 for s in (now, first))
        return tail - tail_at_first > 0.3 * abs(travelled)

    def _way(self, seen: Sequence[Sighting]) -> float:
        """Return how long the way was, in steps that are longer than the trembling of a blob that stands."""
        way, anchor = 0.0, seen[0].center
        for sighting in seen[1:]:
            step = (sighting.center - anchor).length
            if step > 0.03 * self._size[0]:
                way, anchor = way + step, sighting.center
        return way


def total_by_direction(crossings: Sequence[Crossing], labels: tuple[str, str]) -> dict[str, int]:
    """Return how many crossed in each direction; both are always named."""
    return {label: sum(crossing.direction == label for crossing in crossings) for label in labels}

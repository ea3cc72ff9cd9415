# SPDX-License-Identifier: MIT
"""Following things that move from frame to frame, at 15 frames a second as well as at one.

A blob belongs to the track whose motion leads to it, if size and colour agree. Times are those of the exposures, so a
frame that was dropped is a longer step and nothing else. Two vehicles that pass each other become one blob for a while:
both tracks then go on as they went, inside that blob, until there are two again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.assignment import cheapest_pairs
from services.blobs import Blob
from services.geometry import Box, Line, Point
from services.track import Sighting, Track

if TYPE_CHECKING:
    import numpy.typing as npt

_FASTEST = 1.5  # widths a second
_LONGEST_STEP = 0.36  # widths from one frame to the next: further, a vehicle is taken for another
_SIZE_FACTOR = 2.6  # between two sightings; more with a part out of the picture
_COLOUR_LEVELS = 45.0  # of 255, between two sightings of one vehicle
_MOST_COST = 2.2
_INSIDE = 0.6  # of a track's box, to be part of a blob
_PIECE = 0.4  # of the area of what a piece belongs to
_PARKED_SECONDS = 900.0
_OUT_OF = 0.25  # of a new blob, that lies where something stood, to have come out of that
_LEAVING_SECONDS = 10.0  # in which what stood drives off: over the hole that it leaves in the background, in pieces
_STANDING = 0.03  # widths in which something stands
_FADING = 0.9  # of its area: what stands becomes a part of the scene bit by bit
_MOST_SIGHTINGS = 600
_BESIDE = 0.03  # widths: a gap in one vehicle


@dataclass(slots=True)
class _Parked:
    """Something that stood until it could not be told from the scene."""

    track: Track
    until: float


@dataclass(slots=True)
class _Lane:
    speed: float = 0.0
    vehicles: int = 0


class Tracker:
    """Follows blobs.

    Args:
        line: in pixels; vehicles go across it, which tells what "along the lane" is.
        width: of the pictures, in pixels.
    """

    def __init__(self, line: Line, width: int) -> None:
        self._line = line
        self._travel = line.normal
        self._across = Point(-self._travel.y, self._travel.x)
        self._width = width
        self._parked: list[_Parked] = []
        self._lanes: dict[int, _Lane] = {}
        self.tracks: list[Track] = []

    def forget(self) -> None:
        """Forget who is where: too much time passed."""
        self.tracks.clear()

    def follow(self, blobs: list[Blob], at: float, patience: float) -> None:
        """Take the blobs of the next picture.

        Args:
            blobs: what moves.
            at: seconds, later than before.
            patience: seconds for which a track that is not seen is kept.
        """
        pairs = cheapest_pairs(self._costs(blobs, at), _MOST_COST)
        track_of = {column: self.tracks[row] for row, column in pairs}
        blob_of = {id(self.tracks[row]): blobs[column] for row, column in pairs}
        boxes_before = {id(track): track.last.box for track in self.tracks}
        merged = self._advance_merged(blobs, blob_of, at)
        for index, blob in enumerate(blobs):
            track = track_of.get(index)
            if track is not None:
                if id(track) not in merged:
                    self._see(track, blob, at)
            elif index not in merged.values():
                self._begin(blob, at, boxes_before, blob_of)
        self._end_lost(at, patience)

    def learn_lane(self, track: Track) -> None:
        """Remember how fast vehicles go in the lane of a track that was counted."""
        lane = self._lanes.setdefault(self._lane_number(track.last.center), _Lane())
        lane.vehicles += 1
        speed = track.velocity().dot(self._travel)
        lane.speed += (speed - lane.speed) / min(lane.vehicles, 10)

    def _costs(self, blobs: list[Blob], at: float) -> npt.NDArray[np.float64]:
        costs = np.full((len(self.tracks), len(blobs)), np.inf)
        for (row, track), (column, blob) in itertools.product(enumerate(self.tracks), enumerate(blobs)):
            costs[row, column] = self._cost(track, blob, at)
        return costs

    def _cost(self, track: Track, blob: Blob, at: float) -> float:
        """Return how unlikely it is that the blob is the track: 0 for as expected, from 1 per doubt."""
        seconds = at - track.last.at
        factor = _SIZE_FACTOR * (2.0 if blob.is_cut or track.last.is_cut else 1.0)
        size_doubt = abs(math.log(blob.area / track.area)) / math.log(factor)
        if size_doubt > 1:
            return math.inf
        colour_doubt = math.dist(blob.colour, track.colour) / _COLOUR_LEVELS / math.sqrt(3)
        place_doubt = self._place_doubt(track, blob, seconds)
        return place_doubt + 0.5 * size_doubt**2 + 0.7 * min(colour_doubt, 1.5) ** 2

    def _place_doubt(self, track: Track, blob: Blob, seconds: float) -> float:
        step = blob.center - track.last.center
        longest = min(_FASTEST * seconds, _LONGEST_STEP) * self._width
        long, wide = (self._extent(track.last.box, axis) for axis in (self._travel, self._across))
        if not track.is_new:
            off = blob.center - track.expected(at=track.last.at + seconds)
            went = track.velocity().length * seconds
            along = abs(off.dot(self._travel)) / (0.5 * long + 0.5 * went + 4)
            across = abs(off.dot(self._across)) / (0.5 * wide + 0.15 * went + 4)
        else:
            if step.length > longest + 0.5 * long:
                return math.inf
            expected, doubt = 0.0, longest
            lane = self._lanes.get(self._lane_number(track.last.center))
            if lane is not None and lane.vehicles >= 2:
                expected = max(-longest, min(longest, lane.speed * seconds))
                doubt = 0.6 * abs(expected) + 0.5 * long + 4
            along = abs(step.dot(self._travel) - expected) / doubt
            across = abs(step.dot(self._across)) / (0.5 * wide + 0.12 * step.length + 4)
        doubt_squared = along**2 + across**2
        return doubt_squared if doubt_squared <= 1.6 else math.inf

    def _advance_merged(self, blobs: list[Blob], blob_of: dict[int, Blob], at: float) -> dict[int, int]:
        """Move tracks that share a blob as they went; return the number of the blob by the id of the track."""
        merged: dict[int, int] = {}
        for number, blob in enumerate(blobs):
            inside = [track for track in self.tracks if self._is_inside(track, blob, at)]
            strangers = [track for track in inside if id(track) not in blob_of]
            owner = next((track for track in self.tracks if blob_of.get(id(track)) is blob), None)
            if not strangers or (owner is None and len(inside) == 1 and blob.area < 1.3 * inside[0].area):
                continue
            for track in strangers:
                if owner is not None and self._is_piece(track, owner):
                    track.claim = owner.claim.join(track.claim)
            for track in strangers + ([owner] if owner is not None else []):
                merged[id(track)] = number
                step = track.expected(at) - track.last.center
                box = _kept_inside(track.last.box.moved(step), blob.box)
                center = box.center + (track.last.center - track.last.box.center)
                track.sightings.append(Sighting(at, center, box, blob.is_cut, is_merged=True))
        return merged

    def _is_piece(self, small: Track, large: Track) -> bool:
        """Return whether a track is but a part of another, such as a wheel: small, beside it, and always as fast."""
        apart = small.velocity() - large.velocity()
        return (
            small.area < _PIECE * large.area
            and apart.length < 0.25 * large.velocity().length
            and self._shared(small.last.box, large.last.box, self._travel) > 0.5
        )

    @staticmethod
    def _is_inside(track: Track, blob: Blob, at: float) -> bool:
        box = track.last.box.moved(track.expected(at) - track.last.center)
        return box.overlap(blob.box) > _INSIDE * box.area and blob.area > 0.8 * track.area

    def _see(self, track: Track, blob: Blob, at: float) -> None:
        if len(track.sightings) >= _MOST_SIGHTINGS:  # it stands in a jam: every other one of the past will do
            track.sightings[1 : _MOST_SIGHTINGS // 2 : 2] = []
        if blob.area < _FADING * track.area and self._stands(track):
            # It is still there, all of it: its middle must not wander over the line while it fades.
            track.sightings.append(Sighting(at, track.last.center, track.last.box, track.last.is_cut, is_merged=True))
            return
        track.sightings.append(Sighting(at, blob.center, blob.box, blob.is_cut))
        trust = 1.0 if blob.area > track.area else 0.3  # what enters grows; a piece that is hidden is still there
        track.area += trust * (blob.area - track.area)
        blue, green, red = (0.7 * old + 0.3 * new for old, new in zip(track.colour, blob.colour, strict=True))
        track.colour = (blue, green, red)

    def _begin(self, blob: Blob, at: float, boxes_before: dict[int, Box], blob_of: dict[int, Blob]) -> None:
        """Begin a track: of a new vehicle, of one that stood for long, or of a part of what was one blob before."""
        track = Track([Sighting(at, blob.center, blob.box, blob.is_cut)], blob.area, blob.colour)
        stood = [other for other in self.tracks if id(other) not in blob_of and self._stands(other)]
        for other in [parked.track for parked in self._parked] + stood:
            if blob.box.overlap(other.last.box) > _OUT_OF * blob.box.area:
                self._inherit(track, other, track.last)
                track.claim = other.claim
                self._leaves(other, at)
                break
        else:
            self._part_from(track, boxes_before, blob_of)
        self.tracks.append(track)

    def _stands(self, track: Track) -> bool:
        return track.has_stood(_STANDING * self._width)

    def _leaves(self, track: Track, at: float) -> None:
        """Note that what was parked drives off; more pieces of it may appear for a while."""
        for parked in self._parked:
            if parked.track is track:
                parked.until = min(parked.until, at + _LEAVING_SECONDS)

    def _part_from(self, track: Track, boxes_before: dict[int, Box], blob_of: dict[int, Blob]) -> None:
        now = track.last
        for other in self.tracks:
            before, still = boxes_before.get(id(other)), blob_of.get(id(other))
            if before is None or still is None:
                continue
            if now.box.overlap(before) > 0.5 * now.box.area:
                self._inherit(track, other, now)
                if self._shared(now.box, still.box, self._across) > 0.3:
                    track.claim = other.claim  # one behind the other: two pieces of one vehicle, or what stood there
                return
            if self._is_beside(now.box, still.box):
                track.neighbour = other
                return

    def _inherit(self, track: Track, other: Track, now: Sighting) -> None:
        """Let a track come from where another came from, beside it as it is now."""
        first = other.sightings[0]
        aside = self._across.times((now.center - other.last.center).dot(self._across))
        track.sightings.insert(0, Sighting(first.at, first.center + aside, first.box.moved(aside), first.is_cut))
        track.own = 1

    def is_piece_of_a_counted(self, track: Track) -> bool:
        """Return whether the track appeared beside one that was counted and still sticks to it."""
        other = track.neighbour
        return other is not None and other.claim.is_counted and self._is_beside(track.last.box, other.last.box)

    def _is_beside(self, box: Box, other: Box) -> bool:
        gap = abs((box.center - other.center).dot(self._travel))
        gap -= (self._extent(box, self._travel) + self._extent(other, self._travel)) / 2
        return gap < _BESIDE * self._width and self._shared(box, other, self._across) > 0.5

    def _shared(self, box: Box, other: Box, axis: Point) -> float:
        """Return the share of the shorter extent along an axis that both boxes have."""
        one, two = self._extent(box, axis), self._extent(other, axis)
        apart = abs((box.center - other.center).dot(axis))
        return max(0.0, min(one, two, (one + two) / 2 - apart)) / max(1.0, min(one, two))

    @staticmethod
    def _extent(box: Box, axis: Point) -> float:
        """Return how long a box is along an axis."""
        return box.width * abs(axis.x) + box.height * abs(axis.y)

    def extent(self, box: Box) -> float:
        """Return how long a box is in the direction of travel."""
        return self._extent(box, self._travel)

    def _lane_number(self, place: Point) -> int:
        return round(place.dot(self._across) / (0.04 * self._width))

    def _end_lost(self, at: float, patience: float) -> None:
        self._parked = [parked for parked in self._parked if at < parked.until]
        for track in [track for track in self.tracks if at - track.last.at > patience]:
            self.tracks.remove(track)
            if self._stands(track):
                self._parked.append(_Parked(track, at + _PARKED_SECONDS))

    def seen_at(self, at: float) -> Iterator[Track]:
        """Yield the tracks that were seen at that moment."""
        return (track for track in self.tracks if track.last.at == at)


def _kept_inside(box: Box, around: Box) -> Box:
    """Return the box, moved into another as far as it must."""
    x = max(0.0, around.left - box.left) - max(0.0, box.right - around.right)
    y = max(0.0, around.top - box.top) - max(0.0, box.bottom - around.bottom)
    return box.moved(Point(x, y))

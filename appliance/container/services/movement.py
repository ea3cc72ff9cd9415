# SPDX-License-Identifier: MIT
"""What in a picture does not belong to the standing scene, whatever the light and the camera's pole do.

A picture is first put back to where the background is (camera shake) and into its light (clouds, exposure), then
compared with it. What is left over in half of the picture or more is another scene: everything starts anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from services.camera_shift import Shift, ShiftFinder, undone
from services.geometry import Point
from services.lighting import Light, compare_light

if TYPE_CHECKING:
    import numpy.typing as npt

SETTLING_SECONDS = 3.0
SETTLING_FRAMES = 8
_SETTLING_TOLERANCE = 12  # grey levels in which two of them agree about a pixel
_SETTLING_PICTURES = 24  # of a scene are enough to know it, and fit into memory at 30 a second, too
_ABSORBED_AFTER_SECONDS = 45.0  # what stands that long belongs to the scene
# Colours that a pixel has this share of the time are the scene. A road on which somebody drives all the time is seen
# less often than nine times out of ten, which is what MOG2 asks for: it would take the commonest cars for road.
_SCENE_SHARE = 0.7
# What begins to stand has a weight of 1 - _SCENE_SHARE after so many time constants.
_TIME_CONSTANT_SECONDS = _ABSORBED_AFTER_SECONDS / -math.log(_SCENE_SHARE)
_HASTE = 8  # times as fast while much of the picture differs for long: the light of a part of it changed
_MUCH_OF_THE_PICTURE = 0.25
_ANOTHER_SCENE = 0.5  # of the region
_MUCH_FOR_SECONDS = 3.0
_LARGEST_SHIFT = 0.06  # of the width; a camera that moved further than that was turned
_LARGEST_LIGHT_CHANGE = 5.0  # beyond, noise is amplified to shapes
_REBASED_FROM = 1.25  # a model that is far from the light of now compares coarsely
_OLDEST_BACKGROUND_SECONDS = 0.3
_TOLERANCE = 9  # grey levels by which a pixel must differ from all of the background around it


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture, compared with the background.

    Attributes:
        picture: BGR uint8, put back to the place and the light of `background`.
        background: BGR uint8, the scene without what moves.
        moving: uint8 mask, 255 where something is that does not belong to the scene; shadows are left out.
        shaded: uint8 mask, 255 where it is or may be a shadow: grey bodies look like one.
        shift: how far the camera had moved.
    """

    picture: npt.NDArray[np.uint8]
    background: npt.NDArray[np.uint8]
    moving: npt.NDArray[np.uint8]
    shaded: npt.NDArray[np.uint8]
    shift: Shift


class MovementFinder:
    """Compares each picture with what was learned of the scene.

    Args:
        region: uint8 mask (height, width); outside nothing is looked at. It sets the size of the pictures.
    """

    def __init__(self, region: npt.NDArray[np.uint8]) -> None:
        self._region = region
        self._region_pixels = max(1, int(np.count_nonzero(region)))
        height, width = region.shape
        self._half = (max(16, width // 2), max(16, height // 2))
        self._shifts = ShiftFinder(*self._half)
        self._frames = 0
        self._seconds = 0.0
        self._much_seconds = 0.0
        self._settling: list[npt.NDArray[np.uint8]] = []  # pictures, until the scene is known
        self._model = _new_model()
        self._background: npt.NDArray[np.uint8] | None = None
        self._background_age = 0.0
        # All three follow from the background: how dark and how bright it is around each pixel, and how it looks small.
        self._low = self._high = np.zeros(0, np.uint8)
        self._reference = np.zeros(0, np.float32)

    @property
    def is_settling(self) -> bool:
        """Whether too little was seen of the scene to tell what moves in it."""
        return self._frames < SETTLING_FRAMES or self._seconds < SETTLING_SECONDS

    def start_anew(self) -> None:
        """Forget the scene."""
        self._settling.clear()
        self._background = None
        self._frames = 0
        self._seconds = 0.0
        self._much_seconds = 0.0

    def look(self, picture: npt.NDArray[np.uint8], seconds: float) -> Scene | None:
        """Return what moves; None while the scene is being learned, at first and again when it is another.

        Args:
            picture: BGR uint8, of the size of the region.
            seconds: since the picture before.
        """
        picture = np.asarray(cv2.GaussianBlur(picture, (3, 3), 0), np.uint8)
        if self._background is None:
            self._begin(picture)
            return None
        put_back = self._put_back(picture, self._background)
        if put_back is None:
            self._begin(picture)
            return None
        picture, shift = put_back
        if self.is_settling:
            self._settle(picture, seconds)
            return None
        found = self._learn(picture, seconds)
        moving = self._differing(picture, found, shift)
        share = np.count_nonzero(moving) / self._region_pixels
        self._much_seconds = self._much_seconds + seconds if share > _MUCH_OF_THE_PICTURE else 0.0
        if share > _ANOTHER_SCENE:
            self._begin(picture)
            return None
        shaded = np.where((found > 0) & (self._region > 0), 255, 0).astype(np.uint8)
        return Scene(picture, self._background, moving, shaded, shift)

    def _begin(self, picture: npt.NDArray[np.uint8]) -> None:
        """Begin to learn a scene."""
        self.start_anew()
        self._take_background(picture)
        self._settle(picture, 0.0)

    def _settle(self, picture: npt.NDArray[np.uint8], seconds: float) -> None:
        """Take one of the pictures that the scene is learned from.

        What drives through some of them must not be learned: a model fed with them would not see, for minutes, what
        comes there in the same colour.
        """
        self._frames += 1
        self._seconds += seconds
        if self._seconds >= len(self._settling) * SETTLING_SECONDS / _SETTLING_PICTURES:
            self._settling.append(picture)
        if not self.is_settling:
            scene = _commonest(self._settling)
            self._start_model(scene)
            # Its noise, by which a grey vehicle is told from the road, is learned from where nothing else was.
            for number, agrees in enumerate(_agreements(self._settling, scene)):
                empty = np.where(agrees[:, :, None] > 0, self._settling[number], scene)
                self._model.apply(empty, learningRate=1 / (number + 2))
            self._settling.clear()

    def _put_back(
        self, picture: npt.NDArray[np.uint8], background: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.uint8], Shift] | None:
        """Return the picture at the place and in the light of the background; None when it shows another scene."""
        half_shift = self._shifts.find(self._reference, _grey(picture, self._half))
        shift = Shift(half_shift.by.times(2), half_shift.is_certain)
        if not shift.is_certain or shift.is_still:
            shift = Shift(Point(0, 0), shift.is_certain)
        elif shift.by.length > _LARGEST_SHIFT * picture.shape[1]:
            return None
        else:
            picture = undone(picture, shift)
        light = compare_light(picture, background, self._region)
        if light is None:
            return picture, shift
        if light.largest_change > _LARGEST_LIGHT_CHANGE or light.unlike > _ANOTHER_SCENE:
            return None
        if light.largest_change > _REBASED_FROM:
            self._rebase(light, background)
            return picture, shift
        return light.applied(picture), shift

    def _rebase(self, light: Light, background: npt.NDArray[np.uint8]) -> None:
        """Bring what was learned into the light of now."""
        back = light.reversed()
        self._settling = [back.applied(picture) for picture in self._settling]
        self._start_model(back.applied(background))

    def _start_model(self, background: npt.NDArray[np.uint8]) -> None:
        self._model = _new_model()
        self._model.apply(background, learningRate=1.0)
        self._take_background(background)

    def _learn(self, picture: npt.NDArray[np.uint8], seconds: float) -> npt.NDArray[np.uint8]:
        haste = _HASTE if self._much_seconds > _MUCH_FOR_SECONDS else 1
        rate = min(1.0, haste * (1 - math.exp(-seconds / _TIME_CONSTANT_SECONDS)))
        found = np.asarray(self._model.apply(picture, learningRate=rate), np.uint8)
        self._background_age += seconds
        if self._background_age > _OLDEST_BACKGROUND_SECONDS:
            self._take_background(np.asarray(self._model.getBackgroundImage(), np.uint8))
        return found

    def _take_background(self, background: npt.NDArray[np.uint8]) -> None:
        self._background = background
        self._background_age = 0.0
        around = np.ones((3, 3), np.uint8)
        darkest = np.asarray(cv2.erode(background, around), np.uint8)
        brightest = np.asarray(cv2.dilate(background, around), np.uint8)
        self._low, self._high = _around(darkest, brightest, _TOLERANCE)
        self._reference = _grey(background, self._half)

    def _differing(
        self, picture: npt.NDArray[np.uint8], found: npt.NDArray[np.uint8], shift: Shift
    ) -> npt.NDArray[np.uint8]:
        """Return the mask of what differs, and not only because the picture is put back to half a pixel."""
        # inRange is 255 where all channels are near the background.
        near = np.asarray(cv2.inRange(picture, self._low, self._high), np.uint8)
        differing = np.where((found == 255) & (near == 0), self._region, 0).astype(np.uint8)  # 127 marks shadows
        across, down = math.ceil(abs(shift.by.x)), math.ceil(abs(shift.by.y))
        if across:
            differing[:, -across:] = 0
            differing[:, :across] = 0
        if down:
            differing[-down:] = 0
            differing[:down] = 0
        return differing


def _commonest(pictures: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Return, for each pixel, the mean of the largest group of pictures that agree about it.

    On a busy road that is the road even where vehicles are most of the time, as those have many colours; a median
    would be one of them.
    """
    most = np.zeros(pictures[0].shape[:2], np.uint8)
    best = np.zeros_like(pictures[0])
    for picture in pictures:
        agreeing = np.zeros_like(most)
        for agrees in _agreements(pictures, picture):
            agreeing += agrees
        better = agreeing > most
        most[better], best[better] = agreeing[better], picture[better]
    total = np.zeros(best.shape, np.float32)
    for picture, agrees in zip(pictures, _agreements(pictures, best), strict=True):
        total += picture * agrees[:, :, None]
    return np.rint(total / most[:, :, None]).astype(np.uint8)


def _agreements(
    pictures: Sequence[npt.NDArray[np.uint8]], common: npt.NDArray[np.uint8]
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield, for each picture, 1 for the pixels of which all channels are as in the common one, and else 0."""
    low, high = _around(common, common, _SETTLING_TOLERANCE)
    for picture in pictures:
        yield np.asarray(cv2.inRange(picture, low, high), np.uint8) // 255


def _around(
    darkest: npt.NDArray[np.uint8], brightest: npt.NDArray[np.uint8], tolerance: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return what is darker and brighter by the tolerance, as far as there are such values."""
    low = np.maximum(darkest, tolerance) - np.uint8(tolerance)
    high = np.minimum(brightest, 255 - tolerance) + np.uint8(tolerance)
    return low, high


def _new_model() -> cv2.BackgroundSubtractorMOG2:
    model = cv2.createBackgroundSubtractorMOG2(detectShadows=True)
    model.setVarThreshold(20)
    model.setBackgroundRatio(_SCENE_SHARE)
    return model


def _grey(picture: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)

# SPDX-License-Identifier: MIT
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from services.blobs import BlobFinder
from services.camera_shift import Shift
from services.geometry import Box, Point
from services.movement import Scene

if TYPE_CHECKING:
    import numpy.typing as npt

HEIGHT, WIDTH = 360, 480
FINDER = BlobFinder(WIDTH, HEIGHT, least_area=100, travel=Point(1, 0))


def scene(*moving: tuple[int, int, int, int], shaded: tuple[int, int, int, int] | None = None) -> Scene:
    """Return a scene in which upright rectangles (left, top, right, bottom) move, on even ground."""
    background = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    picture = background.copy()
    mask, shade = np.zeros((HEIGHT, WIDTH), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    for left, top, right, bottom in moving:
        mask[top:bottom, left:right] = 255
        picture[top:bottom, left:right] = (10, 20, 200)
    if shaded:
        shade[shaded[1] : shaded[3], shaded[0] : shaded[2]] = 255
    return Scene(picture, background, mask, mask | shade, Shift(Point(0, 0), True))


def boxes(found: Scene, finder: BlobFinder = FINDER) -> list[Box]:
    return sorted((blob.box for blob in finder.find(found)), key=lambda box: (box.top, box.left))


def test_one_thing_is_one_blob_with_its_place_and_colour() -> None:
    (blob,) = FINDER.find(scene((100, 200, 180, 240)))

    assert blob.box == Box(100, 200, 180, 240)
    assert blob.area == 80 * 40
    assert blob.center == Point(139.5, 219.5)
    assert blob.colour == pytest.approx((10, 20, 200))
    assert not blob.is_cut


def test_a_gap_along_the_lane_is_closed_and_one_across_it_is_not() -> None:
    assert len(boxes(scene((100, 200, 140, 240), (147, 200, 190, 240)))) == 1
    assert len(boxes(scene((100, 200, 180, 230), (100, 237, 180, 270)))) == 2


def test_small_pieces_belong_to_what_a_shadow_joins_them_to() -> None:
    van = (100, 200, 200, 225), (108, 240, 124, 256), (180, 240, 196, 256)

    assert boxes(scene(*van, shaded=(100, 200, 200, 256))) == [Box(100, 200, 200, 256)]
    assert len(boxes(scene(*van))) == 3


def test_two_of_about_the_same_size_are_two_although_their_shadows_touch() -> None:
    assert len(boxes(scene((100, 180, 180, 215), (110, 230, 185, 262), shaded=(100, 180, 190, 262)))) == 2


def test_what_is_too_small_or_only_a_streak_is_nothing() -> None:
    assert boxes(scene((100, 200, 108, 208))) == []
    assert boxes(scene((100, 100, 103, 300))) == []


def test_what_touches_the_border_is_cut() -> None:
    (blob,) = FINDER.find(scene((0, 200, 60, 240)))

    assert blob.is_cut


def test_light_on_the_ground_is_nothing_while_the_ground_is_seen_in_it() -> None:
    texture = np.random.default_rng(1).integers(60, 140, (HEIGHT, WIDTH, 1), np.uint8).repeat(3, axis=2)
    lit, covered = texture.copy(), texture.copy()
    patch = np.s_[200:240, 100:180]
    lit[patch] = np.clip(texture[patch].astype(np.float64) * 1.5, 0, 255).astype(np.uint8)
    covered[patch] = 220
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[patch] = 255

    def found(picture: npt.NDArray[np.uint8]) -> int:
        return len(FINDER.find(Scene(picture, texture, mask, mask, Shift(Point(0, 0), True))))

    assert found(lit) == 0
    assert found(covered) == 1


def test_traffic_that_goes_up_and_down_is_closed_the_other_way() -> None:
    upright = BlobFinder(WIDTH, HEIGHT, least_area=100, travel=Point(0, 1))

    assert len(boxes(scene((100, 100, 140, 140), (100, 147, 140, 190)), upright)) == 1
    assert len(boxes(scene((100, 100, 130, 180), (137, 100, 170, 180)), upright)) == 2

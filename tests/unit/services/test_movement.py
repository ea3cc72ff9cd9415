# SPDX-License-Identifier: MIT
from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from services.movement import SETTLING_FRAMES, MovementFinder

from tests.unit.services.road import HEIGHT, PAD, WIDTH, Vehicle, paint_scenery, paint_vehicle

if TYPE_CHECKING:
    import numpy.typing as npt

EVERYWHERE = np.full((HEIGHT, WIDTH), 255, np.uint8)


def view(x: float = 0.0, y: float = 0.0, *, car_at: float | None = None, seed: int = 1) -> npt.NDArray[np.uint8]:
    """Return the scenery behind a fence of thin pales, shifted; the fence is what half a pixel shows most."""
    picture = paint_scenery(seed)
    picture[300:400, ::7] = 230
    picture[300:400, 1::7] = 230
    if car_at is not None:
        paint_vehicle(picture, Vehicle(70, 34, 255, 1, 0, (225, 225, 225)), car_at)
    matrix = np.array([[1, 0, x - PAD], [0, 1, y - PAD]], np.float32)
    shifted = cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    noise = np.random.default_rng(int(1000 + 100 * x + 10 * y)).normal(0, 2, shifted.shape)
    return np.asarray(np.clip(shifted + noise, 0, 255), np.uint8)


def settled() -> MovementFinder:
    finder = MovementFinder(EVERYWHERE)
    for _ in range(SETTLING_FRAMES):
        assert finder.look(view(), 1.0) is None
    return finder


def test_what_is_new_is_found_where_it_is() -> None:
    scene = settled().look(view(car_at=200), 1.0)

    assert scene is not None
    rows, columns = np.nonzero(scene.moving)
    assert 160 < columns.min() < 175
    assert 225 < columns.max() < 240
    assert 215 < rows.min() < 230
    assert np.count_nonzero(scene.moving[224:250, 170:230]) > 0.6 * 26 * 60


def test_what_drove_by_while_the_scene_was_learned_is_seen_whole_when_it_comes_again() -> None:
    finder = MovementFinder(EVERYWHERE)
    places = [60 + 50 * number for number in range(SETTLING_FRAMES)]
    for car_at in places:
        assert finder.look(view(car_at=car_at), 1.0) is None

    for car_at in places[1:-1]:
        scene = finder.look(view(car_at=car_at), 1.0)
        assert scene is not None
        assert np.count_nonzero(scene.moving[224:250, car_at - 30 : car_at + 30]) > 0.6 * 26 * 60


def test_a_road_that_is_seen_less_than_half_of_the_time_is_the_scene_all_the_same() -> None:
    finder = MovementFinder(EVERYWHERE)
    colours = [(225, 225, 225), (190, 190, 190), (170, 210, 240), (240, 200, 160), (205, 230, 180)]
    for number in range(SETTLING_FRAMES):
        picture = view()
        if number < len(colours):
            picture[220:260, 100:380] = colours[number]
        assert finder.look(picture, 1.0) is None

    scene = finder.look(view(), 1.0)

    assert len(colours) > SETTLING_FRAMES / 2
    assert scene is not None
    assert np.count_nonzero(scene.moving) < 0.002 * WIDTH * HEIGHT


@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (-2.5, 0.5), (5.5, -4.5)])
def test_a_fence_that_is_put_back_to_half_a_pixel_does_not_move(x: float, y: float) -> None:
    scene = settled().look(view(x, y), 1.0)

    assert scene is not None
    assert scene.shift.by.x == pytest.approx(x, abs=0.4)
    assert np.count_nonzero(scene.moving) < 0.002 * WIDTH * HEIGHT


def test_another_view_is_learned_before_anything_is_said_of_it() -> None:
    finder = settled()

    said = [finder.look(view()[::-1].copy(), 1.0) is not None for _ in range(SETTLING_FRAMES + 1)]

    assert said == [False] * SETTLING_FRAMES + [True]


def test_outside_its_region_nothing_moves() -> None:
    region = EVERYWHERE.copy()
    region[:, :240] = 0
    finder = MovementFinder(region)
    for _ in range(SETTLING_FRAMES):
        finder.look(view(), 1.0)

    scene = finder.look(view(car_at=200), 1.0)

    assert scene is not None
    assert np.count_nonzero(scene.moving) == 0


def test_cars_of_one_colour_are_no_road_however_long_they_pass_a_fifth_of_the_time() -> None:
    finder = settled()
    empty, with_a_car = view(), view(car_at=200)

    for number in range(449):
        finder.look(with_a_car if number % 5 == 4 else empty, 1.0)
    scene = finder.look(with_a_car, 1.0)

    assert scene is not None
    assert np.count_nonzero(scene.moving[224:250, 170:230]) > 0.6 * 26 * 60

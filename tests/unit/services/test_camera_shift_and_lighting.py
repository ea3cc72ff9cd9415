# SPDX-License-Identifier: MIT
from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from services.camera_shift import Shift, ShiftFinder, undone
from services.geometry import Point
from services.lighting import compare_light

from tests.unit.services.road import HEIGHT, PAD, WIDTH, Vehicle, paint_scenery, paint_vehicle

if TYPE_CHECKING:
    import numpy.typing as npt


def view(
    x: float = 0.0, y: float = 0.0, seed: int = 0, *, with_a_truck: bool = False, truck_at: float = 240
) -> npt.NDArray[np.uint8]:
    """Return the scenery, shifted to the right and down, with the noise of a sensor."""
    picture = paint_scenery(seed)
    if with_a_truck:
        paint_vehicle(picture, Vehicle(260, 120, 290, 1, 0, (200, 200, 200)), truck_at)
    matrix = np.array([[1, 0, x - PAD], [0, 1, y - PAD]], np.float32)
    shifted = cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    noise = np.random.default_rng(int(1000 + 100 * x + y)).normal(0, 3, shifted.shape)
    return np.asarray(np.clip(shifted + noise, 0, 255), np.uint8)


def grey(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.float32)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (3, -2), (-7.5, 4.25), (0.5, 0)])
@pytest.mark.parametrize("with_a_truck", [False, True])
def test_a_shift_is_found_to_a_third_of_a_pixel_whatever_drives_by(x: float, y: float, with_a_truck: bool) -> None:
    found = ShiftFinder(WIDTH, HEIGHT).find(grey(view()), grey(view(x, y, with_a_truck=with_a_truck)))

    assert found.is_certain
    assert found.by.x == pytest.approx(x, abs=0.33)
    assert found.by.y == pytest.approx(y, abs=0.33)


@pytest.mark.parametrize("went", [4, 11, 20])
@pytest.mark.parametrize("gain", [1.0, 0.6])
def test_a_large_vehicle_that_drives_off_where_it_stood_is_no_shift(went: int, gain: float) -> None:
    reference, picture = (grey(view(with_a_truck=True, truck_at=at)) for at in (240, 240 + went))

    found = ShiftFinder(WIDTH, HEIGHT).find(reference, picture * np.float32(gain))

    assert found.is_certain
    assert found.by.length < 0.3


def test_two_different_places_have_no_shift() -> None:
    noise = np.random.default_rng(5).uniform(0, 255, (HEIGHT, WIDTH)).astype(np.float32)

    assert not ShiftFinder(WIDTH, HEIGHT).find(grey(view()), noise).is_certain


def test_undoing_a_shift_brings_the_picture_back() -> None:
    back = undone(view(5, -3), Shift(Point(5, -3), True))

    inside = np.s_[8:-8, 8:-8]
    assert np.abs(back[inside].astype(int) - view()[inside]).mean() < 5
    assert np.abs(view(5, -3)[inside].astype(int) - view()[inside]).mean() > 7


@pytest.mark.parametrize(("gain", "offset"), [(0.5, 0), (0.8, 10), (1.3, -5), (1.0, 0)])
def test_the_light_is_found_and_undone_although_a_truck_stands_there(gain: float, offset: float) -> None:
    before = view()
    after = np.clip(view(with_a_truck=True) * gain + offset, 0, 255).astype(np.uint8)

    light = compare_light(after, before, np.full((HEIGHT, WIDTH), 255, np.uint8))

    assert light is not None
    assert light.largest_change == pytest.approx(max((128 - offset) / gain / 128, gain * 128 / (128 - offset)), rel=0.1)
    assert light.unlike < 0.35
    ground = np.s_[:150]
    assert abs(float(light.applied(after)[ground].mean()) - float(before[ground].mean())) < 4
    assert abs(float(light.reversed().applied(before)[ground].mean()) - float(after[ground].mean())) < 4


def test_another_place_is_no_other_light() -> None:
    light = compare_light(view(seed=1)[::-1].copy(), view(), np.full((HEIGHT, WIDTH), 255, np.uint8))

    assert light is None or light.unlike > 0.3


def test_a_black_picture_says_nothing_about_the_light() -> None:
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)

    assert compare_light(black, view(), np.full((HEIGHT, WIDTH), 255, np.uint8)) is None

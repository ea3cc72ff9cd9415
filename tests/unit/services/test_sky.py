# SPDX-License-Identifier: MIT
"""Skies whose truth is known, and a real one."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from services.geometry import Box, Point, region_mask
from services.sky import SkyAnalyser, SkySettings, cut, sky_mask

from tests.unit.services.skies import HEIGHT, Sky

WHOLE = Box(0, 0, 1, 1)
UPPER = SkyAnalyser(SkySettings())
AUTOMATIC = SkyAnalyser(SkySettings(region=WHOLE, automatic=True))
POINTS = 0.05  # five points of a hundred


@pytest.mark.parametrize(("hue", "haze"), list(itertools.product((200, 210, 222), (0.0, 0.4, 0.8))))
@pytest.mark.parametrize("grey_clouds", [150, 225])
def test_the_cloud_fraction_is_right_to_five_points(hue: float, haze: float, grey_clouds: float) -> None:
    for cloud, brightness in itertools.product((0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0), (0.5, 1.05)):
        sky = Sky(cloud, hue, brightness, haze, grey_clouds=grey_clouds, seed=int(100 * cloud + hue))
        truth = float(np.mean(sky.cover()[: HEIGHT // 3] > 0.5))

        reading = UPPER.read(sky.paint()[0])

        assert reading.cloud_fraction == pytest.approx(truth, abs=POINTS), sky
        assert reading.clear_fraction == pytest.approx(1 - truth, abs=POINTS), sky


@pytest.mark.parametrize(("cloud", "haze"), list(itertools.product((0.0, 0.25, 0.5, 1.0), (0.0, 0.8))))
@pytest.mark.parametrize("horizon", [0.35, 0.6, 0.8])
def test_the_area_of_the_sky_is_found_to_five_points(cloud: float, haze: float, horizon: float) -> None:
    for hue, brightness, grey_clouds in ((200, 1.05, 150), (210, 0.8, 225), (222, 0.5, 190)):
        sky = Sky(cloud, hue, brightness, haze, horizon, grey_clouds, seed=int(10 * horizon) + hue)
        picture, is_sky = sky.paint()

        reading = AUTOMATIC.read(picture)

        assert reading.sky_fraction == pytest.approx(float(is_sky.mean()), abs=POINTS), sky
        if reading.cloud_fraction is not None and cloud in {0.0, 1.0}:
            assert reading.cloud_fraction == pytest.approx(cloud, abs=POINTS), sky


@pytest.mark.parametrize("quality", [50, 70, 95])
@pytest.mark.parametrize("noise", [0.5, 8.0])
def test_compression_and_noise_change_the_fraction_by_little(quality: int, noise: float) -> None:
    clean = Sky(cloud=0.4, seed=3)
    truth = float(np.mean(clean.cover()[: HEIGHT // 3] > 0.5))

    reading = UPPER.read(Sky(cloud=0.4, seed=3, quality=quality, noise=noise).paint()[0])

    assert reading.cloud_fraction == pytest.approx(truth, abs=POINTS)


@pytest.mark.parametrize("scale", [0.25, 3.0])
def test_the_size_of_the_picture_changes_nothing(scale: float) -> None:
    picture, _ = Sky(cloud=0.4, seed=4).paint()
    other = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)

    assert UPPER.read(other).cloud_fraction == pytest.approx(UPPER.read(picture).cloud_fraction or -1, abs=0.03)


def test_the_sun_and_its_glare_are_neither_cloud_nor_clear() -> None:
    without = UPPER.read(Sky(cloud=0.0).paint()[0])
    reading = UPPER.read(Sky(cloud=0.0, sun=(200, 75, 40)).paint()[0])

    assert without.glare_fraction == 0
    assert 0.05 < reading.glare_fraction < 0.3
    assert reading.cloud_fraction == pytest.approx(0.0, abs=0.02)
    assert reading.condition == "clear"


@pytest.mark.parametrize(
    ("cloud", "condition"), [(0.0, "clear"), (0.35, "partly_cloudy"), (0.75, "cloudy"), (1.0, "overcast")]
)
def test_the_condition_is_a_word_for_the_eighths(cloud: float, condition: str) -> None:
    assert UPPER.read(Sky(cloud=cloud, haze=0.2, seed=9).paint()[0]).condition == condition


def test_at_night_nothing_is_said_of_clouds() -> None:
    reading = UPPER.read(Sky(cloud=0.5, brightness=0.08).paint()[0])

    assert reading.condition == "dark"
    assert reading.cloud_fraction is None
    assert reading.clear_fraction is None


def test_in_the_red_light_of_a_low_sun_nothing_is_said_of_clouds() -> None:
    reading = UPPER.read(np.full((300, 400, 3), (90, 120, 190), np.uint8))

    assert reading.condition == "low_sun"
    assert reading.cloud_fraction is None


def test_a_burnt_out_sky_says_nothing_of_clouds() -> None:
    reading = UPPER.read(np.full((300, 400, 3), 254, np.uint8))

    assert reading.condition == "overexposed"
    assert reading.cloud_fraction is None


def test_a_picture_without_sky_says_so() -> None:
    land = Sky(horizon=0.9).paint()[0][-40:]

    reading = AUTOMATIC.read(np.ascontiguousarray(land))

    assert reading.condition == "no_sky"
    assert reading.cloud_fraction is None


def test_a_region_is_cut_as_a_fraction_and_reduced_with_its_picture() -> None:
    picture = np.zeros((1000, 2000, 3), np.uint8)
    picture[:500, 1000:] = 200

    part = cut(picture, Box(0.5, 0, 1, 0.5), 640)

    assert part.shape == (160, 320, 3)
    assert part.min() == 200


# --- a real one -------------------------------------------------------------------------------------------------------

# Traced by hand in china.jpg (640×427): the sky above roofs, trees and the far shore; fractions of width and height.
OUTLINE = (
    (0, 0), (1, 0), (1, 0.35), (0.965, 0.315), (0.93, 0.35), (0.905, 0.43), (0.885, 0.50), (0.73, 0.515),
    (0.55, 0.54), (0.51, 0.54), (0.51, 0.43), (0.475, 0.40), (0.455, 0.35), (0.50, 0.29), (0.47, 0.26), (0.40, 0.17),
    (0.345, 0.15), (0.34, 0.07), (0.305, 0.07), (0.30, 0.15), (0.26, 0.19), (0.20, 0.24), (0.15, 0.26), (0.15, 0.30),
    (0.18, 0.32), (0.18, 0.38), (0.13, 0.43), (0.15, 0.50), (0.11, 0.51), (0.08, 0.45), (0.02, 0.41), (0.015, 0.36),
    (0, 0.34),
)  # fmt: skip


def test_the_sky_of_a_real_photograph_is_found(photographs: list[Path]) -> None:
    picture = real(photographs, "china.jpg")
    truth = region_mask([Point(x, y) for x, y in OUTLINE], picture.shape[1], picture.shape[0]) > 0

    found = sky_mask(picture) > 0

    both, either = np.count_nonzero(found & truth), np.count_nonzero(found | truth)
    assert both / either > 0.93
    assert float(found.mean()) == pytest.approx(float(truth.mean()), abs=POINTS)


def test_a_real_pale_sky_is_bright_by_day_and_partly_clear(photographs: list[Path]) -> None:
    reading = AUTOMATIC.read(real(photographs, "china.jpg"))

    assert reading.condition in {"partly_cloudy", "cloudy"}
    assert reading.brightness is not None
    assert reading.brightness > 200
    # Blue at the left, white at the right.
    left = SkyAnalyser(SkySettings(region=Box(0, 0, 0.25, 0.22))).read(real(photographs, "china.jpg"))
    right = SkyAnalyser(SkySettings(region=Box(0.75, 0.1, 1, 0.3))).read(real(photographs, "china.jpg"))
    assert left.cloud_fraction is not None
    assert right.cloud_fraction is not None
    assert left.cloud_fraction < 0.2
    assert right.cloud_fraction > left.cloud_fraction + 0.3


def test_a_real_photograph_of_a_flower_has_no_cloud_fraction(photographs: list[Path]) -> None:
    assert AUTOMATIC.read(real(photographs, "flower.jpg")).cloud_fraction is None


def real(photographs: list[Path], name: str) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    path = next(path for path in photographs if path.name == name)
    return np.asarray(cv2.imread(str(path)), np.uint8)

# SPDX-License-Identifier: MIT
from __future__ import annotations

import numpy as np
import pytest
from services.geometry import Box
from services.visibility import TrendFinder, contrast

from tests.unit.services.skies import Sky

DISTANT = Box(0, 0.5, 1, 0.9)
HOUR = 3600 * 1_000_000_000


def test_contrast_falls_with_every_bit_of_haze() -> None:
    contrasts = [contrast(Sky(landscape_fog=fog).paint()[0], DISTANT) for fog in (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)]

    assert contrasts == sorted(contrasts, key=lambda value: -(value or 0))
    assert (contrasts[0] or 0) > 5 * (contrasts[-1] or 1)


@pytest.mark.parametrize("brightness", [0.6, 0.8, 1.1])
def test_contrast_is_the_same_in_every_light(brightness: float) -> None:
    usual = contrast(Sky(landscape_fog=0.3).paint()[0], DISTANT)

    assert contrast(Sky(landscape_fog=0.3, brightness=brightness).paint()[0], DISTANT) == pytest.approx(usual, rel=0.1)


@pytest.mark.parametrize(("noise", "quality"), [(0.0, 95), (6.0, 95), (2.5, 60), (6.0, 75)])
def test_noise_and_compression_do_not_pass_for_contrast(noise: float, quality: int) -> None:
    clean = contrast(Sky(landscape_fog=0.5).paint()[0], DISTANT)

    assert contrast(Sky(landscape_fog=0.5, noise=noise, quality=quality).paint()[0], DISTANT) == pytest.approx(
        clean, rel=0.1
    )


def test_fog_with_noise_has_next_to_no_contrast() -> None:
    noise = np.random.default_rng(1).normal(200, 6, (480, 640, 3))

    assert (contrast(np.clip(noise, 0, 255).astype(np.uint8), DISTANT) or 0) < 0.005


def test_in_the_dark_there_is_no_contrast_to_be_measured() -> None:
    assert contrast(np.full((480, 640, 3), 10, np.uint8), DISTANT) is None


@pytest.mark.parametrize(("gain", "tendency"), [(0.03, "rising"), (-0.03, "falling"), (0.0, "steady")])
@pytest.mark.parametrize("seed", range(5))
def test_a_trend_has_the_right_sign_and_size_in_spite_of_scatter_and_outliers(
    gain: float, tendency: str, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    trend = TrendFinder(hours=3)
    for minute in range(120):
        value = 0.2 + gain * minute / 60 + chance.normal(0, 0.004)
        trend.add(minute * HOUR // 60, 0.02 if minute % 13 == 5 else value)  # a lorry before the camera

    found = trend.trend()

    assert found.tendency == tendency
    assert found.per_hour == pytest.approx(gain, abs=0.004)


def test_a_trend_from_pictures_that_get_hazier_falls() -> None:
    trend = TrendFinder(hours=3)
    for minute in range(0, 60, 5):
        trend.add(minute * HOUR // 60, contrast(Sky(landscape_fog=minute / 120, seed=minute).paint()[0], DISTANT) or 0)

    assert trend.trend().tendency == "falling"


def test_too_few_points_have_no_trend() -> None:
    trend = TrendFinder(hours=1)
    for second in range(4):
        trend.add(second * HOUR // 10, 0.1 * second)

    assert trend.trend().tendency == "unknown"
    assert trend.trend().per_hour is None


def test_a_trend_looks_back_as_far_as_it_was_told() -> None:
    trend = TrendFinder(hours=1)
    for minute in range(180):
        trend.add(minute * HOUR // 60, 0.3 - 0.001 * minute if minute < 120 else 0.18 + 0.002 * (minute - 120))

    assert trend.trend().tendency == "rising"


def test_a_clock_that_began_anew_begins_the_trend_anew() -> None:
    trend = TrendFinder(hours=1)
    for minute in range(30):
        trend.add(minute * HOUR // 60, 0.2)
    trend.add(5, 0.2)

    assert trend.trend().points == 1

# SPDX-License-Identifier: MIT
"""What the two services write: the shape of their results, and what they say when they know less."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from services.geometry import Box
from services.sky import SkySettings
from services.sky_analysis import SkyAnalysis, relative_light
from services.vehicle_counter import CounterSettings
from services.vehicle_counting import VehicleCounting

from fieldcam.core.result import Result
from tests.unit.services.road import Road, Vehicle
from tests.unit.services.skies import Sky

MINUTE = 60_000_000_000


def facts(at_ns: int, width: int = 480, height: int = 360, **more: Any) -> dict[str, Any]:
    seconds = at_ns // 1_000_000_000
    return {
        "captured_at": f"2026-01-13T{10 + seconds // 3600 % 10:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.000Z",
        "monotonic_ns": at_ns,
        "width": width,
        "height": height,
        "simulated": False,
        "exposure": 10.0,
        "gain": 2.0,
    } | more


def as_result(data: dict[str, Any]) -> Result:
    """Return the data as a result: it must be one."""
    return Result("service", "default", "2026-01-13T10:00:00.000Z", "boot", 1, data)


def test_a_minute_of_traffic_is_one_result() -> None:
    counting = VehicleCounting(CounterSettings(labels=("north", "south")))
    road = Road([Vehicle(70, 34, 260, 160, 4, (225, 225, 225))], 8)
    for picture, at_ns in road.frames(15):
        counting.take(picture, facts(at_ns))

    data = counting.summary()

    assert data is not None
    as_result(data)
    assert data["counts"] == {"north": 1, "south": 0}
    assert data["total"] == 1
    assert data["frames"] > 100
    assert 0 < data["frames_settling"] < 60
    assert data["frame_seconds"] == pytest.approx(1 / 15, rel=0.1)
    assert data["step"] == pytest.approx(160 / 480 / 15, rel=0.1)
    assert not data["too_slow"]
    assert not data["simulated"]
    assert 60 < data["brightness"] < 160
    assert data["frames_dark"] == 0
    assert counting.summary() is None, "nothing new, nothing said"


def test_counts_begin_at_nothing_with_each_result_and_go_on_since_the_start() -> None:
    counting = VehicleCounting(CounterSettings())
    road = Road([Vehicle(70, 34, 260, 160, enters_at, (225, 225, 225)) for enters_at in (4, 8)], 12)
    results: list[dict[str, Any] | None] = []
    for picture, at_ns in road.frames(15):
        counting.take(picture, facts(at_ns))
        if at_ns > 1007e9 and not results:
            results.append(counting.summary())
    results.append(counting.summary())

    assert [result and result["total"] for result in results] == [1, 1]
    assert [result and result["counts_since_start"]["to_right"] for result in results] == [1, 2]


def test_frames_that_come_too_slowly_dark_or_simulated_are_said_to_be() -> None:
    counting = VehicleCounting(CounterSettings())
    for number in range(10):
        counting.take(np.full((360, 480, 3), 8, np.uint8), facts(number * 3_000_000_000, simulated=number == 4))

    data = counting.summary()

    assert data is not None
    assert data["too_slow"]
    assert data["frames_dark"] == 10
    assert data["simulated"]


def sky_analysis() -> SkyAnalysis:
    return SkyAnalysis(SkySettings(), Box(0, 0.5, 1, 0.9), trend_hours=3)


def test_a_minute_of_sky_is_one_result_that_one_odd_frame_does_not_move() -> None:
    sky = sky_analysis()
    for number in range(5):
        sky.take(Sky(cloud=0.0 if number != 2 else 1.0, seed=number).paint()[0], facts(number * MINUTE // 6))

    data = sky.summary()

    assert data is not None
    as_result(data)
    assert data["condition"] == "clear"
    assert data["cloud_fraction"] == pytest.approx(0, abs=0.02)
    assert data["clear_fraction"] == pytest.approx(1, abs=0.02)
    assert data["sky_fraction"] == 1
    assert data["contrast"] > 0.01
    assert data["visibility_trend"] == "unknown"
    assert data["frames"] == 5
    assert sky.summary() is None


def test_haze_that_comes_up_is_a_falling_trend() -> None:
    sky = sky_analysis()
    data = None
    for minute in range(20):
        sky.take(Sky(landscape_fog=minute / 40, seed=minute % 3).paint()[0], facts(minute * MINUTE))
        data = sky.summary()

    assert data is not None
    assert data["visibility_trend"] == "falling"
    assert data["contrast_per_hour"] < 0
    assert data["trend_points"] == 20


def test_the_trend_begins_anew_with_another_size_of_frame() -> None:
    sky = sky_analysis()
    data = None
    for minute in range(20):
        sky.take(Sky(seed=1).paint()[0], facts(minute * MINUTE, width=640 if minute < 15 else 1280))
        data = sky.summary()

    assert data is not None
    assert data["trend_points"] == 5


def test_a_night_has_no_fractions_and_leaves_the_trend_alone() -> None:
    sky = sky_analysis()
    sky.take(Sky(brightness=0.05).paint()[0], facts(MINUTE))

    data = sky.summary()

    assert data is not None
    as_result(data)
    assert data["condition"] == "dark"
    assert data["cloud_fraction"] is None
    assert data["contrast"] is None
    assert data["trend_points"] == 0


def test_light_is_what_the_exposure_did_not_make_up_for() -> None:
    picture, _ = Sky().paint()

    noon, dusk = relative_light(picture, 1.0, 1.0), relative_light(picture, 50.0, 4.0)

    assert noon is not None
    assert dusk is not None
    assert noon / dusk == pytest.approx(200)


@pytest.mark.parametrize("exposure", [None, 0, -1.0, float("nan"), "10"])
def test_a_camera_that_does_not_tell_its_exposure_has_no_light(exposure: object) -> None:
    assert relative_light(np.zeros((8, 8, 3), np.uint8), exposure, 1.0) is None


def test_a_clear_and_an_overcast_sky_differ_in_nothing_but_clouds() -> None:
    clear, overcast = (dataclasses.replace(Sky(haze=0.2, seed=2), cloud=cloud) for cloud in (0.0, 1.0))
    sky = sky_analysis()
    sky.take(clear.paint()[0], facts(1))
    first = sky.summary()
    sky.take(overcast.paint()[0], facts(2))
    second = sky.summary()

    assert first is not None
    assert second is not None
    assert (first["condition"], second["condition"]) == ("clear", "overcast")
    assert first["contrast"] == pytest.approx(second["contrast"], rel=0.1)

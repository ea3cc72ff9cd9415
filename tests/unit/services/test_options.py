# SPDX-License-Identifier: MIT
from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from services import sky_analysis, vehicle_counting
from services.geometry import Box, Line, Point
from services.options import OptionError, Options


def test_without_any_variable_both_services_have_what_they_need() -> None:
    loop, _ = vehicle_counting.make(Options({}))
    assert (loop.service, loop.result_seconds) == ("vehicle-counting", 60)

    loop, _ = sky_analysis.make(Options({"SKY_REGION": "", "SERVICE_NAME": "sky-2"}))
    assert (loop.service, loop.step_seconds) == ("sky-2", 10)


@pytest.mark.parametrize(
    ("make", "name", "value", "hint"),
    [
        (vehicle_counting.make, "VEHICLE_LINE", "0.5,0,0.5", "x1,y1,x2,y2"),
        (vehicle_counting.make, "VEHICLE_LINE", "0.5,0,0.5,40", "fractions"),
        (vehicle_counting.make, "VEHICLE_LINE", "0.5,0.5,0.5,0.5", "shorter"),
        (vehicle_counting.make, "VEHICLE_LABELS", "north", "two different"),
        (vehicle_counting.make, "VEHICLE_LABELS", "north,north", "two different"),
        (vehicle_counting.make, "VEHICLE_REGION", "0,0 1,1", "three corners"),
        (vehicle_counting.make, "VEHICLE_REGION", "0,0 1,1 2,0", "three corners"),
        (vehicle_counting.make, "VEHICLE_LEAST_AREA", "nan", "0.0001 to 0.25"),
        (vehicle_counting.make, "VEHICLE_LEAST_AREA", "many", "0.0001 to 0.25"),
        (vehicle_counting.make, "VEHICLE_WIDTH", "480.5", "whole number"),
        (vehicle_counting.make, "VEHICLE_MAX_FPS", "0", "0.5 to 60"),
        (vehicle_counting.make, "RESULT_SECONDS", "-1", "1 to 86400"),
        (vehicle_counting.make, "STREAM", "raw", "lores, main"),
        (vehicle_counting.make, "SERVICE_NAME", "../sky", "a-z"),
        (sky_analysis.make, "SKY_REGION", "0,0.5,1,0.2", "top less than bottom"),
        (sky_analysis.make, "SKY_MASK", "yes", "automatic"),
        (sky_analysis.make, "SKY_TREND_HOURS", "inf", "0.1 to 48"),
        (sky_analysis.make, "SKY_STEP_SECONDS", "1e9", "0.1 to 3600"),
    ],
)
def test_a_bad_value_names_its_variable_itself_and_what_it_may_be(
    make: Callable[[Options], object], name: str, value: str, hint: str
) -> None:
    with pytest.raises(OptionError) as caught:
        make(Options({name: value}))

    assert name in str(caught.value)
    assert value in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "line"),
    [({}, Line(Point(0.5, 0), Point(0.5, 1))), ({"LINE": " 0, 0.6, 1,0.6 "}, Line(Point(0, 0.6), Point(1, 0.6)))],
)
def test_a_line_is_read(environ: Mapping[str, str], line: Line) -> None:
    assert Options(environ).line("LINE", Line(Point(0.5, 0), Point(0.5, 1))) == line


def test_a_polygon_and_a_box_are_read() -> None:
    options = Options({"REGION": "0,0.4  1,0.4 1,1 0,1", "BOX": "0,0,1,0.25", "LABELS": "in, out"})

    assert options.corners("REGION") == (Point(0, 0.4), Point(1, 0.4), Point(1, 1), Point(0, 1))
    assert options.box("BOX", Box(0, 0, 1, 1)) == Box(0, 0, 1, 0.25)
    assert options.labels("LABELS", ("a", "b")) == ("in", "out")

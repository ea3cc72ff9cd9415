# SPDX-License-Identifier: MIT
"""api.schemas: a refusal names the field, the value and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from fieldcam.api.schemas import CaptureBody, ImagesQuery, LatestQuery, SettingsBody, StreamQuery, refuse
from fieldcam.core.errors import RequestInvalidError


def refusal(model: type[BaseModel], data: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data)
    with pytest.raises(RequestInvalidError) as refused:
        refuse(caught.value)
    return refused.value.message


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"exposure": 0}, "exposure: 0 is not allowed; more than 0, at most 1000000 (milliseconds)"),
        ({"exposure": -5.5}, "exposure: -5.5 is not allowed; more than 0, at most 1000000 (milliseconds)"),
        ({"exposure": True}, "exposure: True is not allowed; more than 0, at most 1000000 (milliseconds)"),
        ({"exposure": "5"}, "exposure: '5' is not allowed; more than 0, at most 1000000 (milliseconds)"),
        ({"gain": 1001}, "gain: 1001 is not allowed; more than 0, at most 1000"),
        ({"quality": 101}, "quality: 101 is not allowed; 1 to 100"),
        ({"quality": 90.5}, "quality: 90.5 is not allowed; 1 to 100"),
        ({"exposrue": 5}, "exposrue: unknown field"),
        ({"position": {"x": 1, "w": 2}}, "position.w: unknown field"),
        ({"resolution": {"width": 5, "height": 240}}, "resolution.width: 5 is not allowed; 16 to 16384 (pixels)"),
        ({"resolution": {"width": 320}}, "resolution.height: is missing"),
        ({"not_before": "now"}, 'not_before: \'now\' is not allowed; "request" or "any"'),
        ({"submission_no": "7"}, "sample_no: is missing beside submission_no"),
    ],
)
def test_a_capture_body_that_is_wrong(data: dict[str, Any], says: str) -> None:
    assert refusal(CaptureBody, data) == says


@pytest.mark.parametrize(
    "number", ["", "../x", ".hidden", "a" * 65, "a/b", "a\nb", "a\n", "-x", "\N{FULLWIDTH FULL STOP}a", "a\x00b", "é"]
)
def test_a_sample_number_never_is_a_path(number: str) -> None:
    assert "beginning with a letter or digit" in refusal(CaptureBody, {"sample_no": number})


def test_half_a_character_is_refused() -> None:
    assert refusal(CaptureBody, {"description": "\ud800"}).startswith("description: ")


def test_every_wrong_field_is_named() -> None:
    said = refusal(SettingsBody, {"exposure": 0, "gain": 0, "zoom": 1})

    assert [part.partition(":")[0] for part in said.split("; ") if ":" in part] == ["exposure", "gain", "zoom"]


def test_a_capture_body_may_be_empty() -> None:
    assert CaptureBody.model_validate({}) == CaptureBody()


@pytest.mark.parametrize("value", [7, "seven"])
def test_a_job_is_a_number_or_a_text(value: object) -> None:
    assert CaptureBody.model_validate({"job_id": value}).job_id == value


def test_times_of_a_filter_become_utc_with_milliseconds() -> None:
    query = ImagesQuery.model_validate({"since": "2026-01-13T11:30:45+01:00", "until": "2026-01-13T10:30:45.5Z"})

    assert (query.since, query.until) == ("2026-01-13T10:30:45.000Z", "2026-01-13T10:30:45.500Z")


@pytest.mark.parametrize("value", ["yesterday", "2026-01-13T11:30:45", "", "0001-01-01T00:00:00+23:00"])
def test_a_time_without_its_offset_is_refused(value: str) -> None:
    assert refusal(ImagesQuery, {"since": value}).startswith("since: ")


def test_an_unknown_filter_is_refused() -> None:
    assert refusal(ImagesQuery, {"sample": "7"}) == "sample: unknown field"


def test_a_cache_buster_does_not_stop_a_stream() -> None:
    assert StreamQuery.model_validate({"t": "1700000000", "fps": "5"}).fps == 5.0


@pytest.mark.parametrize("data", [{"wait": "26"}, {"wait": "nan"}, {"max_age": "0"}, {"max_age": "inf"}])
def test_a_wait_is_bounded(data: dict[str, str]) -> None:
    assert "is not allowed" in refusal(LatestQuery, data)

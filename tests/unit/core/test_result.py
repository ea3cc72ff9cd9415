# SPDX-License-Identifier: MIT
"""What a stranger writes into a result or a heartbeat is a valid value or a ValueError, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldcam.core.clock import Instant
from fieldcam.core.plain_file import read_plain_file
from fieldcam.core.plain_json import MAX_DEPTH
from fieldcam.core.result import MAX_BEAT_BYTES, MAX_RESULT_BYTES, Beat, Result

GOOD: dict[str, Any] = {
    "service": "sky-analysis",
    "camera": "north",
    "at": "2026-01-13T10:30:45.123Z",
    "boot_id": "f5d799d8-a671-4345-9b20-f5dbf8b928e0",
    "monotonic_ns": 5_000_000_000,
    "data": {"cloud": 0.25, "words": ["grün", None, True]},
    "sequence": 7,
    "filename": "capture_20260113_103045_123.jpg",
    "image_id": 12,
    "schema": 1,
}
BEAT: dict[str, Any] = {
    "service": "sky-analysis", "boot_id": "b", "boottime_ns": 5, "at": "2026-01-13T10:30:45.123Z", "pid": 1,
    "detail": {"frames": 3}, "schema": 1,
}  # fmt: skip


def text_of(**changes: Any) -> bytes:
    return json.dumps(GOOD | changes).encode()


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_result_comes_back_as_it_was_written() -> None:
    result = Result(**GOOD)

    assert Result.from_json(result.to_json()) == result
    assert json.loads(result.to_json()) == GOOD
    assert result.to_json().endswith(b"}\n")


def test_what_is_not_known_is_tolerated_and_what_is_optional_may_be_missing() -> None:
    least = {key: GOOD[key] for key in ("service", "at", "boot_id", "monotonic_ns", "data")}

    result = Result.from_json(json.dumps(least | {"colour": "red", "id": -1}))

    assert result == Result(**(GOOD | dict.fromkeys(("camera", "sequence", "filename", "image_id"))))


@pytest.mark.parametrize("missing", ["service", "at", "boot_id", "monotonic_ns", "data"])
def test_what_every_result_says_must_be_there(missing: str) -> None:
    with pytest.raises(ValueError, match=f"{missing} is missing"):
        Result.from_json(json.dumps({key: value for key, value in GOOD.items() if key != missing}))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-01-13T10:30:45Z", "2026-01-13T10:30:45.000Z"),
        ("2026-01-13T12:30:45.1234567+02:00", "2026-01-13T10:30:45.123Z"),
        ("2026-01-13t10:30:45.5z", "2026-01-13T10:30:45.500Z"),
        ("2026-01-13T00:00:00.000-23:59", "2026-01-13T23:59:00.000Z"),
    ],
)
def test_a_time_is_kept_in_utc_however_it_is_written(written: str, read: str) -> None:
    assert Result.from_json(text_of(at=written)).at == read


WRONG: list[dict[str, Any]] = [
    {"service": "Sky"}, {"service": ""}, {"service": "../x"}, {"service": "a" * 33}, {"service": 5}, {"service": None},
    {"service": "a\n"}, {"camera": "../.."}, {"camera": "North"}, {"camera": 1}, {"camera": ["north"]},
    {"at": "yesterday"}, {"at": "2026-13-01T00:00:00Z"}, {"at": "2026-01-13T10:30:45"}, {"at": 5}, {"at": None},
    {"at": "9999-12-31T23:59:59-01:00"}, {"at": "0001-01-01T00:00:00+01:00"}, {"at": "２０２６-01-13T10:30:45.123Z"},
    {"at": "2026-W03-2T10:30:45Z"},
    {"boot_id": ""}, {"boot_id": "a b"}, {"boot_id": 1}, {"boot_id": "x" * 65},
    {"monotonic_ns": -1}, {"monotonic_ns": 2**63}, {"monotonic_ns": 1.0}, {"monotonic_ns": True}, {"monotonic_ns": "1"},
    {"data": []}, {"data": "x"}, {"data": None}, {"data": 1},
    {"data": {"n": 2**63}}, {"data": {"n": -(2**63)}}, {"data": {"n": float("nan")}}, {"data": {"n": float("inf")}},
    {"data": {"t": "\ud800"}}, {"data": {"\udfff": 1}}, {"data": {"deep": nested(MAX_DEPTH)}},
    {"sequence": -1}, {"sequence": 2**63}, {"sequence": 1.5}, {"sequence": False}, {"sequence": "7"},
    {"filename": "../../etc/passwd"}, {"filename": "capture_../../x_20260113_103045_123.jpg"}, {"filename": 5},
    {"filename": "capture_a/b_20260113_103045_123.jpg"}, {"filename": "capture_20260113_103045_123.png"},
    {"filename": "capture_20260113_103045_123.jpg\n"}, {"filename": "capture_20261313_103045_123.jpg"},
    {"image_id": 0}, {"image_id": -1}, {"image_id": 2**63}, {"image_id": "1"}, {"image_id": True}, {"image_id": 1.0},
    {"schema": 2}, {"schema": 0}, {"schema": "1"}, {"schema": True}, {"schema": None},
    {"data": {"text": "x" * MAX_RESULT_BYTES}},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: repr(wrong)[:60])
def test_a_field_of_another_type_or_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is one of many
        Result.from_json(text_of(**wrong))


HOSTILE: list[bytes] = [
    b"", b" ", b"{", b"null", b"[]", b'"x"', b"7", b"\xff\xfe", b"\xef\xbb\xbf{}", b"\x00" * 100,
    b"[" * MAX_RESULT_BYTES, b'{"data":' * 8000, b'{"a":' + b"9" * 5000 + b"}", b'{"a":1e99999}', b"NaN", b"Infinity",
    b"-Infinity", json.dumps(GOOD).encode("utf-16"), text_of()[:-1], text_of() + b"{}",
    text_of().replace(b'"sequence": 7', b'"sequence": 7, "sequence": 8'),
    text_of().replace(b"0.25", b"NaN"), text_of().replace(b"0.25", b"1e400"), text_of().replace(b"0.25", b"-1e400"),
    text_of().replace(b"0.25", b'{"a":1,"a":2}'), text_of().replace(b"0.25", b"9" * 4400),
    text_of() + b" " * MAX_RESULT_BYTES,
    # Larger when it is written again: 1e15 becomes 1000000000000000.0.
    text_of().replace(b"0.25", b"[" + b"1e15," * 12_000 + b"1]"),
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:30]))
@pytest.mark.parametrize("kind", [Result, Beat])
def test_hostile_texts_are_refused(kind: type[Result | Beat], text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is one of many
        kind.from_json(text)


def test_the_largest_result_is_taken_and_one_byte_more_is_not() -> None:
    room = MAX_RESULT_BYTES - len(Result(**(GOOD | {"data": {"t": ""}})).to_json())

    largest = Result(**(GOOD | {"data": {"t": "x" * room}})).to_json()

    assert len(largest) == MAX_RESULT_BYTES
    assert Result.from_json(largest).to_json() == largest
    with pytest.raises(ValueError, match="larger"):
        Result.from_json(largest + b" ")


def test_the_deepest_data_is_taken_and_one_level_more_is_not() -> None:
    Result(**(GOOD | {"data": {"deep": nested(MAX_DEPTH - 2)}}))
    with pytest.raises(ValueError, match="nested"):
        Result(**(GOOD | {"data": {"deep": nested(MAX_DEPTH - 1)}}))


def test_data_that_holds_itself_is_refused_soon() -> None:
    circle: list[Any] = []
    circle += [circle] * 10

    with pytest.raises(ValueError, match=r"many values|nested"):
        Result(**(GOOD | {"data": {"circle": circle}}))


@pytest.mark.parametrize("value", [b"x", {1, 2}, object(), {1: "x"}, {None: 1}])
def test_data_that_json_does_not_have_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON does not have"):
        Result(**(GOOD | {"data": {"value": value}}))


# --- properties -------------------------------------------------------------------------------------------------------

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20)
    | st.sampled_from(["\ud800", "2026-01-13T10:30:45.123Z", "default", "capture_20260113_103045_123.jpg", ""])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=5), below, max_size=4)
)
FIELDS = st.fixed_dictionaries({}, optional={name: VALUES | st.just(GOOD[name]) for name in GOOD})


@given(FIELDS)
@settings(max_examples=400, deadline=None)
@example(GOOD)
def test_any_object_is_a_valid_result_or_a_value_error(fields: dict[str, Any]) -> None:
    try:
        result = Result.from_json(json.dumps(fields))
    except ValueError:
        return
    assert Result.from_json(result.to_json()) == result
    assert result.key == Result.from_json(result.to_json()).key


@given(st.binary(max_size=300) | st.text(max_size=300))
@settings(max_examples=400, deadline=None)
def test_any_text_is_a_result_or_a_value_error(text: bytes | str) -> None:
    for kind in (Result, Beat):
        with pytest.raises(ValueError):  # noqa: PT011 - no such text is a result
            kind.from_json(text)


@given(st.integers(0, len(text_of()) - 1), st.binary(min_size=0, max_size=3))
@settings(max_examples=400, deadline=None)
def test_a_result_with_damaged_bytes_is_valid_or_a_value_error(position: int, damage: bytes) -> None:
    text = text_of()
    try:
        result = Result.from_json(text[:position] + damage + text[position + 1 :])
    except ValueError:
        return
    assert Result.from_json(result.to_json()) == result


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=4))
@settings(max_examples=300, deadline=None)
def test_valid_data_is_the_same_after_any_number_of_journeys(data: dict[str, Any]) -> None:
    try:
        result = Result(**(GOOD | {"data": data}))
    except ValueError:
        return
    once = Result.from_json(result.to_json())
    assert (once.to_json(), once.key) == (result.to_json(), result.key)


# --- the key ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"service": "other"}, {"camera": "default"}, {"camera": None}, {"at": "2026-01-13T10:30:45.124Z"},
        {"boot_id": "other"}, {"monotonic_ns": 1}, {"data": {"cloud": 0.5}}, {"data": {}}, {"sequence": 8},
        {"sequence": None}, {"filename": None},
    ],
)  # fmt: skip
def test_the_key_changes_with_everything_a_result_says(change: dict[str, Any]) -> None:
    assert Result(**(GOOD | change)).key != Result(**GOOD).key


def test_the_key_knows_neither_the_order_of_keys_nor_what_the_manager_fills_in() -> None:
    data = {"words": ["grün", None, True], "cloud": 0.25}

    assert Result(**(GOOD | {"data": data})).key == Result(**GOOD).key
    assert dataclasses.replace(Result(**GOOD), image_id=None).key == Result(**GOOD).key


# --- beats ------------------------------------------------------------------------------------------------------------


def test_a_beat_comes_back_as_it_was_written_and_knows_its_age() -> None:
    beat = Beat(**BEAT)

    assert Beat.from_json(beat.to_json()) == beat
    assert beat.age_seconds(Instant("b", 2_000_000_005, 0)) == 2.0
    assert beat.age_seconds(Instant("another boot", 2_000_000_005, 0)) == float("inf")


@pytest.mark.parametrize(
    "wrong",
    [
        {"service": "No"}, {"boot_id": ""}, {"boottime_ns": -1}, {"boottime_ns": 1.5}, {"pid": "1"}, {"detail": []},
        {"detail": {"x": float("nan")}}, {"detail": {"x": "y" * MAX_BEAT_BYTES}}, {"schema": 2}, {"at": "now"},
    ],
)  # fmt: skip
def test_a_wrong_beat_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is one of many
        Beat.from_json(json.dumps(BEAT | wrong))


# --- reading strangers' files -----------------------------------------------------------------------------------------


def test_only_plain_files_within_their_limit_are_read(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))

    assert read_plain_file(tmp_path / "plain", 5) == b"12345"
    with pytest.raises(ValueError, match="larger"):
        read_plain_file(tmp_path / "plain", 4)
    for name in ("link", "pipe", "folder", "s", "missing"):
        with pytest.raises((OSError, ValueError)):
            read_plain_file(tmp_path / name, 5)


def test_a_file_is_read_relative_to_an_open_folder(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"12345")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        tmp_path.rename(tmp_path.with_name("elsewhere"))
        assert read_plain_file("plain", 5, folder=descriptor) == b"12345"
    finally:
        os.close(descriptor)

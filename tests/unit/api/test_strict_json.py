# SPDX-License-Identifier: MIT
"""api.strict_json: what two programs would read differently is refused."""

from __future__ import annotations

import pytest

from fieldcam.api.strict_json import MAX_DEPTH, parse_object
from fieldcam.core.errors import RequestInvalidError


def test_an_object_is_read() -> None:
    assert parse_object('{"a": [1, {"b": "é"}], "c": null}'.encode()) == {"a": [1, {"b": "é"}], "c": None}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"[1]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"{", "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1, "a": 2}', "a: stands twice"),
        (b'{"a": {"b": 1, "b": 1}}', "b: stands twice"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": ' + b"1" * 5000 + b"}", "too long"),
        (b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "nested"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested"),
        (b"[" * 60_000, "nested"),
    ],
)
def test_what_is_refused_is_named(text: bytes, says: str) -> None:
    with pytest.raises(RequestInvalidError, match=says):
        parse_object(text)


def test_nesting_is_allowed_up_to_the_limit() -> None:
    depth = MAX_DEPTH - 1

    assert "a" in parse_object(b'{"a": ' + b"[" * depth + b"]" * depth + b"}")

# SPDX-License-Identifier: MIT
"""core.errors: every error has a code of its own and says what to do."""

from __future__ import annotations

import re

from fieldcam.core import errors
from fieldcam.core.errors import ControlError, ImageTooOldError, all_errors, error_from_dict


def test_codes_are_unique() -> None:
    codes = [error.code for error in all_errors()]

    assert len(codes) == len(set(codes))


def test_every_error_says_what_to_do() -> None:
    silent = [error.__name__ for error in all_errors() if "What to do:" not in (error.__doc__ or "")]

    assert silent == []


def test_the_tree_at_the_top_is_the_tree() -> None:
    drawn = dict(re.findall(r"(\w+Error)\s+([A-Z_]+)$", errors.__doc__ or "", re.MULTILINE))

    assert drawn == {error.__name__: error.code for error in all_errors()[1:]}


def test_an_error_survives_the_way_to_another_process() -> None:
    sent = ImageTooOldError("15.2 s old", age=15.2)

    received = error_from_dict(sent.as_dict())

    assert (type(received), received.message, received.details) == (ImageTooOldError, "15.2 s old", {"age": 15.2})


def test_an_unknown_code_becomes_a_plain_error() -> None:
    assert type(error_from_dict({"code": "FROM_THE_FUTURE", "message": "x"})) is ControlError

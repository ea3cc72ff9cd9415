# SPDX-License-Identifier: MIT
"""api.context: places are counted, and given back whatever happens."""

from __future__ import annotations

import pytest

from fieldcam.api.context import Places
from fieldcam.core.errors import ServerBusyError


def test_who_finds_no_place_is_told_at_once() -> None:
    places = Places(2, ServerBusyError("taken"))
    places.take()
    places.take()

    with pytest.raises(ServerBusyError, match="taken"):
        places.take()


def test_a_place_is_given_back_after_an_error() -> None:
    places = Places(1, ServerBusyError("taken"))
    with pytest.raises(ZeroDivisionError), places.held():
        raise ZeroDivisionError

    places.take()


def test_giving_back_what_was_not_taken_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="released too many times"):
        Places(1, ServerBusyError("taken")).give_back()

# SPDX-License-Identifier: MIT
"""handoff.lores: the small frame is the same picture, with OpenCV and without, from pixels and from a JPEG."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldcam.core.jpeg import decode
from fieldcam.handoff.lores import decode_for, decode_lores, lores_size, shrink


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((4056, 3040), (640, 480)),
        ((640, 480), (640, 480)),
        ((320, 240), (320, 240)),
        ((641, 3), (640, 3)),
        ((16384, 1), (640, 1)),
        ((1280, 1024), (640, 512)),
    ],
)
def test_proportions_are_kept_and_small_frames_stay(size: tuple[int, int], small: tuple[int, int]) -> None:
    assert lores_size(*size) == small


@given(st.integers(1, 16384), st.integers(1, 16384), st.integers(16, 4096))
def test_it_is_never_wider_than_asked_and_never_without_a_side(width: int, height: int, wanted: int) -> None:
    small = lores_size(width, height, wanted)

    assert small[0] == min(width, wanted)
    assert 1 <= small[1] <= height


@pytest.mark.parametrize("with_opencv", [True, False])
@pytest.mark.parametrize("width", [640, 333, 160, 31])
def test_the_small_frame_is_the_same_picture(
    photographs: list[Path], monkeypatch: pytest.MonkeyPatch, with_opencv: bool, width: int
) -> None:
    jpeg = photographs[0].read_bytes()
    picture = decode(jpeg)
    height = lores_size(640, 427, width)[1]
    expected = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    if not with_opencv:
        monkeypatch.setitem(sys.modules, "cv2", None)

    shrunk = np.empty((height, width, 3), np.uint8)
    shrink(picture, shrunk)
    from_jpeg = decode_lores(jpeg, width)

    for small in (shrunk, from_jpeg):
        assert small.shape == expected.shape
        assert abs(small.astype(int).mean() - expected.astype(int).mean()) < 3
        assert np.abs(small.astype(int) - expected.astype(int)).mean() < (6 if with_opencv else 25)


def test_a_jpeg_is_decoded_no_larger_than_needed(photographs: list[Path]) -> None:
    jpeg = photographs[0].read_bytes()

    assert [decode_for(jpeg, width).shape[1] for width in (80, 81, 160, 161, 320, 321, 5000)] == [
        80,
        160,
        160,
        320,
        320,
        640,
        640,
    ]

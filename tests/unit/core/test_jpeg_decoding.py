# SPDX-License-Identifier: MIT
"""core.jpeg: sizes, pixels and grey as OpenCV sees them; into a buffer; and one error for whatever is no JPEG."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcam.core.errors import ImageInvalidError
from fieldcam.core.jpeg import (
    DIVISORS,
    MAX_SIDE,
    Divisor,
    check_size,
    decode,
    decode_at_least,
    decode_gray,
    decode_scaled,
    read_size,
)
from tests.photos import enlarged

SMALL = simplejpeg.encode_jpeg(np.full((33, 47, 3), 90, np.uint8), 90, "BGR")


@pytest.fixture
def photograph(photographs: list[Path]) -> bytes:
    return photographs[0].read_bytes()


def reference(data: bytes, flags: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), flags), np.uint8)


def with_size(data: bytes, width: int, height: int) -> bytes:
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + data[at + 4 :]


def test_pixels_are_those_of_opencv(photograph: bytes) -> None:
    pixels = decode(photograph)

    assert pixels.dtype == np.uint8
    assert read_size(photograph) == (640, 427)
    assert pixels.shape == (427, 640, 3)
    assert np.abs(pixels.astype(int) - reference(photograph, cv2.IMREAD_COLOR)).mean() < 1


def test_grey_is_that_of_opencv(photograph: bytes) -> None:
    pixels = decode_gray(photograph)

    assert pixels.shape == (427, 640)
    assert np.abs(pixels.astype(int) - reference(photograph, cv2.IMREAD_GRAYSCALE)).mean() < 1


@pytest.mark.parametrize("divisor", DIVISORS)
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("size", [(640, 480), (641, 479), (7, 9), (1, 1), (8, 16), (15, 1)])
def test_sides_are_divided_and_rounded_up(divisor: Divisor, gray: bool, size: tuple[int, int]) -> None:
    width, height = size
    data = simplejpeg.encode_jpeg(np.full((height, width, 3), 120, np.uint8), 95, "BGR")

    pixels = decode_scaled(data, divisor=divisor, gray=gray)

    assert pixels.shape[:2] == (-(-height // divisor), -(-width // divisor))
    assert pixels.ndim == (2 if gray else 3)
    assert abs(int(pixels.reshape(-1)[0]) - 120) < 3


def test_a_scaled_picture_is_the_same_picture(photograph: bytes) -> None:
    for divisor in DIVISORS[1:]:
        pixels = decode_scaled(photograph, divisor=divisor)
        expected = cv2.resize(decode(photograph), pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(pixels.astype(int) - expected.astype(int)).mean() < 8


@pytest.mark.parametrize("divisor", [0, 3, 16, -1, 2.5])
def test_other_divisors_are_refused(photograph: bytes, divisor: int) -> None:
    with pytest.raises(ValueError, match="1, 2, 4 and 8"):
        decode_scaled(photograph, divisor=divisor)  # type: ignore[arg-type]


def test_at_least_is_at_least_and_not_much_more(photograph: bytes) -> None:
    height, width = decode_at_least(photograph, width=300, height=10).shape[:2]

    assert 300 <= width <= 330
    assert height >= 10
    assert decode_at_least(photograph, width=5000, height=5000).shape[:2] == (427, 640)


def test_pixels_go_where_there_is_room_for_them(photograph: bytes) -> None:
    room = np.zeros((427, 640, 3), np.uint8)
    inside = np.zeros(427 * 640 * 3 + 100, np.uint8)[100:].reshape(427, 640, 3)

    for out in (room, inside):
        assert decode(photograph, out=out) is out
        assert (out == decode(photograph)).all()


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((640, 427, 3), np.uint8),
        np.zeros((427, 640, 4), np.uint8),
        np.zeros((427, 640, 3), np.int8),
        np.zeros((427, 640, 6), np.uint8)[:, :, ::2],
        np.broadcast_to(np.zeros(3, np.uint8), (427, 640, 3)),
    ],
    ids=["turned", "four channels", "signed", "with gaps", "read-only"],
)
def test_what_does_not_fit_is_left_alone(
    photograph: bytes, out: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> None:
    pixels = decode(photograph, out=out)

    assert not np.shares_memory(pixels, out)
    assert not out.any()
    assert (pixels == decode(photograph)).all()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no image",
        SMALL[:20],
        SMALL[: len(SMALL) // 2],
        with_size(SMALL, 16000, 16000),
        with_size(SMALL, 0, 5),
        None,
    ],
)
def test_what_is_no_whole_jpeg_is_one_kind_of_error(data: bytes) -> None:
    for attempt in (
        decode,
        decode_gray,
        lambda data: decode_scaled(data, divisor=4),
        lambda data: decode_at_least(data, width=2, height=2),
    ):
        with pytest.raises(ImageInvalidError):
            attempt(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100), st.integers(0, len(SMALL)))
def test_whatever_comes_only_that_error_is_raised(noise: bytes, cut: int) -> None:
    data = SMALL[:cut] + noise
    for attempt in (read_size, decode, decode_gray):
        try:
            attempt(data)
        except ImageInvalidError:
            continue


def test_nothing_is_allocated_for_a_size_no_camera_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *_, **__: pytest.fail("decoded"))

    for width, height in ((65000, 10), (16000, 16000)):
        with pytest.raises(ImageInvalidError, match="too large"):
            decode(with_size(SMALL, width, height))


@pytest.mark.parametrize(("width", "height"), [(MAX_SIDE + 1, 1), (1, MAX_SIDE + 1), (12_000, 12_000), (0, 1), (1, -1)])
def test_sizes_no_camera_has_are_refused(width: int, height: int) -> None:
    with pytest.raises(ImageInvalidError):
        check_size(width, height)


def test_sizes_of_the_largest_cameras_are_taken() -> None:
    check_size(9152, 6944)
    check_size(MAX_SIDE, 7000)


def test_other_threads_go_on_while_an_image_is_decoded(photographs: list[Path]) -> None:
    large = enlarged(photographs[0])
    out = np.empty((3040, 4056, 3), np.uint8)
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(0.002):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    started = time.monotonic()
    for _ in range(5):
        decode(large, out=out)
    ended = time.monotonic()
    stop.set()
    thread.join()

    # Held for the whole of a decode, the lock of the interpreter would let it tick once between two of them.
    assert sum(started < at < ended for at in ticks) > 20

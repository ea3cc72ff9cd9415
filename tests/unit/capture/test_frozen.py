# SPDX-License-Identifier: MIT
"""capture.frozen: a sensor that hangs delivers, but always the same picture."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from fieldcam.camera.jpeg import encode
from fieldcam.capture.frozen import IdenticalFrames, picture_offset
from fieldcam.core.frame import Shot

RANDOM = np.random.default_rng(7)


def pixels(width: int = 64, height: int = 48) -> Any:
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


def jpeg_shot(jpeg: bytes, at_ns: int, **said: Any) -> Shot:
    return Shot(at_ns, 64, 48, jpeg=jpeg, settings=said)


def with_comment(jpeg: bytes, text: bytes, marker: int = 0xFE) -> bytes:
    return jpeg[:2] + bytes((0xFF, marker)) + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


def counts(*shots: Shot) -> list[int]:
    watch = IdenticalFrames()
    return [watch.count(shot) for shot in shots]


def test_the_same_jpeg_is_counted_until_another_one_comes() -> None:
    same, other = encode(pixels(), 90), encode(pixels(), 90)

    assert counts(*(jpeg_shot(jpeg, at) for at, jpeg in enumerate((same, same, same, other, same)))) == [0, 1, 2, 0, 0]


@pytest.mark.parametrize("marker", [0xE1, 0xEF, 0xFE])
def test_the_time_in_the_header_does_not_make_it_a_new_picture(marker: int) -> None:
    same = encode(pixels(), 90)

    shots = [jpeg_shot(with_comment(same, b"2026:01:13 10:00:%02d" % second, marker), second) for second in range(3)]

    assert counts(*shots) == [0, 1, 2]


def test_a_difference_in_the_last_byte_of_the_picture_is_seen() -> None:
    one = encode(pixels(), 90)
    other = one[:-3] + bytes((one[-3] ^ 1,)) + one[-2:]

    assert counts(jpeg_shot(one, 1), jpeg_shot(other, 2)) == [0, 0]


def test_the_same_sensor_time_is_the_same_exposure_whatever_the_bytes() -> None:
    shots = [jpeg_shot(encode(pixels(), 90), at, SensorTimestamp=12_345) for at in range(3)]

    assert counts(*shots) == [0, 1, 2]


def test_sensor_times_that_go_on_do_not_hide_the_same_picture() -> None:
    same = encode(pixels(), 90)

    assert counts(*(jpeg_shot(same, at, SensorTimestamp=at) for at in range(3))) == [0, 1, 2]


def test_the_same_start_of_the_exposure_is_the_same_exposure() -> None:
    assert counts(jpeg_shot(encode(pixels(), 90), 5), jpeg_shot(encode(pixels(), 90), 5)) == [0, 1]


@pytest.mark.parametrize("size", [(64, 48), (4056, 3040)])
def test_pixels_are_compared_by_a_sample(size: tuple[int, int]) -> None:
    one = pixels(*size)
    other = one.copy()
    other[::2] ^= 1

    shots = [Shot(at, *size, pixels=picture) for at, picture in enumerate((one, one.copy(), other, other))]

    assert counts(*shots) == [0, 1, 0, 1]


def test_every_pixel_of_a_small_picture_counts() -> None:
    one = pixels()
    other = one.copy()
    other[-1, -1, -1] ^= 1

    assert counts(Shot(1, 64, 48, pixels=one), Shot(2, 64, 48, pixels=other)) == [0, 0]


def test_the_same_bytes_in_another_size_are_another_picture() -> None:
    flat = np.zeros((48, 64, 3), np.uint8)

    assert counts(Shot(1, 64, 48, pixels=flat), Shot(2, 48, 64, pixels=flat.reshape(64, 48, 3))) == [0, 0]


def test_pixels_that_change_in_place_are_seen_to_change() -> None:
    buffer = pixels()
    watch = IdenticalFrames()
    watch.count(Shot(1, 64, 48, pixels=buffer))
    buffer ^= 1

    assert watch.count(Shot(2, 64, 48, pixels=buffer)) == 0


def test_a_preview_frame_is_compared_by_its_picture() -> None:
    same, watch = encode(pixels(), 80), IdenticalFrames()

    counted = [watch.count_jpeg(same, at, (64, 48)) for at in range(3)]

    assert (counted, watch.count_jpeg(encode(pixels(), 80), 9, (64, 48))) == ([0, 1, 2], 0)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xe1", b"\xff\xd8\xff\xe1\xff\xff", b"x" * 9]
)
def test_anything_may_be_asked_for_its_picture(data: bytes) -> None:
    assert 0 <= picture_offset(data) <= max(2, len(data))


def test_a_shot_without_an_image_is_no_reason_to_fail_here() -> None:
    shot = Shot(1, 64, 48)

    assert counts(shot, dataclasses.replace(shot, exposed_at_ns=2)) == [0, 1]

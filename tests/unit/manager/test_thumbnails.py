# SPDX-License-Identifier: MIT
"""Thumbnails of real photographs, made in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from fieldcam.core.config import Config
from fieldcam.core.layout import MARKER
from fieldcam.manager import thumbnails
from fieldcam.manager.sources import Sources
from fieldcam.manager.thumbnails import Thumbnailer, make_thumbnail
from tests.frames_on_disk import make_config, make_sidecar, put_capture

WAIT_SECONDS = 20


class Stage:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.paths = config.layout.camera("default")
        self.done = threading.Semaphore(0)
        self.thumbnailer = Thumbnailer(Sources(config.layout, config.all_cameras), self.done.release)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(make_config(tmp_path))
    yield made
    made.thumbnailer.close()


def test_a_photograph_becomes_a_small_jpeg_of_the_same_shape(photographs: list[Path]) -> None:
    data = photographs[0].read_bytes()
    original = simplejpeg.decode_jpeg(data, "BGR")

    small = simplejpeg.decode_jpeg(make_thumbnail(data), "BGR")

    height, width = original.shape[:2]
    assert small.shape == (round(height * 320 / width), 320, 3)
    assert abs(float(np.mean(small)) - float(np.mean(original))) < 3


def test_a_large_image_is_exactly_as_wide_as_promised() -> None:
    pixels = np.zeros((3040, 4056, 3), np.uint8)
    pixels[:, :2028] = 255

    small = simplejpeg.decode_jpeg(make_thumbnail(simplejpeg.encode_jpeg(pixels, colorspace="BGR")), "GRAY")[..., 0]

    assert small.shape == (240, 320)
    assert small[120, 40] > 250
    assert small[120, 280] < 5


def test_a_small_image_is_not_made_larger() -> None:
    data = simplejpeg.encode_jpeg(np.zeros((48, 64, 3), np.uint8))

    assert simplejpeg.decode_jpeg_header(make_thumbnail(data))[:2] == (48, 64)


def test_half_an_image_is_an_error(photographs: list[Path]) -> None:
    with pytest.raises(ValueError, match=r"(?i)jpeg"):
        make_thumbnail(photographs[0].read_bytes()[:5000])


def test_a_wanted_thumbnail_is_made_and_told(stage: Stage, photographs: list[Path]) -> None:
    sidecar = put_capture(stage.config, 1, image=photographs[0].read_bytes())

    assert stage.thumbnailer.want("default", sidecar.filename)
    assert stage.done.acquire(timeout=WAIT_SECONDS)

    assert stage.thumbnailer.take_made() == [("default", sidecar.filename, f"thumbnails/{sidecar.filename}")]
    assert simplejpeg.is_jpeg((stage.paths.thumbnails / sidecar.filename).read_bytes())


def test_a_damaged_or_missing_image_does_not_stop_the_next(stage: Stage, photographs: list[Path]) -> None:
    damaged = put_capture(stage.config, 1, image=b"no image")
    good = put_capture(stage.config, 2, image=photographs[0].read_bytes())

    for filename in (damaged.filename, make_sidecar(9).filename, good.filename):
        stage.thumbnailer.want("default", filename)
    assert stage.done.acquire(timeout=WAIT_SECONDS)

    assert [made[1] for made in stage.thumbnailer.take_made()] == [good.filename]


def test_nothing_is_written_where_the_place_is_missing(stage: Stage, photographs: list[Path]) -> None:
    sidecar = put_capture(stage.config, 1, image=photographs[0].read_bytes())
    (stage.config.archive_dir / MARKER).unlink()

    stage.thumbnailer.want("default", sidecar.filename)
    stage.thumbnailer.close()

    assert stage.thumbnailer.take_made() == []
    assert not stage.paths.thumbnails.exists()


def test_a_full_queue_says_so(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(stage.thumbnailer, "_make", lambda _wanted: gate.wait(WAIT_SECONDS) and False)

    answers = [stage.thumbnailer.want("default", f"{number}.jpg") for number in range(thumbnails.QUEUE + 10)]
    again = stage.thumbnailer.want("default", "5.jpg")
    gate.set()

    assert answers[: thumbnails.QUEUE] == [True] * thumbnails.QUEUE
    assert answers[-1] is False
    assert again

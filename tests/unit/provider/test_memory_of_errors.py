# SPDX-License-Identifier: MIT
"""An error that was caught must not keep a picture: twelve million pixels are 37 MB."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fieldcam.bench.published import Area, draw_pictures
from fieldcam.core.errors import ImageInvalidError, SharedVolumeError
from fieldcam.provider.provider import SharedVolumeImageProvider

SIZE = (320, 240)
NEVER = 10**9


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collector")
def test_a_picture_goes_when_its_consumer_lets_go_and_not_when_the_collector_comes(tmp_path: Path) -> None:
    Area(tmp_path, draw_pictures(SIZE, 2), SIZE, kept=3)
    with SharedVolumeImageProvider(tmp_path, background_monitoring=False, ring_dir="") as provider:

        def take() -> weakref.ref[object]:
            # An error holds the frames of the calls it went through, and those what their callers have.
            with suppress(SharedVolumeError):
                provider.latest_frame(newer_than=NEVER)
            with suppress(SharedVolumeError):
                provider.wait_for_frame(NEVER, 0.1)
            with suppress(SharedVolumeError):
                provider.hold(newer_than=NEVER)
            frame = provider.latest_frame()
            return weakref.ref(frame.image)

        picture = take()

        assert picture() is None


@pytest.mark.usefixtures("_no_collector")
def test_the_same_when_the_newest_images_are_damaged(tmp_path: Path) -> None:
    Area(tmp_path, [b"\xff\xd8 no picture \xff\xd9"], SIZE, kept=3)
    with SharedVolumeImageProvider(tmp_path, background_monitoring=False, ring_dir="") as provider:

        def take() -> weakref.ref[object]:
            with suppress(SharedVolumeError, ImageInvalidError):
                provider.latest_frame()
            mine = {1, 2, 3}
            return weakref.ref(mine)

        mine = take()

        assert mine() is None

# SPDX-License-Identifier: MIT
"""api.stream: parts are new frames, evenly thinned, never larger than they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import simplejpeg

from fieldcam.api.stream import StreamFrame, Thinning, scaled


def frame_of(photograph: Path) -> StreamFrame:
    return StreamFrame(photograph.read_bytes(), 1, "boot", 7, 640, 427, simulated=False)


def passed(fps: float | None, source_fps: float, seconds: float = 10.0) -> list[int]:
    thinning = Thinning(fps)
    times = [round(n * 1e9 / source_fps) for n in range(1, round(source_fps * seconds) + 1)]
    return [time for time in times if thinning.passes(time)]


def test_without_a_wish_every_frame_passes() -> None:
    assert len(passed(None, 15)) == 150


@pytest.mark.parametrize("fps", [1.0, 2.0, 5.0, 7.0, 10.0])
def test_thinning_keeps_the_rate(fps: float) -> None:
    assert len(passed(fps, 15)) / 10 == pytest.approx(fps, abs=0.15)


def test_a_wish_for_more_than_there_is_changes_nothing() -> None:
    assert len(passed(60, 15)) == 150


def test_a_frame_is_sent_once() -> None:
    thinning = Thinning(None)

    assert [thinning.passes(time) for time in (5, 5, 4, 6)] == [True, False, False, True]


def test_after_a_pause_frames_do_not_come_in_a_burst() -> None:
    thinning = Thinning(2)
    thinning.passes(1)

    burst = [thinning.passes(10_000_000_000 + n * 50_000_000) for n in range(10)]

    assert burst.count(True) <= 2


def test_a_frame_is_scaled_down_to_the_width(photographs: list[Path]) -> None:
    small = scaled(frame_of(photographs[0]), 200)

    pixels = simplejpeg.decode_jpeg(small.jpeg)
    assert (small.width, small.height, pixels.shape) == (200, 133, (133, 200, 3))


def test_a_frame_is_never_made_larger(photographs: list[Path]) -> None:
    frame = frame_of(photographs[0])

    assert scaled(frame, 1280) is frame


@pytest.mark.parametrize(
    "message",
    [[b"preview"], [b"preview", b"{}", b""], [b"preview", b"no json", b""], [b"preview", b"[]", b""], [b"a"] * 4],
)
def test_a_message_that_is_no_frame_is_refused(message: list[bytes]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - what it says is nobody's business
        StreamFrame.parse(message)


def test_a_frame_is_read_as_the_capture_process_sends_it() -> None:
    header = {"exposed_at_ns": 5, "boot_id": "b", "sequence": None, "width": 4, "height": 3, "simulated": True}

    frame = StreamFrame.parse([b"preview", json.dumps(header).encode(), b"jpeg"])

    assert frame == StreamFrame(b"jpeg", 5, "b", None, 4, 3, simulated=True)

# SPDX-License-Identifier: MIT
"""A stream of JPEGs is cut into its frames, however it arrives."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcam.camera.rpicam_preview import MjpegSplitter
from tests.fakes.fake_jpeg import make_jpeg

FRAMES = [make_jpeg(64 + 16 * number, 48, bar=number / 5) for number in range(5)]
STREAM = b"".join(FRAMES)


@settings(deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_frames_come_out_whole_wherever_the_stream_is_cut(cuts: list[int]) -> None:
    splitter = MjpegSplitter()
    edges = [0, *sorted(cuts), len(STREAM)]

    frames = [frame for start, end in pairwise(edges) for frame in splitter.feed(STREAM[start:end])]

    assert frames == FRAMES


def test_a_frame_comes_out_with_its_last_byte() -> None:
    splitter = MjpegSplitter()

    assert splitter.feed(FRAMES[0][:-1]) == []
    assert splitter.feed(FRAMES[0][-1:]) == [FRAMES[0]]


def test_noise_before_a_frame_is_dropped() -> None:
    splitter = MjpegSplitter()

    assert splitter.feed(b"noise\xff") == []
    assert splitter.feed(b"\x00\xff") == []
    assert splitter.feed(FRAMES[0][1:]) == [FRAMES[0]]


def test_a_frame_without_end_does_not_fill_the_memory() -> None:
    splitter = MjpegSplitter()
    for _ in range(40):
        splitter.feed(b"\xff\xd8" + bytes(1024 * 1024))

    splitter.feed(b"\xff\xd9")

    assert splitter.feed(STREAM)[-1] == FRAMES[-1]

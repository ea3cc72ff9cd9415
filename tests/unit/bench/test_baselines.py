# SPDX-License-Identifier: MIT
"""The baselines do what they say: a baseline that cheats flatters us."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from fieldcam.bench import bare
from fieldcam.bench.documented_design import POLL_SECONDS, Poller, capture_by_spawning, capture_then_sleep
from fieldcam.bench.row import NotMeasuredError


def test_the_bare_disk_gets_the_same_bytes_and_as_many_flushes_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    seconds = bare.write_like_a_capture(tmp_path, "a", b"image", b"sidecar")

    assert len(flushed) == bare.FLUSHES
    assert seconds > 0
    assert (tmp_path / "a.jpg").read_bytes() == b"image"
    assert (tmp_path / "a.json").read_bytes() == b"sidecar"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "a.json", "table"]


def test_a_spawned_shot_is_noticed_by_the_poll_and_not_before_it_is_there(tmp_path: Path) -> None:
    source, folder = tmp_path / "source.jpg", tmp_path / "shots"
    source.write_bytes(b"image")
    folder.mkdir()

    with Poller(folder) as poller:
        seconds = capture_by_spawning(source, folder, "shot.jpg", poller)

    assert (folder / "shot.jpg").read_bytes() == b"image"
    assert 0 < seconds < 60
    assert POLL_SECONDS == 0.1


def test_a_shot_that_never_comes_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fieldcam.bench.documented_design.NOTICE_SECONDS", 0.2)

    with Poller(tmp_path) as poller, pytest.raises(NotMeasuredError, match=r"lost\.jpg did not appear"):
        poller.wait_for("lost.jpg")


def test_the_documented_loop_writes_every_turn_and_begins_each_after_its_sleep(tmp_path: Path) -> None:
    turns: list[None] = []

    began = capture_then_sleep(
        lambda: b"image", tmp_path, turns=3, interval_seconds=0.02, step=lambda: turns.append(None)
    )

    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == [b"image"] * 3
    assert len(turns) == 3
    assert all(after - before >= 0.02 for before, after in pairwise(began))

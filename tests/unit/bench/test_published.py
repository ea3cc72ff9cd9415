# SPDX-License-Identifier: MIT
"""What consumers are fed in the benchmark is what capture publishes."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from fieldcam.bench import published
from fieldcam.bench.published import Area, draw_pictures, ram_folder
from fieldcam.bench.row import NotMeasuredError
from fieldcam.core.clock import SystemClock
from fieldcam.core.durable import rename_without_overwriting
from fieldcam.core.frame import Sidecar
from fieldcam.store.reader import FrameFile, iter_frames
from fieldcam.store.volume import Volume

SIZE = (64, 48)
PICTURES = [b"\xff\xd8one\xff\xd9", b"\xff\xd8another\xff\xd9"]


def area_in(folder: Path, kept: int = 5) -> Area:
    return Area(folder, PICTURES, SIZE, kept=kept)


def frames(area: Area) -> dict[str, tuple[FrameFile, Sidecar]]:
    return {frame.image.name: (frame, frame.read_sidecar()) for frame in iter_frames(area.live, area.root / "metadata")}


def test_an_area_starts_full_and_every_frame_is_what_its_sidecar_says(tmp_path: Path) -> None:
    area = area_in(tmp_path)

    found = frames(area)

    assert len(found) == 5
    assert len({sidecar.sequence for _, sidecar in found.values()}) == 5
    assert all(sidecar.filename == name for name, (_, sidecar) in found.items())
    assert Volume.open(tmp_path, "handoff").id == area.volume_id


def test_a_published_frame_is_new_whole_and_fresh_and_the_oldest_goes(tmp_path: Path) -> None:
    area = area_in(tmp_path)
    before = frames(area)
    oldest = min(before)

    began_ns = SystemClock().boottime_ns()
    frame = area.publish()
    ended_ns = SystemClock().boottime_ns()

    found = frames(area)
    file, sidecar = found[frame.filename]
    data = file.image.read_bytes()
    assert set(found) == set(before) - {oldest} | {frame.filename}
    assert frame.filename == max(found)
    assert sidecar.sequence == frame.sequence > max(old.sequence for _, old in before.values())
    assert (sidecar.file_size, sidecar.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert data == area.picture(frame.sequence)
    assert sidecar.boot_id == SystemClock().boot_id()
    assert began_ns <= sidecar.monotonic_ns <= frame.at_ns <= ended_ns
    assert not list(area.live.glob(".*"))


def test_a_frame_that_went_to_the_ring_gets_its_file_under_the_same_number(tmp_path: Path) -> None:
    area = area_in(tmp_path)
    sidecar = area.sidecar()

    frame = area.publish(sidecar)

    assert (sidecar.filename, sidecar.file_size, sidecar.sha256) == ("", 0, "")
    assert frame.sequence == sidecar.sequence
    assert frames(area)[frame.filename][1].monotonic_ns == sidecar.monotonic_ns


def test_the_moment_that_counts_is_before_the_name_and_after_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    area = area_in(tmp_path)
    renamed: list[tuple[str, int]] = []
    real = rename_without_overwriting

    def rename(source: Path, target: Path) -> None:
        renamed.append((target.suffix, time.clock_gettime_ns(time.CLOCK_BOOTTIME)))
        real(source, target)

    monkeypatch.setattr(published, "rename_without_overwriting", rename)

    frame = area.publish()

    assert [suffix for suffix, _ in renamed] == [".json", ".jpg"]
    assert renamed[0][1] <= frame.at_ns <= renamed[1][1]


def test_a_file_that_is_forgotten_is_still_there(tmp_path: Path) -> None:
    area = area_in(tmp_path)
    frame = area.publish()

    area.forget(frame.filename)

    assert (area.live / frame.filename).read_bytes() == area.picture(frame.sequence)


def test_the_pictures_are_jpegs_that_differ() -> None:
    pictures = draw_pictures((640, 480), 2)

    assert all(picture.startswith(b"\xff\xd8") and picture.endswith(b"\xff\xd9") for picture in pictures)
    assert pictures[0] != pictures[1]


def test_too_little_memory_is_said_with_the_number_that_is_needed() -> None:
    with pytest.raises(NotMeasuredError, match=r"free, 10000000000016 MB are needed"), ram_folder(10**19):
        pass


def test_a_machine_without_a_tmpfs_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "RAM", tmp_path / "missing")

    with pytest.raises(NotMeasuredError, match="no RAM for the ring"), ram_folder(1):
        pass


def test_a_folder_in_memory_goes_away_again() -> None:
    with ram_folder(1) as folder:
        (folder / "file").write_bytes(b"x")

    assert not folder.exists()

# SPDX-License-Identifier: MIT
"""store.live_roll: the newest frames stay, by order of capture, within number and bytes."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from fieldcam.core.clock import Instant
from fieldcam.core.errors import StorageUnavailableError
from fieldcam.store.live_roll import LiveRoll
from tests.crash.site import CrashClock, sidecar_of

BOOT = "boot-0"
SIZE = 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("live", "metadata"):
        (tmp_path / name).mkdir()
    return tmp_path


def put(folder: Path, stem: str, sequence: int, *, boot_id: str = BOOT) -> Path:
    made = sidecar_of(b"image", "0", "live", sequence, Instant.now(CrashClock(boot_id=boot_id)))
    (folder / "metadata" / f"{stem}.json").write_bytes(replace(made, filename=f"{stem}.jpg").to_json())
    image = folder / "live" / f"{stem}.jpg"
    image.write_bytes(b"x" * SIZE)
    return image


def roll(folder: Path, *, max_images: int = 3, max_bytes: int | None = None) -> LiveRoll:
    return LiveRoll(folder / "live", folder / "metadata", max_images=max_images, max_bytes=max_bytes, boot_id=BOOT)


def stem_of(number: int) -> str:
    return f"capture_20260113_103045_{number:03d}"


def left(folder: Path) -> set[str]:
    images = {path.stem for path in (folder / "live").iterdir()}
    assert {path.stem for path in (folder / "metadata").iterdir()} == images
    return images


def test_the_oldest_goes_when_there_are_too_many(folder: Path) -> None:
    subject = roll(folder)

    removed = [subject.added(put(folder, stem_of(number), number), SIZE) for number in range(5)]

    assert removed == [[], [], [], [f"{stem_of(0)}.jpg"], [f"{stem_of(1)}.jpg"]]
    assert left(folder) == {stem_of(2), stem_of(3), stem_of(4)}


def test_room_is_made_before_a_frame_comes(folder: Path) -> None:
    for number in range(3):
        put(folder, stem_of(number), number)

    removed = roll(folder).make_room(SIZE)

    assert removed == [f"{stem_of(0)}.jpg"]


def test_bytes_are_a_limit_too(folder: Path) -> None:
    for number in range(3):
        put(folder, stem_of(number), number)
    subject = roll(folder, max_images=100, max_bytes=3 * SIZE)

    removed = subject.make_room(2 * SIZE)

    assert removed == [f"{stem_of(0)}.jpg", f"{stem_of(1)}.jpg"]


def test_the_newest_frame_stays_whatever_the_limits_say(folder: Path) -> None:
    put(folder, stem_of(0), 0)
    subject = roll(folder, max_images=1, max_bytes=1)

    removed = subject.make_room(SIZE) + subject.free(10**9)

    assert removed == []
    assert len(subject) == 1


def test_a_frame_larger_than_the_limit_replaces_all_others(folder: Path) -> None:
    subject = roll(folder, max_bytes=SIZE // 2)

    for number in range(2):
        subject.added(put(folder, stem_of(number), number), SIZE)

    assert left(folder) == {stem_of(1)}


def test_a_full_disk_frees_as_much_as_is_needed(folder: Path) -> None:
    for number in range(3):
        put(folder, stem_of(number), number)

    removed = roll(folder).free(SIZE + 1)

    assert removed == [f"{stem_of(0)}.jpg", f"{stem_of(1)}.jpg"]


def test_order_after_a_restart_is_by_sequence_whatever_names_and_file_times_say(folder: Path) -> None:
    put(folder, "capture_20360113_103045_123", 1)
    put(folder, "capture_20260113_103045_123_2", 2)
    put(folder, "capture_20160113_103045_123_3", 3)
    os.utime(folder / "live" / "capture_20360113_103045_123.jpg")

    removed = roll(folder, max_images=2).make_room(SIZE)

    assert removed == ["capture_20360113_103045_123.jpg", "capture_20260113_103045_123_2.jpg"]


def test_frames_of_other_boots_go_first(folder: Path) -> None:
    put(folder, "capture_20260113_103045_123_2", 1)
    put(folder, "capture_20360113_103045_123", 999, boot_id="boot-before")

    removed = roll(folder, max_images=2).make_room(SIZE)

    assert removed == ["capture_20360113_103045_123.jpg"]


def test_an_image_without_a_sidecar_goes_first_and_its_bytes_count(folder: Path) -> None:
    put(folder, stem_of(1), 1)
    (folder / "live" / f"{stem_of(2)}.jpg").write_bytes(b"x" * SIZE)

    removed = roll(folder, max_images=100, max_bytes=2 * SIZE).make_room(SIZE)

    assert removed == [f"{stem_of(2)}.jpg"]


def test_files_removed_by_hand_are_no_trouble(folder: Path) -> None:
    for number in range(3):
        put(folder, stem_of(number), number)
    subject = roll(folder)
    for path in [*(folder / "live").iterdir(), *(folder / "metadata").iterdir()]:
        path.unlink()

    removed = subject.added(put(folder, stem_of(9), 9), SIZE)

    assert removed == [f"{stem_of(0)}.jpg"]
    assert left(folder) == {stem_of(9)}


def test_the_image_goes_before_its_sidecar(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, stem_of(0), 0)
    put(folder, stem_of(1), 1)
    subject = roll(folder, max_images=2)
    order = []
    real = Path.unlink

    def unlink(path: Path, *, missing_ok: bool = False) -> None:
        order.append(path.suffix)
        real(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)

    subject.make_room(SIZE)

    assert order == [".jpg", ".json"]


def test_a_disk_that_fails_while_removing_is_an_error_of_ours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An OSError here used to end the capture process, again and again, as supervisord restarted it."""
    put(folder, stem_of(0), 0)
    put(folder, stem_of(1), 1)
    subject = roll(folder, max_images=2)

    def refuse(_path: Path, **_kwargs: bool) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "unlink", refuse)

    with pytest.raises(StorageUnavailableError, match="Input/output error"):
        subject.make_room(SIZE)

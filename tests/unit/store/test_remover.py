# SPDX-License-Identifier: MIT
"""What is never removed, whatever was decided: hostile trees, links, pins, foreign names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fieldcam.core.config import Config
from fieldcam.core.errors import SharedVolumeError, StorageUnavailableError
from fieldcam.core.layout import MARKER, CameraPaths
from fieldcam.store.remover import Remover
from fieldcam.store.volume import Volume
from tests.frames_on_disk import make_config, make_sidecar, put_capture, put_live

STEMS = [make_sidecar(number).filename.removesuffix(".jpg") for number in range(250)]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_config(tmp_path)


@pytest.fixture
def paths(config: Config) -> CameraPaths:
    return config.layout.camera("default")


@pytest.fixture
def remover(config: Config) -> Remover:
    return Remover(Volume.open(config.archive_dir, "archive"), durable=True)


def test_a_capture_goes_with_everything_of_its_own(config: Config, paths: CameraPaths, remover: Remover) -> None:
    for number in range(250):
        put_capture(config, number)
    paths.thumbnails.mkdir()
    (paths.thumbnails / f"{STEMS[0]}.jpg").write_bytes(b"12345")
    (paths.captures / f"{STEMS[0]}.ack").touch()

    removed = remover.remove_frames(paths.captures, paths.captures, STEMS[:240], paths.thumbnails)

    assert len(removed.images) == removed.sidecars == 240
    assert removed.bytes > 240 * len(b"image bytes")
    assert sorted(path.stem for path in paths.captures.iterdir()) == sorted([*STEMS[240:], *STEMS[240:]])
    assert not list(paths.thumbnails.iterdir())


def test_what_is_pinned_or_not_ours_or_no_file_stays(config: Config, paths: CameraPaths, remover: Remover) -> None:
    for number in range(2):
        put_capture(config, number)
    (paths.captures / f"{STEMS[0]}.pin").touch()
    outside = config.archive_dir.parent / "precious.jpg"
    outside.write_bytes(b"precious")
    (paths.captures / f"{STEMS[5]}.jpg").symlink_to(outside)
    (paths.captures / f"{STEMS[6]}.jpg").mkdir()
    (paths.captures / "holiday.jpg").write_bytes(b"mine")
    hostile = ["holiday", "../precious", "../../precious", "/etc/passwd", "", ".", "capture_x", f"a/{STEMS[1]}", "a\nb"]

    removed = remover.remove_frames(paths.captures, paths.captures, [STEMS[0], STEMS[5], STEMS[6], STEMS[9], *hostile])

    assert removed.images == ()
    assert (paths.captures / f"{STEMS[0]}.jpg").exists()
    assert (paths.captures / "holiday.jpg").exists()
    assert (paths.captures / f"{STEMS[5]}.jpg").is_symlink()
    assert outside.read_bytes() == b"precious"


def test_a_hard_link_elsewhere_keeps_its_bytes(config: Config, paths: CameraPaths, remover: Remover) -> None:
    put_capture(config, 0)
    other = config.archive_dir.parent / "kept.jpg"
    os.link(paths.captures / f"{STEMS[0]}.jpg", other)

    removed = remover.remove_frames(paths.captures, paths.captures, STEMS[:1])

    assert removed.images == (f"{STEMS[0]}.jpg",)
    assert other.read_bytes() == b"image bytes"


@pytest.mark.parametrize("where", ["/", "/etc", "..", "captures/../../x"])
def test_nothing_is_removed_outside_the_place(config: Config, remover: Remover, where: str) -> None:
    folder = Path(where) if where.startswith("/") else config.archive_dir / where

    with pytest.raises(StorageUnavailableError, match="not inside"):
        remover.remove_frames(folder, folder, STEMS[:1])


def test_a_folder_that_is_a_link_is_not_followed(config: Config, paths: CameraPaths, remover: Remover) -> None:
    put_capture(config, 0)
    outside = config.archive_dir.parent / "outside"
    paths.captures.rename(outside)
    paths.captures.symlink_to(outside)

    with pytest.raises(SharedVolumeError, match="Not a directory"):
        remover.remove_frames(paths.captures, paths.captures, STEMS[:1])

    assert (outside / f"{STEMS[0]}.jpg").exists()


def test_nothing_is_removed_when_the_place_is_another_one(config: Config, paths: CameraPaths, remover: Remover) -> None:
    put_capture(config, 0)
    (config.archive_dir / MARKER).write_text('{"id": "another", "kind": "archive"}')

    with pytest.raises(StorageUnavailableError, match="another volume"):
        remover.remove_frames(paths.captures, paths.captures, STEMS[:1])

    assert (paths.captures / f"{STEMS[0]}.jpg").exists()


def test_a_sidecar_goes_only_when_its_image_is_gone(config: Config, paths: CameraPaths) -> None:
    for number in range(2):
        put_live(config, number)
    (paths.live / f"{STEMS[0]}.jpg").unlink()
    (paths.metadata / "notes.json").write_text("{}")
    remover = Remover(Volume.open(config.capture_dir, "handoff"), durable=False)

    removed = remover.remove_sidecars(paths.live, paths.metadata, [*STEMS[:3], "notes"])

    assert removed.sidecars == 1
    assert sorted(path.name for path in paths.metadata.iterdir()) == [f"{STEMS[1]}.json", "notes.json"]


def test_leftovers_are_removed_and_nothing_else(config: Config, paths: CameraPaths, remover: Remover) -> None:
    put_capture(config, 0)
    (paths.captures / f".{STEMS[1]}.jpg.123-4.tmp").write_bytes(b"half")
    (paths.captures / ".hidden").touch()

    removed = remover.remove_leftovers(paths.captures)

    assert removed.bytes == 4
    assert sorted(path.name for path in paths.captures.iterdir()) == sorted(
        [".hidden", f"{STEMS[0]}.jpg", f"{STEMS[0]}.json"]
    )

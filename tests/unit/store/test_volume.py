# SPDX-License-Identifier: MIT
"""store.volume: nothing is written where the marker is not."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from fieldcam.core.errors import StorageFullError, StorageUnavailableError
from fieldcam.core.layout import MARKER
from fieldcam.store.volume import Volume, init_volume
from tests.crash.faulty_disk import DiedError, FaultyDisk


def test_a_place_is_what_its_marker_says(tmp_path: Path) -> None:
    made = init_volume(tmp_path, "archive")

    volume = Volume.open(tmp_path, "archive")

    assert volume == made
    assert json.loads((tmp_path / MARKER).read_bytes()) == {"id": volume.id, "kind": "archive"}


def test_marking_a_place_twice_keeps_its_id(tmp_path: Path) -> None:
    first = init_volume(tmp_path, "handoff")

    second = init_volume(tmp_path, "handoff")

    assert second.id == first.id


def test_every_place_gets_an_id_of_its_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()

    assert init_volume(tmp_path / "one", "archive").id != init_volume(tmp_path / "two", "archive").id


def test_a_place_without_a_marker_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailableError, match=r"has no marker .*not mounted.*fieldcam volume init") as raised:
        Volume.open(tmp_path, "archive")

    assert raised.value.details["path"] == str(tmp_path)


def test_a_place_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    init_volume(tmp_path, "handoff")

    with pytest.raises(StorageUnavailableError, match=r"kind 'handoff', not 'archive'"):
        Volume.open(tmp_path, "archive")


def test_marking_a_place_of_the_other_kind_changes_nothing(tmp_path: Path) -> None:
    init_volume(tmp_path, "handoff")
    before = (tmp_path / MARKER).read_bytes()

    with pytest.raises(StorageUnavailableError):
        init_volume(tmp_path, "archive")

    assert (tmp_path / MARKER).read_bytes() == before


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b"null", b"\xff\xfe", b'{"id": 1}', b"[" * 4096])
def test_a_damaged_marker_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / MARKER).write_bytes(text)

    with pytest.raises(StorageUnavailableError, match="damaged; deploy again"):
        Volume.open(tmp_path, "archive")


def test_a_marker_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / MARKER).mkdir()

    with pytest.raises(StorageUnavailableError, match="cannot be read"):
        Volume.open(tmp_path, "archive")


def test_check_notices_that_the_disk_went_away(tmp_path: Path) -> None:
    volume = init_volume(tmp_path, "archive")
    (tmp_path / MARKER).unlink()

    with pytest.raises(StorageUnavailableError, match="has no marker"):
        volume.check()


def test_check_notices_another_disk(tmp_path: Path) -> None:
    volume = init_volume(tmp_path, "archive")
    (tmp_path / MARKER).unlink()
    init_volume(tmp_path, "archive")

    with pytest.raises(StorageUnavailableError, match="another volume than before"):
        volume.check()


@pytest.mark.parametrize(("code", "expected"), [(errno.ENOSPC, StorageFullError), (errno.EIO, StorageUnavailableError)])
def test_a_place_that_could_not_be_marked_has_no_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: type[Exception]
) -> None:
    disk = FaultyDisk(monkeypatch)
    with monkeypatch.context():
        init_volume(tmp_path, "archive")
    steps = len(disk.steps)
    (tmp_path / MARKER).unlink()

    for step in range(steps):
        disk.fail(step, code)
        with pytest.raises(expected):
            init_volume(tmp_path, "archive")
        disk.begin()
        assert os.listdir(tmp_path) == []  # noqa: PTH208 - hidden names, too


def test_crash_before_renaming_the_marker_leaves_the_place_unmarked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FaultyDisk(monkeypatch)
    disk.die_before("rename folder")  # a marker is neither image nor sidecar

    with pytest.raises(DiedError):
        init_volume(tmp_path, "archive")

    with pytest.raises(StorageUnavailableError, match="has no marker"):
        Volume.open(tmp_path, "archive")

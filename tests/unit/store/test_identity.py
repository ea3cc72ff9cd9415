# SPDX-License-Identifier: MIT
"""store.identity: no id and no name twice, across crashes, deletions and disks that say no."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from fieldcam.core.clock import Instant
from fieldcam.core.errors import StorageFullError, StorageUnavailableError
from fieldcam.store.identity import BLOCK, IDS_PER_CAMERA, SAVE_INTERVAL_NS, Identity
from tests.crash.faulty_disk import DiedError, FaultyDisk
from tests.crash.site import CrashClock, sidecar_of, unique_jpeg

CAMERA_NUMBER = 3
BASE = CAMERA_NUMBER * IDS_PER_CAMERA
NOW_MS = 1_768_300_245_123


def identity(folder: Path, *, durable: bool = True, scope: str = "") -> Identity:
    return Identity(folder / "identity.json", folder, folder, camera_number=CAMERA_NUMBER, durable=durable, scope=scope)


def put_sidecar(folder: Path, stem: str, number: int) -> None:
    sidecar = sidecar_of(unique_jpeg(stem), "0", "capture", 1, Instant.now(CrashClock())).to_dict()
    (folder / f"{stem}.json").write_text(json.dumps(sidecar | {"id": number}))


def test_ids_rise_by_one_and_carry_the_number_of_the_camera(tmp_path: Path) -> None:
    subject = identity(tmp_path)

    assert [subject.next_id() for _ in range(3)] == [BASE + 1, BASE + 2, BASE + 3]


def test_ids_are_remembered_before_they_are_given(tmp_path: Path) -> None:
    given_id = identity(tmp_path).next_id()

    remembered = json.loads((tmp_path / "identity.json").read_bytes())["next_id"]

    assert BASE + remembered > given_id


def test_a_crash_skips_ids_and_repeats_none(tmp_path: Path) -> None:
    before = [identity(tmp_path).next_id() for _ in range(1)]

    after = identity(tmp_path).next_id()

    assert before[-1] < after <= before[-1] + BLOCK


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_no_id_is_given_that_could_not_be_reserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """The first error used to be raised and the second call to give an id that nobody had remembered."""
    subject = identity(tmp_path)
    disk = FaultyDisk(monkeypatch)

    for _ in range(2):
        disk.fail(1, code)
        with pytest.raises((StorageFullError, StorageUnavailableError)):
            subject.next_id()
        disk.begin()

    assert subject.next_id() == BASE + 1
    assert identity(tmp_path).next_id() > BASE + 1


def test_crash_before_remembering_gives_the_id_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FaultyDisk(monkeypatch)
    disk.die_before("replace identity")

    with pytest.raises(DiedError):
        identity(tmp_path).next_id()

    disk.begin()
    assert identity(tmp_path).next_id() == BASE + 1


@pytest.mark.parametrize("text", [None, b"", b"{", b"[]", b'{"scope": ""}', b'{"scope":"","next_id":"x","names":{}}'])
def test_a_lost_or_damaged_memory_is_found_again_from_the_sidecars(tmp_path: Path, text: bytes | None) -> None:
    if text is not None:
        (tmp_path / "identity.json").write_bytes(text)
    for number in (7, 41, 9):
        put_sidecar(tmp_path, f"capture_20260113_103045_{number:03d}", BASE + number)
        (tmp_path / f"capture_20260113_103045_{number:03d}.jpg").write_bytes(b"image")

    assert identity(tmp_path).next_id() == BASE + 42


def test_a_sidecar_whose_image_was_moved_away_keeps_its_id(tmp_path: Path) -> None:
    put_sidecar(tmp_path, "capture_20260113_103045_001", BASE + 5)

    assert identity(tmp_path).next_id() == BASE + 6


def test_damaged_sidecars_and_those_of_other_cameras_do_not_count(tmp_path: Path) -> None:
    put_sidecar(tmp_path, "capture_20260113_103045_001", BASE + IDS_PER_CAMERA + 500)
    put_sidecar(tmp_path, "capture_20260113_103045_002", BASE + 2)
    (tmp_path / "capture_20260113_103045_003.json").write_bytes(b"{")

    assert identity(tmp_path).next_id() == BASE + 3


def test_a_thousand_names_and_again_after_a_restart_under_a_frozen_clock(tmp_path: Path) -> None:
    stems = []

    for _ in range(2):
        subject = identity(tmp_path, durable=False)
        stems += [subject.next_stem(NOW_MS) for _ in range(1_000)]

    assert len(set(stems)) == 2_000


def test_a_name_of_the_last_half_minute_is_found_in_the_folder(tmp_path: Path) -> None:
    subject = identity(tmp_path)
    subject.next_stem(NOW_MS)
    stem = subject.next_stem(NOW_MS + 500)
    (tmp_path / f"{stem}.jpg").write_bytes(b"image")

    again = identity(tmp_path).next_stem(NOW_MS + 500)

    assert again != stem


def test_a_name_whose_image_was_removed_is_not_given_again(tmp_path: Path) -> None:
    subject = identity(tmp_path)
    subject.next_stem(NOW_MS)
    stem = subject.next_stem(NOW_MS + 500)
    subject.save_if_due(SAVE_INTERVAL_NS)

    again = identity(tmp_path).next_stem(NOW_MS + 500)

    assert again != stem


def test_names_are_saved_twice_a_minute_and_at_the_end(tmp_path: Path) -> None:
    subject = identity(tmp_path)
    subject.next_stem(NOW_MS)
    saved = []

    for step, (boottime_ns, now) in enumerate(
        ((SAVE_INTERVAL_NS, False), (SAVE_INTERVAL_NS + 1, False), (2 * SAVE_INTERVAL_NS, False), (0, True)), start=1
    ):
        subject.next_stem(NOW_MS + step)
        subject.save_if_due(boottime_ns, now=now)
        saved.append(json.loads((tmp_path / "identity.json").read_bytes())["names"]["high_ms"] - NOW_MS)

    assert saved == [1, 1, 3, 4]


def test_nothing_new_is_not_saved_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = identity(tmp_path)
    subject.next_stem(NOW_MS)
    subject.save_if_due(SAVE_INTERVAL_NS)
    disk = FaultyDisk(monkeypatch)

    subject.save_if_due(3 * SAVE_INTERVAL_NS, now=True)

    assert disk.steps == []


def test_a_generation_is_remembered_before_its_first_name(tmp_path: Path) -> None:
    subject = identity(tmp_path)
    subject.next_stem(NOW_MS)

    stem = subject.next_stem(NOW_MS)

    assert stem.endswith("_2")
    assert json.loads((tmp_path / "identity.json").read_bytes())["names"]["generation"] == 2


def test_no_name_is_given_whose_generation_could_not_be_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = identity(tmp_path)
    subject.next_stem(NOW_MS)
    disk = FaultyDisk(monkeypatch)

    for _ in range(2):
        disk.fail(1, errno.ENOSPC)
        with pytest.raises(StorageFullError):
            subject.next_stem(NOW_MS)
        disk.begin()
    stem = subject.next_stem(NOW_MS)

    assert stem != identity(tmp_path).next_stem(NOW_MS)


def test_a_memory_of_another_boot_is_passed_over(tmp_path: Path) -> None:
    identity(tmp_path, scope="boot-1").next_stem(NOW_MS)

    stem = identity(tmp_path, scope="boot-2").next_stem(NOW_MS)

    assert stem == "capture_20260113_103045_123"


def test_the_memory_is_flushed_for_captures_and_not_for_live_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FaultyDisk(monkeypatch)
    flushed = []

    for durable in (True, False):
        disk.begin()
        identity(tmp_path, durable=durable, scope=str(durable)).next_id()
        flushed.append([step for step in disk.steps if step.startswith("fsync")])

    assert flushed == [["fsync identity", "fsync folder"], []]

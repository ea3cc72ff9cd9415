# SPDX-License-Identifier: MIT
"""store.writer: what is published is whole, named once, and remembered; every step crashed, every step failing."""

from __future__ import annotations

import errno
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fieldcam.core import durable
from fieldcam.core.clock import Instant
from fieldcam.core.durable import write_temporary
from fieldcam.core.errors import NameTakenError, SharedVolumeError, StorageFullError, StorageUnavailableError
from fieldcam.core.frame import Kind, Sidecar
from fieldcam.core.layout import MARKER
from fieldcam.store import writer as writer_module
from fieldcam.store.volume import Volume
from fieldcam.store.writer import FrameWriter, Stored
from tests.crash.faulty_disk import DiedError, FaultyDisk
from tests.crash.inspection import Ledger, leftovers, visible_problems
from tests.crash.site import CAMERA_NUMBER, CrashClock, Site, sidecar_of, unique_jpeg

BOOT = "boot-0"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "volume", tmp_path / "run")
    made.deploy()
    return made


def captures(site: Site) -> FrameWriter:
    return FrameWriter.for_captures(Volume.open(site.layout.archive_dir, "archive"), site.paths, CAMERA_NUMBER)


def live(site: Site, *, durable: bool = False, boot_id: str = BOOT) -> FrameWriter:
    handoff = Volume.open(site.layout.capture_dir, "handoff")
    return FrameWriter.for_live(handoff, site.paths, durable=durable, boot_id=boot_id)


def frame(text: str, kind: Kind = "capture", sequence: int = 1) -> tuple[bytes, Sidecar]:
    jpeg = unique_jpeg(text)
    moment = Instant.now(CrashClock("frozen"))
    return jpeg, sidecar_of(jpeg, hashlib.sha256(jpeg).hexdigest(), kind, sequence, moment)


def publish(subject: FrameWriter, text: str, kind: Kind = "capture") -> Stored:
    return subject.publish(*frame(text, kind))


def images(site: Site) -> list[str]:
    return sorted(path.name for path in site.paths.captures.glob("*.jpg"))


def problems(site: Site) -> list[str]:
    paths = site.paths
    return visible_problems(paths.captures, paths.captures, Ledger()) + visible_problems(
        paths.live, paths.metadata, Ledger()
    )


def test_a_capture_has_its_image_its_sidecar_its_id_and_its_time(site: Site) -> None:
    stored = publish(captures(site), "one")

    sidecar = json.loads(stored.path.with_suffix(".json").read_bytes())
    assert stored.path == site.paths.captures / "capture_20260113_103045_123.jpg"
    assert stored.path.read_bytes() == unique_jpeg("one")
    assert sidecar == stored.sidecar.to_dict()
    assert (sidecar["filename"], sidecar["id"]) == (stored.path.name, CAMERA_NUMBER * 2**40 + 1)
    assert stored.path.stat().st_mtime_ns == 1_768_300_245_123_000_000


def test_a_live_frame_has_its_sidecar_in_the_other_folder_and_no_id(site: Site) -> None:
    stored = publish(live(site), "one", "live")

    assert stored.path.parent == site.paths.live
    assert stored.sidecar.id is None
    assert (site.paths.metadata / f"{stored.path.stem}.json").is_file()


def test_a_rehearsal_leaves_no_file_no_name_and_no_id(site: Site) -> None:
    writer = captures(site)
    before = sorted(site.paths.archive_root.rglob("*"))

    writer.rehearse(b"a whole image")

    assert sorted(site.paths.archive_root.rglob("*")) == before
    assert publish(writer, "one").sidecar.id == CAMERA_NUMBER * 2**40 + 1


def test_numbers_are_part_of_the_name(site: Site) -> None:
    jpeg, sidecar = frame("one")

    stored = captures(site).publish(jpeg, replace(sidecar, sample_no="S-7", submission_no="12"))

    assert stored.path.name == "capture_S-7_12_20260113_103045_123.jpg"


def test_an_id_that_a_capture_has_already_is_kept(site: Site) -> None:
    jpeg, sidecar = frame("promoted")

    stored = captures(site).publish(jpeg, replace(sidecar, id=77))

    assert stored.sidecar.id == 77


def test_a_name_that_somebody_took_is_left_alone(site: Site) -> None:
    subject = captures(site)
    foreign = site.paths.captures / "capture_20260113_103045_123.jpg"
    foreign.write_bytes(b"somebody's")

    stored = publish(subject, "one")

    assert foreign.read_bytes() == b"somebody's"
    assert stored.path.name == "capture_20260113_103045_123_2.jpg"
    assert not foreign.with_suffix(".json").exists()


def test_names_that_are_all_taken_are_an_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_args: object, **_kwargs: object) -> None:
        raise NameTakenError("taken")

    monkeypatch.setattr(writer_module, "publish", taken)

    with pytest.raises(NameTakenError):
        publish(captures(site), "one")


def test_nothing_is_written_where_the_marker_is_gone(site: Site) -> None:
    subject = captures(site)
    (site.layout.archive_dir / MARKER).unlink()

    with pytest.raises(StorageUnavailableError, match="has no marker"):
        publish(subject, "one")

    assert images(site) == []


def test_captures_are_flushed_and_live_frames_are_not(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    writers: dict[Kind, FrameWriter] = {"capture": captures(site), "live": live(site)}
    disk = FaultyDisk(monkeypatch)
    flushed = {}

    for kind, subject in writers.items():
        disk.begin()
        publish(subject, kind, kind)
        flushed[kind] = [step for step in disk.steps if step.startswith("fsync") and "identity" not in step]

    assert flushed["live"] == []
    assert flushed["capture"][-4:] == [
        "fsync sidecar",
        "fsync image",
        "fsync folder",
        "fsync folder",
    ]


def test_live_frames_are_flushed_when_configured(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = live(site, durable=True)
    disk = FaultyDisk(monkeypatch)

    publish(subject, "one", "live")

    assert "fsync image" in disk.steps


def steps_of_a_capture(site: Site, disk: FaultyDisk) -> int:
    subject = captures(site)
    disk.begin()
    publish(subject, "to count the steps")
    return len(disk.steps)


def crash_before(site: Site, disk: FaultyDisk, step: str) -> list[str]:
    subject = captures(site)
    disk.die_before(step)
    with pytest.raises(DiedError):
        publish(subject, "crashed")
    disk.begin()
    before_restart = problems(site)
    next_one = publish(captures(site), "next")
    assert before_restart + problems(site) + leftovers(site) == []
    return [name for name in images(site) if name != next_one.path.name]


@pytest.fixture
def disk(site: Site, monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
    return FaultyDisk(monkeypatch)


def test_crash_before_reserving_an_id(site: Site, disk: FaultyDisk) -> None:
    assert crash_before(site, disk, "open identity") == []


def test_crash_before_remembering_an_id(site: Site, disk: FaultyDisk) -> None:
    assert crash_before(site, disk, "replace identity") == []


def test_crash_before_writing_the_sidecar(site: Site, disk: FaultyDisk) -> None:
    assert crash_before(site, disk, "write sidecar") == []


def test_crash_before_writing_the_image(site: Site, disk: FaultyDisk) -> None:
    assert crash_before(site, disk, "write image") == []


def test_crash_before_flushing_the_image(site: Site, disk: FaultyDisk) -> None:
    assert crash_before(site, disk, "fsync image") == []


def test_crash_before_renaming_the_sidecar(site: Site, disk: FaultyDisk) -> None:
    assert crash_before(site, disk, "rename sidecar") == []


def test_crash_before_renaming_the_image(site: Site, disk: FaultyDisk) -> None:
    assert crash_before(site, disk, "rename image") == []


def test_crash_at_every_step_repeats_no_id_and_no_name(site: Site, disk: FaultyDisk) -> None:
    steps = steps_of_a_capture(site, disk)
    ids = []

    for step in range(steps):
        subject = captures(site)
        disk.die(step)
        with pytest.raises(DiedError):
            publish(subject, f"crashed {step}")
        disk.begin()
        ids.append(publish(captures(site), f"after {step}").sidecar.id)

    on_disk = [json.loads(path.read_bytes())["id"] for path in site.paths.captures.glob("*.json")]
    assert problems(site) + leftovers(site) == []
    assert len(set(on_disk)) == len(on_disk)
    assert ids == sorted(set(ids), key=lambda number: number or 0)
    assert len(ids) == steps


@pytest.mark.parametrize(
    ("code", "expected"),
    [(errno.ENOSPC, StorageFullError), (errno.EDQUOT, StorageFullError), (errno.EIO, StorageUnavailableError)],
    ids=lambda value: errno.errorcode.get(value) if isinstance(value, int) else "",
)
def test_an_error_at_every_step_stores_nothing_and_the_next_capture_is_stored(
    site: Site, disk: FaultyDisk, code: int, expected: type[SharedVolumeError]
) -> None:
    """Also every failed fsync: what could not be flushed is discarded and not acknowledged."""
    steps = steps_of_a_capture(site, disk)

    for step in range(steps):
        before = images(site)
        subject = captures(site)
        disk.fail(step, code)
        with pytest.raises(expected):
            publish(subject, f"failed {step}")
        disk.begin()
        assert images(site) == before
        assert leftovers(site) == []
        stored = publish(subject, f"after {step}")
        assert stored.path.name in images(site)

    assert problems(site) == []


def test_opening_on_a_disk_that_fails_is_an_error_of_ours_at_every_step(site: Site, disk: FaultyDisk) -> None:
    captures(site)
    disk.begin()
    captures(site)
    steps = len(disk.steps)

    for step in range(steps):
        disk.fail(step, errno.EIO)
        with pytest.raises(StorageUnavailableError):
            captures(site)

    assert steps > 0


def test_opening_removes_what_a_killed_process_left(site: Site) -> None:
    captures(site)
    for folder in (site.paths.captures, site.paths.archive_root):
        write_temporary(folder, "identity.json", b"x", durable=False)

    captures(site)

    assert leftovers(site) == []


def test_opening_leaves_the_temporary_files_of_the_manager_alone(site: Site) -> None:
    """It makes a new catalog beside identity.json, for as long as that takes."""
    rebuild = site.paths.archive_root / ".catalog.db.rebuild.tmp"
    rebuild.write_bytes(b"half a catalog")

    captures(site)

    assert rebuild.read_bytes() == b"half a catalog"


def test_opening_makes_durable_what_a_killed_process_left_visible(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between rename and fsync, an image is seen and recorded, and a power cut would take it away again."""
    captures(site)
    synced = []

    def sync_folder(folder: Path) -> None:
        synced.append(folder)
        durable.sync_folder(folder)

    monkeypatch.setattr("fieldcam.store.writer.sync_folder", sync_folder)

    captures(site)

    assert {site.paths.captures, site.paths.archive_root} <= set(synced)


def test_opening_live_removes_sidecars_without_an_image(site: Site) -> None:
    stored = publish(live(site), "one", "live")
    stored.path.unlink()

    live(site)

    assert list(site.paths.metadata.iterdir()) == []


def test_opening_captures_keeps_sidecars_without_an_image(site: Site) -> None:
    stored = publish(captures(site), "one")
    stored.path.unlink()

    captures(site)

    assert stored.path.with_suffix(".json").is_file()


@pytest.mark.parametrize("damage", ["image", "sidecar"])
def test_opening_live_removes_frames_that_a_power_cut_damaged(site: Site, damage: str) -> None:
    """Without fsync a name may outlive its data."""
    whole = publish(live(site), "one", "live")
    cut = publish(live(site), "two", "live")
    (cut.path if damage == "image" else site.paths.metadata / f"{cut.path.stem}.json").write_bytes(b"")

    live(site, boot_id="boot-1")

    assert [path.name for path in site.paths.live.iterdir()] == [whole.path.name]
    assert problems(site) == []


def test_opening_live_keeps_images_that_were_put_there_by_hand(site: Site) -> None:
    live(site)
    by_hand = site.paths.live / "capture_20260113_103045_999.jpg"
    by_hand.write_bytes(b"image")

    live(site)

    assert by_hand.exists()

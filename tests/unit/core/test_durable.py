# SPDX-License-Identifier: MIT
"""core.durable: every step crashed, every step failing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fieldcam.core import durable
from fieldcam.core.durable import (
    OWN_FILE_MODE,
    OWN_FOLDER_MODE,
    make_folder,
    publish,
    rehearse,
    remove_leftovers,
    rename_without_overwriting,
    replace_file,
    storage_errors,
    write_temporary,
)
from fieldcam.core.errors import NameTakenError, SharedVolumeError, StorageFullError, StorageUnavailableError
from tests.crash.faulty_disk import DiedError, FaultyDisk

FULL = (errno.ENOSPC, errno.EDQUOT)
GONE = (errno.EIO, errno.EROFS)
STEPS = [
    *("open sidecar", "write sidecar", "utime sidecar", "fsync sidecar", "close sidecar"),
    *("open image", "write image", "utime image", "fsync image", "close image"),
    *("rename sidecar", "open folder", "fsync folder", "close folder"),
    *("rename image", "open folder", "fsync folder", "close folder"),
]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FaultyDisk:
    return FaultyDisk(monkeypatch)


def files_in(folder: Path) -> list[tuple[Path, bytes]]:
    return [(folder / "a.json", b'{"sidecar": 1}'), (folder / "a.jpg", b"an image" * 1000)]


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def crash(disk: FaultyDisk, folder: Path, step: str) -> set[str]:
    disk.die_before(step)
    with pytest.raises(DiedError):
        publish(files_in(folder), durable=True, mtime_ns=1)
    disk.begin()
    return visible(folder)


def test_publish_takes_these_steps_and_no_other_order(disk: FaultyDisk, tmp_path: Path) -> None:
    publish(files_in(tmp_path), durable=True, mtime_ns=1)

    assert disk.steps == STEPS


def test_publish_without_durability_flushes_nothing(disk: FaultyDisk, tmp_path: Path) -> None:
    publish(files_in(tmp_path), durable=False)

    assert not [step for step in disk.steps if step.startswith("fsync")]


def test_crash_before_writing_the_sidecar(disk: FaultyDisk, tmp_path: Path) -> None:
    assert crash(disk, tmp_path, "write sidecar") == set()


def test_crash_before_flushing_the_sidecar(disk: FaultyDisk, tmp_path: Path) -> None:
    assert crash(disk, tmp_path, "fsync sidecar") == set()


def test_crash_before_writing_the_image(disk: FaultyDisk, tmp_path: Path) -> None:
    assert crash(disk, tmp_path, "write image") == set()


def test_crash_before_flushing_the_image(disk: FaultyDisk, tmp_path: Path) -> None:
    assert crash(disk, tmp_path, "fsync image") == set()


def test_crash_before_renaming_the_sidecar(disk: FaultyDisk, tmp_path: Path) -> None:
    assert crash(disk, tmp_path, "rename sidecar") == set()


def test_crash_before_flushing_the_folder_of_the_sidecar(disk: FaultyDisk, tmp_path: Path) -> None:
    assert crash(disk, tmp_path, "fsync folder") == {"a.json"}


def test_crash_before_renaming_the_image(disk: FaultyDisk, tmp_path: Path) -> None:
    assert crash(disk, tmp_path, "rename image") == {"a.json"}


def test_crash_before_flushing_the_folder_of_the_image(disk: FaultyDisk, tmp_path: Path) -> None:
    disk.die(STEPS.index("rename image") + 2)
    with pytest.raises(DiedError):
        publish(files_in(tmp_path), durable=True, mtime_ns=1)
    disk.begin()

    assert visible(tmp_path) == {"a.json", "a.jpg"}
    assert (tmp_path / "a.jpg").read_bytes() == b"an image" * 1000


@pytest.mark.parametrize("step", range(len(STEPS)), ids=lambda step: f"{step}-{STEPS[step].replace(' ', '-')}")
def test_crash_at_any_step_leaves_what_the_next_start_removes(disk: FaultyDisk, tmp_path: Path, step: int) -> None:
    disk.die(step)
    with pytest.raises(DiedError):
        publish(files_in(tmp_path), durable=True, mtime_ns=1)
    disk.begin()

    remove_leftovers(tmp_path)

    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("code", [*FULL, *GONE], ids=errno.errorcode.get)
@pytest.mark.parametrize("step", range(len(STEPS)), ids=lambda step: f"{step}-{STEPS[step].replace(' ', '-')}")
def test_an_error_at_any_step_is_typed_and_leaves_nothing(
    disk: FaultyDisk, tmp_path: Path, step: int, code: int
) -> None:
    disk.fail(step, code)

    with pytest.raises(StorageFullError if code in FULL else StorageUnavailableError) as raised:
        publish(files_in(tmp_path), durable=True, mtime_ns=1)

    disk.begin()
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) in raised.value.message


@pytest.mark.parametrize("step", [n for n, name in enumerate(STEPS) if name.startswith("fsync")])
def test_a_failed_fsync_is_not_tried_again(disk: FaultyDisk, tmp_path: Path, step: int) -> None:
    disk.fail(step, errno.EIO)

    with pytest.raises(StorageUnavailableError):
        publish(files_in(tmp_path), durable=True, mtime_ns=1)

    assert disk.steps[step + 1 :].count(STEPS[step]) == 0


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:7])))

    publish([(tmp_path / "a.jpg", b"0123456789" * 5)], durable=True)

    assert (tmp_path / "a.jpg").read_bytes() == b"0123456789" * 5


@pytest.mark.parametrize("taken", ["a.json", "a.jpg"])
def test_publish_overwrites_nothing(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_bytes(b"somebody's")

    with pytest.raises(NameTakenError):
        publish(files_in(tmp_path), durable=True)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {taken: b"somebody's"}


def test_publish_overwrites_nothing_where_renames_cannot_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_renameat2(monkeypatch)
    (tmp_path / "a.jpg").write_bytes(b"somebody's")

    with pytest.raises(NameTakenError):
        publish(files_in(tmp_path), durable=True)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.jpg": b"somebody's"}


def test_a_link_is_as_good_where_renames_cannot_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_renameat2(monkeypatch)

    publish(files_in(tmp_path), durable=True)

    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "a.jpg"}
    assert (tmp_path / "a.jpg").stat().st_nlink == 1


def test_a_source_that_cannot_be_removed_after_its_link_is_only_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is visible by then; reporting a failure would leave it there without anybody's knowledge."""
    no_renameat2(monkeypatch)
    source, target = tmp_path / ".a.jpg.tmp", tmp_path / "a.jpg"
    source.write_bytes(b"image")

    def refuse(_path: Path, *, missing_ok: bool = False) -> None:
        raise OSError(errno.EIO, "failing")

    monkeypatch.setattr(Path, "unlink", refuse)
    rename_without_overwriting(source, target)

    assert target.read_bytes() == b"image"


def no_renameat2(monkeypatch: pytest.MonkeyPatch) -> None:
    class Libc:
        @staticmethod
        def renameat2(*_args: object) -> int:
            import ctypes

            ctypes.set_errno(errno.EINVAL)
            return -1

    monkeypatch.setattr(durable, "_libc", Libc())


def test_the_file_time_is_the_one_given(tmp_path: Path) -> None:
    publish([(tmp_path / "a.jpg", b"x")], durable=True, mtime_ns=1_768_300_245_123_000_000)

    assert (tmp_path / "a.jpg").stat().st_mtime_ns == 1_768_300_245_123_000_000


def test_a_leftover_of_the_same_pid_is_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A board may give the same pid at every boot; a power cut must not make the next write fail."""
    first = write_temporary(tmp_path, "state.json", b"cut short", durable=False)
    monkeypatch.setattr(durable, "_counter", iter(range(1000)))
    number = int(first.name.removesuffix(".tmp").rsplit("-", 1)[-1])
    monkeypatch.setattr(durable, "_counter", iter(range(number, number + 1000)))
    monkeypatch.setattr(durable, "_run", "another")

    replace_file(tmp_path / "state.json", b"whole", durable=False)

    assert (tmp_path / "state.json").read_bytes() == b"whole"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("step", range(5))
def test_a_replacement_that_fails_keeps_the_old_content(disk: FaultyDisk, tmp_path: Path, step: int, code: int) -> None:
    file = tmp_path / "state.json"
    file.write_bytes(b"old")
    disk.fail(step, code)

    with pytest.raises(SharedVolumeError):
        replace_file(file, b"new", durable=True)

    disk.begin()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"state.json": b"old"}


def test_crash_before_replacing_keeps_the_old_content(disk: FaultyDisk, tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.write_bytes(b"old")
    disk.die_before("replace sidecar")

    with pytest.raises(DiedError):
        replace_file(file, b"new", durable=True)

    assert file.read_bytes() == b"old"


def test_leftovers_of_one_name_are_removed_and_those_of_others_stay(tmp_path: Path) -> None:
    """The manager makes a new catalog in a temporary file of the same folder."""
    write_temporary(tmp_path, "identity.json", b"x", durable=False)
    foreign = tmp_path / ".catalog.db.rebuild.tmp"
    foreign.write_bytes(b"half a catalog")

    removed = remove_leftovers(tmp_path, "identity.json")

    assert removed == 1
    assert list(tmp_path.iterdir()) == [foreign]


def test_all_leftovers_of_a_folder_are_removed_and_nothing_else(tmp_path: Path) -> None:
    write_temporary(tmp_path, "a.jpg", b"x", durable=False)
    for name in (".hidden", "a.tmp", "a.jpg"):
        (tmp_path / name).write_bytes(b"x")

    removed = remove_leftovers(tmp_path)

    assert removed == 1
    assert {path.name for path in tmp_path.iterdir()} == {".hidden", "a.tmp", "a.jpg"}


def test_a_new_folder_is_flushed_into_the_one_above(disk: FaultyDisk, tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")

    assert disk.steps == ["mkdir folder", "open folder", "fsync folder", "close folder"] * 2


def test_a_folder_that_is_there_costs_nothing(disk: FaultyDisk, tmp_path: Path) -> None:
    make_folder(tmp_path)

    assert disk.steps == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOSPC, StorageFullError),
        (errno.EDQUOT, StorageFullError),
        (errno.EIO, StorageUnavailableError),
        (errno.EROFS, StorageUnavailableError),
        (errno.ENODEV, StorageUnavailableError),
        (errno.EACCES, StorageUnavailableError),
        (errno.EMFILE, SharedVolumeError),
    ],
    ids=lambda value: errno.errorcode.get(value) if isinstance(value, int) else value.__name__,
)
def test_what_the_kernel_says_becomes_an_error_that_names_the_path(
    tmp_path: Path, code: int, expected: type[SharedVolumeError]
) -> None:
    with pytest.raises(SharedVolumeError) as raised, storage_errors(tmp_path):
        raise OSError(code, os.strerror(code))

    assert type(raised.value) is expected
    assert raised.value.message.endswith(f"{tmp_path}: {os.strerror(code)}")


def test_a_rehearsal_writes_durably_and_leaves_nothing(disk: FaultyDisk, tmp_path: Path) -> None:
    rehearse(tmp_path, "rehearsal", b"x" * 1000)

    assert [step.split()[0] for step in disk.steps] == ["open", "write", "fsync", "close", "unlink"]
    assert list(tmp_path.iterdir()) == []


def test_what_one_process_writes_is_not_for_its_group_to_change(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        replace_file(tmp_path / "beat.json", b"{}", durable=False, mode=OWN_FILE_MODE)
        make_folder(tmp_path / "shot", OWN_FOLDER_MODE)
    finally:
        os.umask(before)

    assert oct((tmp_path / "beat.json").stat().st_mode & 0o777) == "0o640"
    assert oct((tmp_path / "shot").stat().st_mode & 0o777) == "0o750"

# SPDX-License-Identifier: MIT
"""What is damaged, foreign or planted hurts neither readers nor the writer, and is said once."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from fieldcam.core.clock import SystemClock
from fieldcam.handoff.ring_reader import RingReader
from fieldcam.handoff.slot import HEADER_BYTES, slot_name
from tests.rings import VOLUME, Rings, is_whole, leased

NEWER = slot_name("main", 900)

# Some tests fork; the child does no more than read a frame or close what it inherited.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def slot_file(rings: Rings) -> bytes:
    """Return the newest slot, renumbered to the name of the planted one."""
    data = bytearray(rings.slots()[-1].read_bytes())
    struct.pack_into("<Q", data, 16, 900)
    return bytes(data)


def plant_bytes(change: Callable[[bytes], bytes]) -> Callable[[Rings], None]:
    def plant(rings: Rings) -> None:
        (rings.folder / NEWER).write_bytes(change(slot_file(rings)))

    return plant


def plant_link(rings: Rings) -> None:
    (rings.folder / NEWER).symlink_to(rings.slots()[-1])


def plant_fifo(rings: Rings) -> None:
    os.mkfifo(rings.folder / NEWER)


def plant_folder(rings: Rings) -> None:
    (rings.folder / NEWER).mkdir()


def plant_socket(rings: Rings) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(rings.folder / NEWER))


def with_field(offset: int, form: str, value: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        struct.pack_into(form, changed, offset, value)
        return bytes(changed)

    return change


PLANTED = {
    "a link": plant_link,
    "a fifo": plant_fifo,
    "a folder": plant_folder,
    "a socket": plant_socket,
    "nothing": plant_bytes(lambda _: b""),
    "text": plant_bytes(lambda _: b"not a slot at all" * 100),
    "another version": plant_bytes(with_field(8, "<I", 2)),
    "cut in its header": plant_bytes(lambda data: data[:100]),
    "cut in its pixels": plant_bytes(lambda data: data[:-1]),
    "without pixels": plant_bytes(lambda data: data[:HEADER_BYTES]),
    "a size that is not there": plant_bytes(with_field(28, "<I", 10_000)),
    "another volume": plant_bytes(lambda data: data[:112] + bytes(32) + data[144:]),
    "another boot": plant_bytes(lambda data: data[:72] + b"x" * 36 + data[108:]),
    "metadata of another frame": plant_bytes(lambda data: data),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_what_is_no_slot_of_ours_is_skipped_and_said_once(
    rings: Rings, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1, 2)
    PLANTED[kind](rings)

    with caplog.at_level(logging.INFO):
        for number in range(3, 30):
            rings.publish(writer, number)
            with leased(reader.newest(newer_than=number - 1)) as lease:
                assert lease.sequence == number
                assert is_whole(lease)
            assert reader.newest_sequence() == number
            assert reader.newest(newer_than=number) is None
        assert [record.message.split(" ")[0] for record in caplog.records] == ["RING_UNREADABLE"]
        assert NEWER in caplog.text

        path = rings.folder / NEWER
        path.rmdir() if path.is_dir() else path.unlink()
        assert reader.newest(newer_than=29) is None
        assert reader.newest(newer_than=29) is None
    assert [record.message.split(" ")[0] for record in caplog.records[1:]] == ["RING_UNREADABLE_OVER"]


@pytest.mark.parametrize("kind", PLANTED)
def test_a_writer_that_starts_among_it_works(rings: Rings, kind: str) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1, 2)
    PLANTED[kind](rings)

    second = rings.writer()

    assert rings.publish(second, 3, 4, 5) == 3
    with leased(reader.newest()) as lease:
        assert lease.sequence == 5
        assert is_whole(lease)


def test_a_slot_whose_writer_died_half_way_is_no_frame_and_no_news(
    rings: Rings, caplog: pytest.LogCaptureFixture
) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1, 2)
    with rings.slots()[-1].open("r+b") as newest:
        newest.write(bytes(8))

    with caplog.at_level(logging.INFO), leased(reader.newest()) as lease:
        assert lease.sequence == 1
    assert reader.newest(newer_than=1) is None
    assert caplog.records == []


def test_a_slot_that_was_filled_but_not_yet_named_is_no_frame(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1, 2)
    older, newer = rings.slots()
    older.rename(rings.folder / slot_name("main", 9))  # as if it had died between unlock and rename

    with leased(reader.newest()) as lease:
        assert lease.sequence == 2
    assert newer.exists()


def test_frames_that_move_on_while_they_are_opened_are_looked_for_again(
    rings: Rings, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1, 2)
    real, numbers = os.open, iter(range(3, 9))

    def slow_open(path: Path, flags: int, *args: int) -> int:
        if str(path).endswith(".slot") and flags & os.O_ACCMODE == os.O_RDONLY and (n := next(numbers, None)):
            rings.publish(writer, n, n + 100)  # the listing is old by now
        return real(path, flags, *args)

    monkeypatch.setattr(os, "open", slow_open)

    with leased(reader.newest()) as lease:
        assert lease.sequence >= 100
        assert is_whole(lease)


def test_a_reader_that_is_too_slow_for_a_camera_for_ever_gives_up_and_does_not_hang(
    rings: Rings, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1, 2)
    real, count = os.open, iter(range(3, 10**9, 2))

    def slow_open(path: Path, flags: int, *args: int) -> int:
        if str(path).endswith(".slot") and flags & os.O_ACCMODE == os.O_RDONLY:
            number = next(count)
            rings.publish(writer, number, number + 1)
        return real(path, flags, *args)

    monkeypatch.setattr(os, "open", slow_open)

    assert reader.newest() is None


def test_without_descriptors_nothing_is_torn_and_it_goes_on_when_there_are_some(
    rings: Rings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    real, is_out = os.open, True

    def out_of_descriptors(path: Path, flags: int, *args: int) -> int:
        if is_out and str(path).endswith(".slot"):
            raise OSError(24, "Too many open files")
        return real(path, flags, *args)

    monkeypatch.setattr(os, "open", out_of_descriptors)
    caplog.set_level(logging.INFO)
    for _ in range(3):
        assert reader.newest() is None
    assert caplog.text.count("RING_UNREADABLE") == 1

    is_out = False
    with leased(reader.newest()) as lease:
        assert is_whole(lease)
    assert reader.newest_sequence() == 1
    assert [record.message.split(" ")[0] for record in caplog.records] == ["RING_UNREADABLE", "RING_UNREADABLE_OVER"]


def test_an_exclusive_lock_on_the_readers_file_keeps_nobody_from_reading(rings: Rings) -> None:
    writer = rings.writer()
    with (rings.folder / "readers.main").open("rb") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        reader = rings.reader()
        reader.newest()
        assert rings.publish(writer, 1) == 1
        with leased(reader.newest()) as lease:
            assert lease.sequence == 1
    reader.newest(newer_than=1)
    assert writer.wanted() == {"main"}
    reader.close()
    assert writer.wanted() == frozenset()


def test_a_readers_file_that_is_something_else_is_made_anew(rings: Rings, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    precious.chmod(0o600)
    (rings.folder / "readers.main").symlink_to(precious)
    os.mkfifo(rings.folder / "readers.lores")

    writer, reader = rings.pair()
    small = rings.reader("lores")
    small.newest()
    reader.newest()

    assert writer.wanted() == {"main", "lores"}
    assert precious.stat().st_mode & 0o777 == 0o600


def test_a_readers_file_that_somebody_removed_is_made_again_and_readers_find_it(rings: Rings) -> None:
    writer, reader = rings.pair()
    (rings.folder / "readers.main").unlink()

    assert writer.wanted() == frozenset()
    reader.newest()
    assert writer.wanted() == {"main"}


def as_nobody(action: Callable[[], object]) -> tuple[object, str]:
    """Run the action as another user, in a process of its own; return what it returned and what was logged."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            said = io.StringIO()
            logging.basicConfig(stream=said, force=True)
            result = action()
            os.write(writing, json.dumps([result, said.getvalue()]).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        result, said = json.loads(answer.read())
    os.waitpid(child, 0)
    return result, said


@pytest.mark.root
def test_what_a_reader_may_not_open_it_skips_and_says_once(rings: Rings) -> None:
    writer, _ = rings.pair()
    rings.publish(writer, 1, 2)
    rings.slots()[-1].chmod(0o600)

    def read() -> list[tuple[int, bool]]:
        reader = RingReader(rings.folder, volume_id=VOLUME, clock=rings.clock)
        leases = [leased(reader.newest()) for _ in range(3)]
        return [(lease.sequence, is_whole(lease)) for lease in leases]

    seen, said = as_nobody(read)

    assert seen == [[1, True]] * 3
    assert said.count("RING_UNREADABLE") == 1
    assert "Permission denied" in said


@pytest.mark.root
def test_another_user_can_read_and_lock_but_neither_write_nor_plant(rings: Rings) -> None:
    writer, _ = rings.pair()
    rings.publish(writer, 1)
    slot = rings.slots()[0]
    attempts: list[Callable[[], object]] = [
        lambda: os.open(slot, os.O_RDWR),
        lambda: os.truncate(slot, 0),
        slot.unlink,
        (rings.folder / NEWER).touch,
        lambda: os.open(rings.folder / "readers.main", os.O_WRONLY),
    ]

    def attack() -> tuple[bool, list[bool]]:
        refused = []
        for attempt in attempts:
            try:
                attempt()
            except PermissionError:
                refused.append(True)
            else:
                refused.append(False)
        return is_whole(leased(RingReader(rings.folder, volume_id=VOLUME, clock=rings.clock).newest())), refused

    seen, said = as_nobody(attack)

    assert seen == [True, [True] * len(attempts)]
    assert said == ""


def test_a_folder_that_may_not_be_listed_is_said_once(
    rings: Rings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)

    with monkeypatch.context() as patched:

        def refuse(_folder: Path) -> list[str]:
            raise PermissionError(13, "Permission denied")

        patched.setattr(os, "listdir", refuse)
        for _ in range(3):
            assert reader.newest() is None
    with caplog.at_level(logging.INFO), leased(reader.newest()) as lease:
        assert lease.sequence == 1

    assert [record.message.split(" ")[0] for record in caplog.records] == ["RING_UNREADABLE", "RING_UNREADABLE_OVER"]


def test_a_ring_that_is_a_file_has_no_frames(tmp_path: Path) -> None:
    (tmp_path / "ring").write_text("no folder")

    reader = RingReader(tmp_path / "ring", volume_id=VOLUME, clock=SystemClock())

    assert reader.newest() is None

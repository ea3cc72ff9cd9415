# SPDX-License-Identifier: MIT
"""Slots that are made before they are needed, so that no frame waits for the kernel to find 37 MB."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fieldcam.handoff import slot_file
from fieldcam.handoff.ring_writer import IDLE_SECONDS, RingWriter
from fieldcam.handoff.slot import slot_bytes
from fieldcam.handoff.slot_file import SlotFile
from fieldcam.handoff.slot_pool import LEASE_SECONDS
from tests.rings import HEIGHT, WIDTH, Rings, budget, frame_of, is_whole, leased, sidecar_of

SIZE = slot_bytes(WIDTH, HEIGHT)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return in which call each slot was made; `tidying` and `publishing` are the only ones."""
    made: list[str] = []
    doing = "publishing"
    create, tidy = SlotFile.create.__func__, RingWriter.tidy  # type: ignore[attr-defined]

    def noting_create(cls: type[SlotFile], *arguments: Any) -> SlotFile:
        slot: SlotFile = create(cls, *arguments)
        made.append(doing)
        return slot

    def noting_tidy(writer: RingWriter) -> None:
        nonlocal doing
        doing = "tidying"
        try:
            tidy(writer)
        finally:
            doing = "publishing"

    monkeypatch.setattr(SlotFile, "create", classmethod(noting_create))
    monkeypatch.setattr(RingWriter, "tidy", noting_tidy)
    return made


def test_no_frame_waits_for_a_slot_to_be_made_while_a_reader_holds_one_for_long(rings: Rings, made: list[str]) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1, 2)
    writer.tidy()
    made.clear()

    with leased(reader.newest()) as stuck:
        for second in range(1, 31):  # it is given up meanwhile
            first = 10 * second
            assert rings.publish(writer, *range(first, first + 10)) == 10
            rings.clock.advance(1)
            reader.newest(newer_than=first + 9)
            writer.tidy()
        assert is_whole(stuck)

    assert made == ["tidying"]
    assert writer.stats.dropped == 0


def test_several_that_are_held_one_after_another_cost_no_frame_either(rings: Rings, made: list[str]) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1, 2)
    writer.tidy()
    made.clear()

    held = []
    for number in range(3, 8):
        rings.publish(writer, number)
        held.append(leased(reader.newest()))
        writer.tidy()

    assert set(made) == {"tidying"}
    assert all(is_whole(lease) for lease in held)


def test_at_rest_there_are_the_newest_one_to_be_written_and_one_spare_and_all_take_turns(
    rings: Rings, made: list[str]
) -> None:
    writer, _ = rings.pair()
    rings.publish(writer, 1)
    for _ in range(5):
        writer.tidy()
    assert made == ["publishing", "tidying", "tidying"]
    assert writer.stats.slots == 3

    rings.publish(writer, *range(2, 20))

    assert len(made) == 3
    assert [path.name[-7:-5] for path in rings.slots()] == ["17", "18", "19"]


def test_a_spare_slot_is_no_frame_and_its_name_is_not_for_readers(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    writer.tidy()

    assert [path.name[-2:] for path in rings.slots()] == ["ot"]
    assert len(list(rings.folder.glob(".*.fresh"))) == 1
    with leased(reader.newest()) as lease:
        assert lease.sequence == 1


@pytest.mark.parametrize("advice", [slot_file._POPULATE_WRITE, 9999])
def test_the_first_frame_in_a_spare_slot_finds_all_of_its_pages(
    rings: Rings, monkeypatch: pytest.MonkeyPatch, advice: int
) -> None:
    monkeypatch.setattr(slot_file, "_POPULATE_WRITE", advice)  # 9999: as a kernel that does not know it
    size = (1280, 960)
    pages = slot_bytes(*size) // 4096
    writer, reader = rings.pair(max_bytes=budget(8, *size))
    pixels = frame_of(1, *size)
    writer.publish_pixels(sidecar_of(1, rings.clock), pixels)
    writer.tidy()
    # Held, so that only the spare one is left, and in it nothing was written yet.
    with leased(reader.newest()):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        writer.publish_pixels(sidecar_of(2, rings.clock), pixels)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert writer.stats.slots == 2
    assert faults < pages / 5


def test_no_spare_is_made_beyond_the_budget_nor_for_a_stream_that_nobody_reads(rings: Rings, made: list[str]) -> None:
    writer, reader = rings.pair(slots=2)
    rings.publish(writer, 1, 2)
    for _ in range(3):
        writer.tidy()
    assert made == ["publishing"] * 2
    writer.close()
    made.clear()

    writer = rings.writer()
    reader.newest()
    rings.publish(writer, 1)
    reader.close()
    writer.tidy()

    assert made == ["publishing"]


def test_a_slot_that_is_given_up_is_replaced_at_once(rings: Rings, made: list[str]) -> None:
    writer, reader = rings.pair(slots=3)
    rings.publish(writer, 1, 2, 3)
    stuck = leased(reader.newest())
    rings.publish(writer, 4)
    writer.tidy()
    made.clear()
    rings.clock.advance(LEASE_SECONDS + 0.1)
    reader.newest(newer_than=4)

    writer.tidy()

    assert made == ["tidying"]
    assert (writer.stats.slots, writer.stats.abandoned_bytes) == (3, SIZE)
    assert is_whole(stuck)


def test_spares_go_when_nobody_reads_any_more(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    writer.tidy()
    reader.close()
    rings.clock.advance(IDLE_SECONDS + 1)

    writer.tidy()

    assert [path.name for path in sorted(rings.folder.iterdir())] == ["readers.lores", "readers.main"]


def test_spares_of_another_size_go(rings: Rings) -> None:
    writer, _ = rings.pair(slots=20)
    rings.publish(writer, 1)
    writer.tidy()

    rings.publish(writer, 2, size=(20, 20))
    writer.tidy()

    small = slot_bytes(20, 20)
    assert writer.stats.slot_bytes == 2 * small
    assert {path.stat().st_size for path in rings.folder.glob("*main-*")} == {small}


def test_a_slot_of_another_size_that_could_not_go_goes_when_it_can(rings: Rings) -> None:
    writer, reader = rings.pair(slots=3)
    held = []
    for number in range(1, 4):
        rings.publish(writer, number)
        held.append(leased(reader.newest()))
    for number in (4, 5):  # into the other half, until that is full
        rings.clock.advance(LEASE_SECONDS + 1)
        reader.newest(newer_than=9)
        writer.tidy()
        rings.publish(writer, number)
    rings.publish(writer, 6, size=(20, 20))
    for lease in held:
        lease.close()

    rings.publish(writer, 7, 8, size=(20, 20))
    writer.tidy()

    assert {path.stat().st_size for path in rings.folder.glob("*main-*")} == {slot_bytes(20, 20)}
    assert writer.stats.abandoned_bytes == 0


def test_a_spare_that_somebody_removed_is_made_again(rings: Rings, made: list[str]) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    for _ in range(2):
        writer.tidy()
    for path in rings.folder.glob(".*.fresh"):
        path.unlink()
    made.clear()

    for _ in range(2):
        writer.tidy()
    rings.publish(writer, 2, 3, 4)

    assert made == ["tidying"] * 2
    assert writer.stats.slots == 3
    with leased(reader.newest()) as lease:
        assert lease.sequence == 4


def test_the_spares_of_a_writer_that_died_go(rings: Rings) -> None:
    first, _ = rings.pair()
    rings.publish(first, 1)
    first.tidy()
    assert list(rings.folder.glob(".*.fresh"))

    second = rings.writer()

    assert not list(rings.folder.glob(".*.fresh"))
    rings.publish(second, 2)
    assert rings.publish(first, 3, 4) == 2  # it is not dead, and notices


def test_a_spare_of_one_stream_makes_room_for_what_another_needs(rings: Rings) -> None:
    both = 2 * (4 * SIZE)  # four large slots are the half of it; the small stream's are as large here
    writer = rings.writer(max_bytes=both, lores_width=WIDTH)
    main, lores = rings.reader("main"), rings.reader("lores")
    main.newest()
    for number in range(1, 5):
        rings.publish(writer, number)
        writer.tidy()
    with leased(main.newest()):
        rings.publish(writer, 5)
        writer.tidy()
    assert writer.stats.slots == 4

    lores.newest()
    for number in range(6, 30):
        assert rings.publish(writer, number) == 2
        writer.tidy()

    assert writer.stats.dropped == 0
    assert writer.stats.slot_bytes == 4 * SIZE


def test_a_spare_that_cannot_be_made_is_no_error(
    rings: Rings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOMEM, "out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse)
        for _ in range(3):
            writer.tidy()

    assert caplog.records == []
    assert not list(rings.folder.glob(".*"))
    assert rings.publish(writer, 2) == 1
    with leased(reader.newest()) as lease:
        assert lease.sequence == 2


@pytest.mark.root
def test_spares_leave_a_full_tmpfs_alone(tiny: Path, rings: Rings, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = rings.pair(slots=50)
    rings.publish(writer, 1)
    ballast = os.open(tiny / "ballast", os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while os.write(ballast, bytes(4096)):
            pass
    os.close(ballast)
    tried = []
    monkeypatch.setattr(os, "posix_fallocate", lambda *arguments: tried.append(arguments))

    writer.tidy()

    assert tried == []  # what others write at that moment must not be refused because of it
    assert writer.stats.slots == 1
    with leased(reader.newest()) as lease:
        assert is_whole(lease)
    del lease

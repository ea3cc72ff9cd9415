# SPDX-License-Identifier: MIT
"""Memory of the ring: what readers may cost, what they may not, and when it is given back."""

from __future__ import annotations

import fcntl
import logging
import os
import resource
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcam.core.errors import StorageFullError
from fieldcam.handoff.ring_reader import Lease
from fieldcam.handoff.ring_writer import IDLE_SECONDS
from fieldcam.handoff.slot import slot_bytes
from fieldcam.handoff.slot_pool import LEASE_SECONDS
from tests.rings import HEIGHT, WIDTH, Rings, budget, is_whole, leased, open_descriptors

SIZE = slot_bytes(WIDTH, HEIGHT)


def test_when_every_slot_is_held_frames_are_left_out_counted_and_said_once(
    rings: Rings, caplog: pytest.LogCaptureFixture
) -> None:
    writer, reader = rings.pair(slots=3)
    held = []
    for number in (1, 2, 3):
        rings.publish(writer, number)
        held.append(leased(reader.newest()))

    with caplog.at_level(logging.INFO):
        assert rings.publish(writer, 4, 5, 6) == 0
        held[0].close()
        rings.publish(writer, 7)
        held[0] = leased(reader.newest())
        rings.publish(writer, 8)
        held[0].close()
        rings.publish(writer, 9)
        writer.tidy()

        # One frame that went through is no end of it.
        assert [record.message.split(" ")[0] for record in caplog.records] == ["RING_STARVED"]
        rings.clock.advance(11)
        reader.newest(newer_than=9)
        writer.tidy()
        assert caplog.records[-1].message.startswith("RING_STARVED_OVER")
    assert writer.stats.dropped == 5  # 9 as well: the newest is never written over, held or not
    assert all(is_whole(lease) for lease in held[1:])


def test_a_budget_for_less_than_two_frames_is_named(rings: Rings, caplog: pytest.LogCaptureFixture) -> None:
    writer, _ = rings.pair(max_bytes=2 * SIZE)

    assert rings.publish(writer, 1, 2) == 1

    assert "two frames of 48x32 do not fit into half of the budget" in caplog.text


def test_a_slot_that_is_held_for_too_long_makes_room_and_is_counted_until_it_is_let_go(rings: Rings) -> None:
    writer, reader = rings.pair(slots=2)
    rings.publish(writer, 1)
    stuck = leased(reader.newest())
    rings.publish(writer, 2)
    writer.tidy()
    with leased(reader.newest()):  # held as well, so there is nothing to write to
        assert rings.publish(writer, 3) == 0

    rings.clock.advance(LEASE_SECONDS + 0.1)
    reader.newest(newer_than=2)
    writer.tidy()

    assert (writer.stats.slots, writer.stats.abandoned_bytes) == (2, SIZE)
    assert rings.publish(writer, 4, 5) == 2
    assert is_whole(stuck)
    stuck.close()
    writer.tidy()
    assert writer.stats.abandoned_bytes == 0


def test_a_slot_that_is_held_for_less_is_left_alone(rings: Rings) -> None:
    writer, reader = rings.pair(slots=3)
    rings.publish(writer, 1)
    with leased(reader.newest()):
        rings.publish(writer, 2)
        for _ in range(3):
            writer.tidy()
            rings.clock.advance(LEASE_SECONDS / 3)
            reader.newest(newer_than=2)
        assert writer.stats.abandoned_bytes == 0
    writer.tidy()
    rings.clock.advance(LEASE_SECONDS)
    # Let go and taken again: the time begins anew.
    with leased(reader.newest()):
        writer.tidy()
        rings.publish(writer, 3)
        writer.tidy()
    assert writer.stats.abandoned_bytes == 0


def test_the_newest_may_be_read_all_the_time(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    with leased(reader.newest()) as lease:
        for _ in range(8):
            rings.clock.advance(LEASE_SECONDS)
            reader.newest(newer_than=1)
            writer.tidy()
        rings.publish(writer, 2)
        writer.tidy()
        assert writer.stats.abandoned_bytes == 0
        assert is_whole(lease)


def test_readers_that_hold_whatever_they_can_cost_the_budget_and_no_more(rings: Rings) -> None:
    writer, reader = rings.pair(slots=4)
    held: list[Lease] = []
    for number in range(60):
        rings.publish(writer, number)
        if (lease := reader.newest(newer_than=held[-1].sequence if held else -1)) is not None:
            held.append(lease)
        rings.clock.advance(2.9)
        writer.tidy()
        stats = writer.stats
        assert stats.slot_bytes + stats.abandoned_bytes <= budget(4)
        assert sum(path.stat().st_size for path in rings.folder.iterdir()) <= budget(4) // 2

    assert len(held) == 8
    assert all(is_whole(lease) for lease in held)
    assert writer.stats.abandoned_bytes == budget(4) // 2
    for lease in held:
        lease.close()
    writer.tidy()
    assert rings.publish(writer, 100) == 1
    assert writer.stats.abandoned_bytes == 0


def test_an_exclusive_lock_of_a_reader_costs_a_slot_and_hides_one_frame(rings: Rings) -> None:
    writer, reader = rings.pair(slots=3)
    rings.publish(writer, 1, 2)
    with rings.slots()[-1].open("rb") as newest:
        fcntl.flock(newest, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with leased(reader.newest()) as lease:
            assert lease.sequence == 1
        rings.publish(writer, 3, 4)
        with leased(reader.newest()) as lease:
            assert lease.sequence == 4
        for _ in range(2):
            writer.tidy()
            rings.clock.advance(LEASE_SECONDS + 1)
            reader.newest(newer_than=4)
        assert writer.stats.abandoned_bytes == SIZE
        assert rings.publish(writer, 5, 6, 7) == 3
    writer.tidy()
    assert writer.stats.abandoned_bytes == 0


@pytest.mark.parametrize("held", [0, 2])
def test_memory_is_given_back_when_nobody_has_read_for_a_while(rings: Rings, held: int) -> None:
    writer, reader = rings.pair(slots=4)
    leases = []
    for number in range(4):
        rings.publish(writer, number)
        if number < held:
            leases.append(leased(reader.newest()))
    reader.close()

    rings.clock.advance(IDLE_SECONDS - 1)
    writer.tidy()
    assert writer.stats.slots >= 2
    rings.clock.advance(2)
    writer.tidy()

    assert rings.slots() == []
    assert (writer.stats.slots, writer.stats.abandoned_bytes) == (0, held * SIZE)
    for lease in leases:
        assert is_whole(lease)
        lease.close()
    writer.tidy()
    assert writer.stats.abandoned_bytes == 0


def test_memory_of_a_stream_that_nobody_reads_is_given_back_while_the_other_is_read(rings: Rings) -> None:
    writer = rings.writer(max_bytes=10**6, lores_width=16)
    main, lores = rings.reader("main"), rings.reader("lores")
    main.newest()
    lores.newest()
    rings.publish(writer, 1, 2)
    main.close()

    for _ in range(int(IDLE_SECONDS) + 2):
        rings.clock.advance(1)
        lores.newest(newer_than=2)
        writer.tidy()

    assert {path.name.split("-")[0] for path in rings.slots()} == {"lores"}


def test_a_slot_larger_than_the_budget_is_left_out(rings: Rings) -> None:
    writer, reader = rings.pair(slots=2)
    rings.publish(writer, 1)

    assert rings.publish(writer, 2, size=(400, 400)) == 0
    assert rings.publish(writer, 3) == 1
    with leased(reader.newest()) as lease:
        assert lease.sequence == 3


class TestTakingOver:
    """A writer that died left its slots."""

    def test_whole_slots_are_used_again_and_the_newest_frame_stays(self, rings: Rings) -> None:
        first, reader = rings.pair()
        rings.publish(first, 1, 2, 3)
        inodes = {path.stat().st_ino for path in rings.slots()}

        second = rings.writer()

        with leased(reader.newest()) as lease:
            assert lease.sequence == 3
            assert is_whole(lease)
        rings.publish(second, 4, 5, 6)
        assert {path.stat().st_ino for path in rings.slots()} == inodes
        assert second.stats.slots == 2

    def test_a_slot_that_is_held_is_not_written_over(self, rings: Rings) -> None:
        first, reader = rings.pair()
        rings.publish(first, 1)
        with leased(reader.newest()) as lease:
            second = rings.writer()
            rings.publish(second, 2, 3, 4, 5)
            assert is_whole(lease)

    def test_what_does_not_fit_the_budget_is_given_back(self, rings: Rings) -> None:
        first, reader = rings.pair(slots=6)
        held = []
        for number in range(6):
            rings.publish(first, number)
            held.append(leased(reader.newest()))

        second = rings.writer(slots=3)

        assert second.stats.slot_bytes <= budget(3) // 2
        assert second.stats.abandoned_bytes <= budget(3) // 2
        assert all(is_whole(lease) for lease in held)
        assert [path.name[-6:-5] for path in rings.slots()] == ["3", "4", "5"]

    def test_slots_of_another_volume_boot_or_size_are_removed_and_that_is_said(
        self, rings: Rings, caplog: pytest.LogCaptureFixture
    ) -> None:
        other, _ = rings.pair(volume_id="another")
        rings.publish(other, 1)
        rings.clock.boot = "boot-0"
        before, _ = rings.pair()
        rings.publish(before, 2)
        rings.clock.boot = "boot-1"
        mine, _ = rings.pair()
        rings.publish(mine, 3)
        for path in rings.slots():
            if path.name.endswith("3.slot"):
                os.truncate(path, SIZE - 1)

        with caplog.at_level(logging.INFO):
            writer = rings.writer()

        assert writer.stats.slots == 0
        assert rings.slots() == []
        removed = [record.message for record in caplog.records if "RING_SLOT_REMOVED" in record.message]
        assert any("another size" in message for message in removed)

    def test_half_a_slot_and_one_that_never_got_its_name_are_removed(self, rings: Rings) -> None:
        first, _ = rings.pair()
        rings.publish(first, 1, 2)
        with rings.slots()[0].open("r+b") as half:
            half.write(bytes(8))
        (rings.folder / ".main-1-0.fresh").write_bytes(b"")

        writer = rings.writer()

        assert [path.name for path in rings.slots()] == ["main-00000000000000000002.slot"]
        assert not list(rings.folder.glob(".*"))
        assert writer.stats.slots == 1

    def test_foreign_files_are_left_alone_and_foreign_things_with_names_of_ours_go(
        self, rings: Rings, tmp_path: Path
    ) -> None:
        precious = tmp_path / "precious"
        precious.write_text("precious")
        (rings.folder / "notes.txt").write_text("mine")
        (rings.folder / "main-1.slot").write_text("mine")
        (rings.folder / "main-00000000000000000001.slot").symlink_to(precious)
        os.mkfifo(rings.folder / "main-00000000000000000002.slot")
        (rings.folder / "main-00000000000000000003.slot").mkdir()
        (rings.folder / "main-00000000000000000004.slot").hardlink_to(rings.folder / "notes.txt")

        rings.writer()

        left = {path.name for path in rings.folder.iterdir()} - {"readers.main", "readers.lores"}
        assert left == {"notes.txt", "main-1.slot", "main-00000000000000000003.slot"}
        assert precious.read_text() == "precious"
        assert (rings.folder / "notes.txt").read_text() == "mine"

    def test_the_one_before_is_still_there_and_its_end_does_no_harm(self, rings: Rings) -> None:
        first, reader = rings.pair()
        rings.publish(first, 1, 2)
        second = rings.writer()
        rings.publish(second, 3)

        first.close()

        rings.publish(second, 4, 5, 6)
        with leased(reader.newest()) as lease:
            assert lease.sequence == 6
            assert is_whole(lease)


@pytest.mark.root
def test_a_full_tmpfs_is_an_error_and_what_is_there_goes_on(tiny: Path, rings: Rings) -> None:
    writer, reader = rings.pair(slots=50)
    held: list[Lease] = []

    def publish_and_hold() -> None:
        for number in range(1, 50):
            rings.publish(writer, number)
            held.append(leased(reader.newest()))

    with pytest.raises(StorageFullError):
        publish_and_hold()

    assert len(held) >= 3
    assert all(is_whole(lease) for lease in held)
    assert len(list(tiny.glob(".*"))) == 0
    held.pop(0).close()
    assert rings.publish(writer, 60) == 1
    with leased(reader.newest()) as lease:
        assert lease.sequence == 60
        assert is_whole(lease)
    held.clear()
    del lease


@pytest.mark.root
def test_a_tmpfs_that_others_filled_kills_nobody(tiny: Path, rings: Rings) -> None:
    writer, reader = rings.pair(slots=50)
    rings.publish(writer, 1, 2)
    ballast = os.open(tiny / "ballast", os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while os.write(ballast, bytes(4096)):
            pass
    os.close(ballast)

    assert rings.publish(writer, 3, 4, 5) == 3
    with leased(reader.newest()) as lease:
        assert is_whole(lease)
    del lease


def test_memory_of_the_process_does_not_grow(rings: Rings) -> None:
    writer, reader = rings.pair(slots=6)

    def publish(count: int, first: int) -> None:
        for number in range(first, first + count):
            rings.publish(writer, number)
            leased(reader.newest()).close()
            if number % 50 == 0:
                writer.tidy()

    publish(300, 0)
    before, descriptors = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, len(open_descriptors())
    publish(2000, 300)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096  # KiB; a frame left behind is 20
    assert len(open_descriptors()) == descriptors


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["publish", "lease", "close first", "close last", "wait", "tidy", "resize"]), max_size=60)
)
def test_whatever_readers_do_the_budget_holds_and_leases_stay_whole(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    rings = Rings(tmp_path_factory.mktemp("ring"))
    writer, reader = rings.writer(slots=3, require_ram=False), rings.reader()
    held: list[Lease] = []
    sizes = [(WIDTH, HEIGHT), (20, 20)]
    number = 0
    try:
        for step in steps:
            last = held[-1].sequence if held else -1
            match step:
                case "publish":
                    number += 1
                    reader.newest(newer_than=number)
                    rings.publish(writer, number, size=sizes[0])
                case "lease":
                    if (lease := reader.newest(newer_than=last)) is not None:
                        held.append(lease)
                case "close first" if held:
                    held.pop(0).close()
                case "close last" if held:
                    held.pop().close()
                case "wait":
                    rings.clock.advance(LEASE_SECONDS)
                case "tidy":
                    writer.tidy()
                case "resize":
                    sizes.reverse()
            stats = writer.stats
            assert stats.slot_bytes <= budget(3) // 2
            assert stats.abandoned_bytes <= budget(3) // 2
            assert all(is_whole(lease) for lease in held)
    finally:
        for lease in held:
            lease.close()
        rings.close()


def test_a_frame_published_again_under_its_number_is_left_out(rings: Rings) -> None:
    writer, _ = rings.pair()
    rings.publish(writer, 1, 2)

    assert rings.publish(writer, 2) == 0
    assert rings.publish(writer, 3) == 1

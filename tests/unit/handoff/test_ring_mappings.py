# SPDX-License-Identifier: MIT
"""Slots that a reader keeps mapped: cheaper to look at, and neither leased nor kept in memory by that."""

from __future__ import annotations

import gc
import os
import resource
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fieldcam.handoff import slot_mapping
from fieldcam.handoff.presence import REST_SECONDS
from fieldcam.handoff.ring_reader import RingReader
from fieldcam.handoff.ring_writer import IDLE_SECONDS
from fieldcam.handoff.slot import slot_bytes
from fieldcam.handoff.slot_mapping import MOST_MAPPINGS, SlotMapping, SlotMappings
from tests.rings import HEIGHT, WIDTH, Rings, budget, frame_of, is_whole, leased, open_descriptors, sidecar_of

SIZE = slot_bytes(WIDTH, HEIGHT)

# Some tests fork; the child does no more than read a frame.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def mappings(reader: RingReader) -> list[SlotMapping]:
    """Return what a reader keeps mapped."""
    return list(reader._mappings._kept.values())


def status(mapping: SlotMapping) -> os.stat_result:
    """Return what the kernel says of a mapped file."""
    assert mapping._descriptor is not None
    return os.fstat(mapping._descriptor)


def test_a_slot_is_mapped_once_however_many_frames_come_in_it(rings: Rings, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = SlotMapping.__init__

    def counting(mapping: SlotMapping, *arguments: Any) -> None:
        made.append(arguments)
        real(mapping, *arguments)

    monkeypatch.setattr(SlotMapping, "__init__", counting)
    writer, reader = rings.pair()
    for number in range(40):
        rings.publish(writer, number)
        writer.tidy()
        with leased(reader.newest()) as lease:
            assert is_whole(lease)
            assert (lease.copy() == frame_of(number)).all()

    assert len(made) == writer.stats.slots == 3


@pytest.mark.parametrize("advice", [slot_mapping._POPULATE_READ, 9999])
def test_the_next_frame_in_a_mapped_slot_is_copied_without_page_faults(
    rings: Rings, monkeypatch: pytest.MonkeyPatch, advice: int
) -> None:
    monkeypatch.setattr(slot_mapping, "_POPULATE_READ", advice)  # 9999: as a kernel that does not know it
    size = (1280, 960)
    writer, reader = rings.pair(max_bytes=budget(8, *size))
    pixels, own = frame_of(1, *size), np.zeros((size[1], size[0], 3), np.uint8)
    faults = []
    for number in range(12):
        writer.publish_pixels(sidecar_of(number, rings.clock), pixels)
        with leased(reader.newest()) as lease:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            lease.copy(own)
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

    assert sum(faults[-6:]) < slot_bytes(*size) // 4096 // 16


@pytest.mark.parametrize("first", [0, 1])
def test_two_leases_of_one_slot_end_each_for_itself(rings: Rings, first: int) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    leases = [leased(reader.newest()), leased(reader.newest())]
    other = leases.pop(first)

    other.close()
    rings.publish(writer, *range(2, 20))
    assert is_whole(leases[0])
    assert rings.slots()[0].name.endswith("01.slot")

    leases[0].close()
    rings.publish(writer, 20)
    assert not rings.slots()[0].name.endswith("01.slot")


def test_a_mapping_is_no_lease(rings: Rings) -> None:
    writer, reader = rings.pair()
    for number in range(20):
        rings.publish(writer, number)
        leased(reader.newest()).close()

    assert len(mappings(reader)) == 2
    assert writer.stats.slots == 2  # every one was written over, mapped or not


KEPT: dict[str, Callable[[npt.NDArray[np.uint8]], Any]] = {
    "a part": lambda pixels: pixels[3:9],
    "one row of a part": lambda pixels: pixels[3:9][2],
    "turned": lambda pixels: np.asarray(pixels).T,
    "a memoryview": lambda pixels: pixels.data,
    "another type": lambda pixels: pixels.reshape(HEIGHT, -1).view(np.uint32),
    "a matrix": lambda pixels: pixels[:, :, 0].view(np.matrix),
    "another buffer": lambda pixels: np.frombuffer(pixels, np.uint8),
    "strides": lambda pixels: np.lib.stride_tricks.as_strided(pixels, (4,), (7,)),
    "an iterator": lambda pixels: pixels.flat,
}


@pytest.mark.parametrize("how", KEPT)
@pytest.mark.parametrize("end", ["lease", "rest", "close", "gone"])
def test_what_was_made_of_the_pixels_and_kept_keeps_the_slot_leased(rings: Rings, how: str, end: str) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    with leased(reader.newest()) as lease:
        kept = KEPT[how](lease.pixels)
        before = np.array(kept).copy()  # an iterator gives a view, though a copy was asked for
    if end == "rest":
        rings.clock.advance(REST_SECONDS + 1)
        reader.rest()
        assert mappings(reader) == []
    elif end == "close":
        reader.close()
    elif end == "gone":
        rings._opened.remove(reader)
        del reader
    watcher = rings.reader()
    watcher.newest()

    rings.publish(writer, *range(2, 20))
    assert (np.array(kept) == before).all()
    assert rings.slots()[0].name.endswith("01.slot")

    del kept
    gc.collect()
    rings.publish(writer, 20)
    assert not rings.slots()[0].name.endswith("01.slot")


def test_an_array_that_another_thread_keeps_keeps_the_slot_until_that_lets_go(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    may_go, has_it = threading.Event(), threading.Event()

    def keep(pixels: npt.NDArray[np.uint8]) -> None:
        has_it.set()
        may_go.wait(30)

    lease = leased(reader.newest())
    thread = threading.Thread(target=keep, args=(lease.pixels[1:],))
    thread.start()
    has_it.wait(30)
    lease.close()

    rings.publish(writer, *range(2, 10))
    assert rings.slots()[0].name.endswith("01.slot")
    may_go.set()
    thread.join()
    rings.publish(writer, 10)
    assert not rings.slots()[0].name.endswith("01.slot")


def test_a_frame_that_cannot_be_made_keeps_no_lock(rings: Rings, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    before = len(open_descriptors())

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(SlotMapping, "pixels", fail)
        with pytest.raises(MemoryError):
            reader.newest()
    reader.close()

    assert len(open_descriptors()) == before - 1  # its mark
    rings.reader().newest()
    rings.publish(writer, 2, 3)
    assert writer.stats.slots == 2


@pytest.mark.parametrize("how", ["rest", "close", "gone"])
def test_a_reader_that_rests_or_ends_keeps_nothing_mapped_and_nothing_open(rings: Rings, how: str) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    before = len(open_descriptors()) - 1  # its mark
    for number in range(2, 9):
        rings.publish(writer, number)
        leased(reader.newest()).close()
    before += 2  # a second slot of the writer's

    if how == "rest":
        reader.rest()
        assert len(mappings(reader)) == 2
        rings.clock.advance(REST_SECONDS + 1)
        reader.rest()
    elif how == "close":
        reader.close()
    else:
        rings._opened.remove(reader)
        del reader

    assert len(open_descriptors()) == before


def test_no_more_than_a_bounded_number_are_kept(rings: Rings) -> None:
    writer, reader = rings.pair(slots=2 * MOST_MAPPINGS)
    held = []
    for number in range(MOST_MAPPINGS + 4):
        rings.publish(writer, number)
        held.append(leased(reader.newest()))

    assert len(mappings(reader)) == MOST_MAPPINGS
    assert all(is_whole(lease) for lease in held)
    assert all((lease.copy() == frame_of(lease.sequence)).all() for lease in held)


def test_mappings_of_files_that_were_given_up_or_cut_go_at_the_next_look(rings: Rings) -> None:
    writer, reader = rings.pair(slots=20)
    for number in (1, 2, 3):
        rings.publish(writer, number)
        leased(reader.newest()).close()
    assert len(mappings(reader)) == 2

    rings.publish(writer, 4, size=(20, 20))
    leased(reader.newest()).close()
    assert [mapping.size for mapping in mappings(reader)] == [slot_bytes(20, 20)]

    rings.publish(writer, 5, size=(20, 20))
    os.truncate(rings.slots()[0], 100)
    leased(reader.newest()).close()
    assert len(mappings(reader)) == 1


@pytest.mark.parametrize("cut", [0, 100, SIZE // 2, SIZE - 1])
def test_a_slot_that_is_cut_while_it_is_mapped_is_no_frame_and_no_end(rings: Rings, cut: int) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    with leased(reader.newest()) as lease:
        assert is_whole(lease)

    os.truncate(rings.slots()[0], cut)

    assert reader.newest() is None


def test_a_mapping_of_another_size_than_the_frame_is_made_again(rings: Rings) -> None:
    path = rings.folder / "slot"
    path.write_bytes(bytes(4 * SIZE))
    kept = SlotMappings()
    with path.open("rb") as file:
        small, again, large = (
            kept.get(file.fileno(), os.fstat(file.fileno()), size) for size in (SIZE, SIZE, 2 * SIZE)
        )

    assert small is again
    assert large.size == 2 * SIZE
    assert len(kept) == 1
    kept.clear()


# --- memory ----------------------------------------------------------------------------------------------------------


def test_memory_that_is_given_back_is_free_though_a_stopped_reader_has_it_mapped(rings: Rings) -> None:
    writer, stopped = rings.pair()
    for number in (1, 2, 3):
        rings.publish(writer, number)
        leased(stopped.newest()).close()
    kept = mappings(stopped)
    assert all(status(mapping).st_blocks * 512 >= SIZE for mapping in kept)

    rings.clock.advance(IDLE_SECONDS + 1)
    writer.tidy()

    assert rings.slots() == []
    assert [status(mapping).st_nlink for mapping in kept] == [0, 0]
    assert [status(mapping).st_blocks for mapping in kept] == [0, 0]


@pytest.mark.parametrize("end", ["resize", "idle", "close"])
def test_memory_of_a_frame_that_is_held_is_not_taken_whatever_the_writer_does(rings: Rings, end: str) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1, 2)
    with leased(reader.newest()) as lease:
        mapping = mappings(reader)[0]
        if end == "resize":
            rings.publish(writer, 3, 4, size=(20, 20))
        elif end == "idle":
            rings.clock.advance(IDLE_SECONDS + 1)
        else:
            writer.close()
        if end != "close":
            writer.tidy()
        assert is_whole(lease)
    if end != "close":
        writer.tidy()
        assert status(mapping).st_blocks == 0


def test_the_end_of_a_writer_takes_no_memory_of_the_one_that_took_over(rings: Rings) -> None:
    first, reader = rings.pair()
    rings.publish(first, 1, 2)
    second = rings.writer()
    rings.publish(second, 3, 4)

    first.close()

    with leased(reader.newest()) as lease:
        assert lease.sequence == 4
        assert is_whole(lease)


# --- processes -------------------------------------------------------------------------------------------------------


def test_a_forked_child_reads_on_with_what_it_inherited_and_hurts_no_lease_of_its_parent(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    held = leased(reader.newest())
    rings.publish(writer, 2)
    leased(reader.newest()).close()
    child = os.fork()
    if child == 0:
        with leased(reader.newest()) as lease:
            is_right = is_whole(lease) and lease.sequence == 2
        held.close()
        reader.close()
        os._exit(0 if is_right else 1)
    _, code = os.waitpid(child, 0)

    assert code == 0
    rings.publish(writer, *range(3, 9))
    assert is_whole(held)
    with leased(reader.newest()) as lease:
        assert is_whole(lease)

# SPDX-License-Identifier: MIT
"""The ring as its users see it: what is published is what is read, in full size and small, for whoever reads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from fieldcam.camera.jpeg import encode
from fieldcam.core.errors import ImageInvalidError, SharedVolumeError, StorageUnavailableError
from fieldcam.core.jpeg import decode
from fieldcam.handoff.ring_reader import RingReader
from fieldcam.handoff.ring_writer import RingWriter
from tests.rings import HEIGHT, VOLUME, WIDTH, Rings, budget, frame_of, is_whole, leased, open_descriptors, sidecar_of

# Some tests fork; the child does no more than read a frame or close what it inherited.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def test_a_frame_is_read_as_it_was_published(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 7)

    with leased(reader.newest()) as lease:
        assert is_whole(lease)
        assert lease.pixels.shape == (HEIGHT, WIDTH, 3)
        assert (lease.sequence, lease.stream) == (7, "main")
        assert lease.sidecar == sidecar_of(7, rings.clock)
        assert lease.published_at_ns == rings.clock.boottime_ns()


def test_the_newest_frame_is_read_and_nothing_twice(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1, 2, 3)

    with leased(reader.newest(newer_than=2)) as lease:
        assert lease.sequence == 3
    assert reader.newest(newer_than=3) is None
    assert reader.newest_sequence() == 3


def test_a_frame_is_in_one_file_that_is_named_for_it(rings: Rings) -> None:
    writer, _ = rings.pair()
    rings.publish(writer, 1, 2, 3)

    assert [path.name for path in rings.slots()] == [f"main-{n:020d}.slot" for n in (2, 3)]
    assert writer.stats.slots == 2


def test_a_view_cannot_be_written_to(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)

    with leased(reader.newest()) as lease:
        with pytest.raises(ValueError, match="read-only"):
            lease.pixels[0, 0, 0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            lease.pixels.flags.writeable = True


def test_a_frame_that_is_held_is_not_written_over(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    with leased(reader.newest()) as lease:
        rings.publish(writer, *range(2, 30))
        assert is_whole(lease)
        assert lease.sequence == 1
        assert writer.stats.slots == 3

    rings.publish(writer, *range(30, 40))

    assert writer.stats == type(writer.stats)(
        published=39, dropped=0, slots=3, slot_bytes=3 * (budget(1) // 2), abandoned_bytes=0
    )


def test_a_copy_is_the_callers_own_and_goes_where_it_fits(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    own, too_small = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    read_only = np.zeros_like(own)
    read_only.flags.writeable = False

    with leased(reader.newest()) as lease:
        assert lease.copy(own) is own
        copies = [lease.copy(), lease.copy(too_small), lease.copy(read_only), own]
    rings.publish(writer, 2, 3, 4)

    for copy in copies:
        assert (copy == frame_of(1)).all()
        copy[0, 0, 0] = 0
    assert not too_small.any()
    assert not read_only.any()


def test_a_lease_ends_once_and_then_has_no_pixels(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    lease = leased(reader.newest())

    lease.close()
    lease.close()

    assert lease.pixels.size == 0
    with pytest.raises(ValueError, match="closed"):
        lease.copy()


def test_an_array_that_was_kept_against_the_rule_keeps_its_slot_until_it_is_gone(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    with leased(reader.newest()) as lease:
        kept = lease.pixels[3:9]

    rings.publish(writer, *range(2, 20))
    assert (kept == frame_of(1)[3:9]).all()
    assert rings.slots()[0].name == "main-00000000000000000001.slot"

    del kept
    rings.publish(writer, 20)
    assert not rings.slots()[0].name.endswith("1.slot")


def test_a_lease_that_was_forgotten_ends_with_its_object(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    before = len(open_descriptors())
    for number in range(2, 12):
        leased(reader.newest())
        rings.publish(writer, number)

    assert writer.stats.slots <= 3
    # Two more slots, open and mapped by the writer, and three that the reader keeps.
    assert len(open_descriptors()) <= before + 4 + 6


def test_a_forked_child_neither_keeps_nor_ends_the_lease_of_its_parent(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    lease = leased(reader.newest())
    end_read, end_write = os.pipe()
    child = os.fork()
    if child == 0:  # it closes what it inherited, waits until the parent is done, and goes
        lease.close()
        os.read(end_read, 1)
        os._exit(0)
    try:
        rings.publish(writer, *range(2, 10))
        assert is_whole(lease)
        lease.close()
        rings.publish(writer, 10, 11)
        assert rings.slots()[0].name != "main-00000000000000000001.slot"
    finally:
        os.write(end_write, b"x")
        os.waitpid(child, 0)
        os.close(end_read)
        os.close(end_write)


# --- streams ----------------------------------------------------------------------------------------------------------


def test_nothing_is_published_while_nobody_reads(rings: Rings) -> None:
    writer = rings.writer()

    assert rings.publish(writer, 1) == 0
    assert writer.wanted() == frozenset()
    assert rings.slots() == []


@pytest.mark.parametrize("streams", [("main",), ("lores",), ("main", "lores")])
def test_what_is_read_is_published_and_no_more(rings: Rings, streams: tuple[str, ...]) -> None:
    writer = rings.writer(lores_width=16, max_bytes=10**6)
    readers = {stream: rings.reader(stream) for stream in streams}
    for reader in readers.values():
        reader.newest()

    assert writer.wanted() == frozenset(streams)
    assert rings.publish(writer, 5) == len(streams)
    assert {path.name.split("-")[0] for path in rings.slots()} == set(streams)
    for stream, reader in readers.items():
        with leased(reader.newest()) as lease:
            assert (lease.stream, lease.sequence) == (stream, 5)
            assert lease.pixels.shape == ((HEIGHT, WIDTH, 3) if stream == "main" else (11, 16, 3))
            assert (lease.sidecar.width, lease.sidecar.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("streams", [("main",), ("lores",), ("main", "lores")])
def test_a_jpeg_is_published_decoded(rings: Rings, photographs: list[Path], streams: tuple[str, ...]) -> None:
    jpeg = photographs[0].read_bytes()
    writer = rings.writer(lores_width=320, max_bytes=50_000_000)
    readers = {stream: rings.reader(stream) for stream in streams}
    for reader in readers.values():
        reader.newest()

    assert writer.publish_jpeg(sidecar_of(1, rings.clock, width=640, height=427), jpeg) == len(streams)

    picture = decode(jpeg)
    for stream, reader in readers.items():
        with leased(reader.newest()) as lease:
            if stream == "main":
                assert (lease.pixels == picture).all()
            else:
                assert lease.pixels.shape == (214, 320, 3)
                difference = lease.pixels.astype(int) - picture[::2, ::2].astype(int)
                assert abs(difference.mean()) < 2
                assert np.abs(difference).mean() < 20


def test_a_jpeg_nobody_reads_is_not_decoded(rings: Rings) -> None:
    assert rings.writer().publish_jpeg(sidecar_of(1, rings.clock), b"no image") == 0


def test_a_jpeg_that_breaks_off_is_no_frame_and_the_frame_before_it_stays(rings: Rings) -> None:
    writer, reader = rings.pair(max_bytes=10**7)
    whole = encode(frame_of(1, 320, 240), 95)
    for number in (1, 2, 3):
        writer.publish_jpeg(sidecar_of(number, rings.clock), whole)

    with pytest.raises(ImageInvalidError):
        writer.publish_jpeg(sidecar_of(4, rings.clock), whole[: len(whole) // 2])

    with leased(reader.newest()) as lease:
        assert lease.sequence == 3
    assert writer.publish_jpeg(sidecar_of(5, rings.clock), whole) == 1
    with leased(reader.newest(newer_than=3)) as lease:
        assert (lease.pixels == decode(whole)).all()
    assert writer.stats.slots == 2


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3), (4, 20000, 3)])
def test_what_is_no_picture_is_refused(rings: Rings, shape: tuple[int, ...]) -> None:
    writer, reader = rings.pair()

    with pytest.raises(ImageInvalidError):
        writer.publish_pixels(sidecar_of(1, rings.clock), np.zeros(shape, np.uint8))
    with pytest.raises(ImageInvalidError):
        writer.publish_pixels(sidecar_of(1, rings.clock), np.zeros((4, 4, 3), np.uint16))
    with pytest.raises(ImageInvalidError):
        writer.publish_pixels(sidecar_of(-1, rings.clock), np.zeros((4, 4, 3), np.uint8))
    assert reader.newest() is None


def test_pixels_that_are_a_part_of_a_larger_picture_are_published(rings: Rings) -> None:
    writer, reader = rings.pair()
    part = frame_of(1, 64, 64)[5:37, 60:12:-1]

    writer.publish_pixels(sidecar_of(1, rings.clock), part)

    with leased(reader.newest()) as lease:
        assert (lease.pixels == part).all()


def test_readers_follow_when_the_size_changes(rings: Rings) -> None:
    writer, reader = rings.pair(slots=20)
    rings.publish(writer, 1, 2, 3)
    with leased(reader.newest()) as held:
        rings.publish(writer, 4, 5, size=(60, 20))
        with leased(reader.newest()) as lease:
            assert (lease.sequence, lease.pixels.shape) == (5, (20, 60, 3))
            assert is_whole(lease)
        rings.publish(writer, 6, size=(WIDTH, HEIGHT))
        assert is_whole(held)
    with leased(reader.newest()) as lease:
        assert (lease.sequence, lease.pixels.shape) == (6, (HEIGHT, WIDTH, 3))
    writer.tidy()
    assert writer.stats.slots == 2  # that one, and a spare
    assert writer.stats.abandoned_bytes == 0


# --- places -----------------------------------------------------------------------------------------------------------


def test_a_folder_on_a_disk_is_refused(tmp_path: Path, rings: Rings) -> None:
    shutil.rmtree(rings.folder)
    if Path("/dev/shm") in tmp_path.parents:
        pytest.skip("the temporary folder is in RAM here")

    with pytest.raises(StorageUnavailableError, match="not in RAM"):
        RingWriter(tmp_path, volume_id=VOLUME, clock=rings.clock, max_bytes=10**6)
    assert list(tmp_path.iterdir()) == []

    writer = RingWriter(tmp_path, volume_id=VOLUME, clock=rings.clock, max_bytes=10**6, require_ram=False)
    writer.close()


def test_a_folder_that_is_missing_is_an_error_for_the_writer_and_none_for_readers(rings: Rings) -> None:
    shutil.rmtree(rings.folder)
    reader = rings.reader()

    assert reader.newest() is None
    assert reader.newest_sequence() == -1
    with pytest.raises(StorageUnavailableError):
        rings.writer()


def test_a_folder_that_goes_away_is_an_error_and_a_new_writer_finds_the_readers_again(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1)
    shutil.rmtree(rings.folder)

    with pytest.raises(SharedVolumeError):
        rings.publish(writer, 2)
    writer.close()
    rings.folder.mkdir()
    writer = rings.writer()
    assert reader.newest() is None
    rings.publish(writer, 3)

    with leased(reader.newest()) as lease:
        assert lease.sequence == 3


def test_a_slot_that_somebody_removed_is_made_again(rings: Rings) -> None:
    writer, reader = rings.pair()
    rings.publish(writer, 1, 2, 3)
    for path in rings.slots():
        path.unlink()

    assert rings.publish(writer, 4, 5, 6) == 3

    with leased(reader.newest()) as lease:
        assert lease.sequence == 6
    assert writer.stats.slots == 2


def test_a_name_that_is_taken_is_not_written_over(rings: Rings) -> None:
    writer, reader = rings.pair()
    planted = rings.folder / "main-00000000000000000005.slot"
    planted.write_text("mine")

    assert rings.publish(writer, 5) == 0
    assert rings.publish(writer, 6) == 1

    assert planted.read_text() == "mine"
    assert writer.stats.dropped == 1
    with leased(reader.newest()) as lease:
        assert lease.sequence == 6


def test_frames_of_another_appliance_or_boot_are_not_seen(rings: Rings) -> None:
    writer, _ = rings.pair()
    rings.publish(writer, 1)

    assert rings.reader(volume_id="another").newest() is None
    rings.clock.boot = "boot-2"
    assert rings.reader().newest() is None


def test_everybody_may_read_whatever_the_umask_is(rings: Rings) -> None:
    before = os.umask(0o077)
    try:
        writer, _ = rings.pair()
        rings.publish(writer, 1)
    finally:
        os.umask(before)

    assert {path.stat().st_mode & 0o777 for path in rings.folder.iterdir()} == {0o644}
    assert len(list(rings.folder.iterdir())) == 3


def test_closing_gives_all_memory_and_every_descriptor_back(rings: Rings) -> None:
    before = open_descriptors()
    writer, reader = rings.pair()
    rings.publish(writer, *range(10))
    leased(reader.newest()).close()

    writer.close()
    writer.close()
    reader.close()
    reader.close()

    assert rings.slots() == []
    assert open_descriptors() == before
    assert writer.stats.slot_bytes == 0


def test_a_writer_that_cannot_start_leaves_no_descriptor_open(rings: Rings) -> None:
    (rings.folder / "readers.main").mkdir()
    before = open_descriptors()

    for _ in range(3):
        with pytest.raises(SharedVolumeError, match=r"readers\.main"):
            rings.writer()

    assert open_descriptors() == before


def test_a_reader_that_was_dropped_without_closing_is_no_reader(rings: Rings) -> None:
    writer = rings.writer()
    reader: RingReader | None = RingReader(rings.folder, volume_id=VOLUME, clock=rings.clock)
    assert reader is not None
    reader.newest()
    assert writer.wanted() == {"main"}

    reader = None

    assert writer.wanted() == frozenset()

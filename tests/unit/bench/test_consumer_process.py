# SPDX-License-Identifier: MIT
"""Consumers as processes of their own, with real frames."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldcam.bench import ring_bench
from fieldcam.bench.consumer_process import ConsumerProcess
from fieldcam.bench.p1_file_to_array import publish_and_wait, seconds_between
from fieldcam.bench.published import Area, Published, draw_pictures
from fieldcam.bench.row import NotMeasuredError
from fieldcam.bench.waiting import pause
from fieldcam.handoff.slot import slot_name
from tests.appliance_tree import wait_until

SIZE = (320, 240)


@pytest.fixture
def area(tmp_path: Path) -> Area:
    return Area(tmp_path, draw_pictures(SIZE, 2), SIZE, kept=3)


@pytest.fixture
def documented(area: Area) -> Iterator[ConsumerProcess]:
    with ConsumerProcess("documented", area.live) as consumer:
        yield consumer


def is_leased(slot: Path) -> bool:
    with slot.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_consumer_takes_the_frame_that_was_published_and_says_when(area: Area, documented: ConsumerProcess) -> None:
    documented.expect("array")
    published = area.publish()
    taken = documented.taken()

    assert taken.key == published.filename
    assert published.at_ns < taken.seen_ns < taken.at_ns <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert seconds_between(published, taken) == (taken.at_ns - published.at_ns) / 1e9


def test_a_consumer_takes_no_frame_twice(area: Area, documented: ConsumerProcess) -> None:
    first = publish_and_wait(area, documented, 0.0)
    second = publish_and_wait(area, documented, 0.0)

    assert first > 0
    assert second > 0


def test_another_frame_than_the_published_one_is_no_measurement(area: Area, documented: ConsumerProcess) -> None:
    documented.expect("array")
    area.publish()

    with pytest.raises(NotMeasuredError, match="published was"):
        seconds_between(Published(999, "another.jpg", 0), documented.taken())


def test_a_stream_is_counted_with_its_processor_time(area: Area, documented: ConsumerProcess) -> None:
    documented.start_stream("array")
    for _ in range(10):
        area.publish()
        pause(0.05)
    stream, facts = documented.stop_stream()

    assert 1 <= stream.frames <= 10
    assert 0 < stream.cpu_seconds < 10
    assert len(stream.ages) == stream.frames
    assert stream.cpu_percent == pytest.approx(100 * stream.cpu_seconds / stream.seconds)
    assert facts == {}


def test_the_bare_decoder_only_decodes(tmp_path: Path) -> None:
    for number, picture in enumerate(draw_pictures(SIZE, 2)):
        (tmp_path / f"{number}.jpg").write_bytes(picture)

    with ConsumerProcess("bare", tmp_path) as bare:
        for how in ("fresh", "reused", "reused"):
            bare.expect(how)
            taken = bare.taken()
            assert 0 < taken.at_ns - taken.seen_ns < 10**9


@pytest.mark.parametrize("kind", ["notice", "documented"])
def test_a_notice_comes_without_a_decode(area: Area, kind: str) -> None:
    with ConsumerProcess(kind, area.live) as consumer:
        consumer.expect("notice")
        published = area.publish()

        assert 0 < seconds_between(published, consumer.taken()) < 30


@pytest.mark.parametrize("how", ["view", "reused", "fresh", "hold"])
def test_a_reader_of_the_ring_takes_raw_frames_in_order(how: str) -> None:
    with ring_bench.running(SIZE) as bench, ConsumerProcess("ring", bench.folder, bench.area.volume_id) as reader:
        for _ in range(3):
            reader.expect(how)
            published = bench.publish_pixels(reader)
            taken = reader.taken()

            assert taken.key == str(published.sequence)
            assert published.at_ns < taken.published_at_ns < taken.seen_ns <= taken.at_ns


def test_a_held_frame_stays_leased_until_the_next_is_asked_for() -> None:
    with ring_bench.running(SIZE) as bench, ConsumerProcess("ring", bench.folder, bench.area.volume_id) as reader:
        reader.expect("hold")
        held = bench.folder / slot_name("main", bench.publish_pixels(reader).sequence)
        reader.taken()

        assert is_leased(held)
        reader.expect("view")
        wait_until(lambda: not is_leased(held), "the lease is given back")


def test_frames_for_nobody_are_no_measurement(
    area: Area, documented: ConsumerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring_bench, "READER_SECONDS", 0.05)

    with ring_bench.running(SIZE) as bench, pytest.raises(NotMeasuredError, match="nobody reads the ring"):
        bench.publish_pixels(documented)


def test_a_reader_that_ended_is_named_instead_of_waited_for(documented: ConsumerProcess) -> None:
    os.kill(documented.pid, signal.SIGKILL)

    with ring_bench.running(SIZE) as bench, pytest.raises(NotMeasuredError, match=r"the consumer \(documented\) ended"):
        bench.publish_pixels(documented)


def test_a_stopped_consumer_goes_on_afterwards(area: Area, documented: ConsumerProcess) -> None:
    with documented.stopped():
        wait_until(lambda: state_of(documented.pid) == "T", "the consumer is stopped")

    assert publish_and_wait(area, documented, 0.0) > 0


def test_the_private_memory_of_a_cache_of_arrays_grows_by_their_bytes(tmp_path: Path) -> None:
    area = Area(tmp_path, draw_pictures((1280, 960), 2), (1280, 960), kept=3)
    with ConsumerProcess("documented", area.live) as consumer:
        for _ in range(2):
            consumer.expect("keep")
            area.publish()
            consumer.taken()
        before = consumer.private_bytes()
        for _ in range(3):
            consumer.expect("keep")
            area.publish()
            consumer.taken()
        grown = consumer.private_bytes() - before

    assert grown == pytest.approx(3 * 1280 * 960 * 3, rel=0.2)


def test_a_consumer_that_ends_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(NotMeasuredError, match=r"the consumer \(documented\) ended: (?s:.*)TypeError"),
        ConsumerProcess("documented", tmp_path, "too", "many"),
    ):
        pass


def test_a_consumer_ends_with_the_benchmark(area: Area) -> None:
    with ConsumerProcess("documented", area.live) as consumer:
        pid = consumer.pid

    assert not Path(f"/proc/{pid}").exists()

# SPDX-License-Identifier: MIT
"""handoff.presence: who reads counts, who has stopped does not, and nobody needs a thread for that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fieldcam.handoff import presence
from fieldcam.handoff.presence import RENEW_SECONDS, REST_SECONDS, PresenceMark, PresenceWatch
from tests.appliance_tree import wait_until
from tests.frames_on_disk import FakeClock

ROOT = Path(__file__).resolve().parents[3]
HOLD = """
import sys, signal
from pathlib import Path
from fieldcam.core.clock import SystemClock
from fieldcam.handoff.presence import PresenceMark
mark = PresenceMark(Path(sys.argv[1]), "main", SystemClock())
mark.touch()
print("there", flush=True)
signal.pause()
"""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_a_reader_counts_until_it_closes(folder: Path, clock: FakeClock) -> None:
    watch, mark = PresenceWatch(folder, clock), PresenceMark(folder, "main", clock)
    assert watch.streams_read() == frozenset()  # and the file is there

    mark.touch()
    assert watch.streams_read() == {"main"}
    mark.close()
    mark.close()

    assert watch.streams_read() == frozenset()
    watch.close()


@pytest.mark.parametrize("rests_by_itself", [True, False])
def test_a_reader_that_reads_no_more_counts_for_three_seconds(
    folder: Path, clock: FakeClock, rests_by_itself: bool
) -> None:
    watch, mark = PresenceWatch(folder, clock), PresenceMark(folder, "main", clock)
    watch.streams_read()
    mark.touch()

    for _ in range(3):
        assert watch.streams_read() == {"main"}
        clock.advance(REST_SECONDS / 3)
        if rests_by_itself:
            mark.rest()
    assert watch.streams_read() == {"main"}
    clock.advance(0.1)
    if rests_by_itself:
        mark.rest()
    assert watch.streams_read() == frozenset()

    mark.touch()
    assert watch.streams_read() == {"main"}
    mark.close()
    watch.close()


def test_a_reader_that_goes_on_reading_goes_on_counting(folder: Path, clock: FakeClock) -> None:
    watch, mark = PresenceWatch(folder, clock), PresenceMark(folder, "lores", clock)
    watch.streams_read()
    for _ in range(100):
        mark.touch()
        assert watch.streams_read() == {"lores"}
        clock.advance(RENEW_SECONDS / 3)
    mark.close()
    watch.close()


def test_reading_often_opens_the_file_once_a_second(
    folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, mark = PresenceWatch(folder, clock), PresenceMark(folder, "main", clock)
    watch.streams_read()
    opened, real = [], presence._lock_shared

    def counted(path: Path) -> int | None:
        opened.append(path)
        return real(path)

    monkeypatch.setattr(presence, "_lock_shared", counted)

    for _ in range(300):
        mark.touch()
        clock.advance(0.01)

    assert len(opened) == 3
    mark.close()
    watch.close()


def test_one_of_two_readers_that_leaves_is_not_missed(folder: Path, clock: FakeClock) -> None:
    watch = PresenceWatch(folder, clock)
    watch.streams_read()
    first, second = PresenceMark(folder, "main", clock), PresenceMark(folder, "main", clock)
    first.touch()
    second.touch()

    first.close()

    assert watch.streams_read() == {"main"}
    second.close()
    watch.close()


def test_a_writer_that_starts_finds_readers_that_are_there_already(folder: Path, clock: FakeClock) -> None:
    first, mark = PresenceWatch(folder, clock), PresenceMark(folder, "main", clock)
    first.streams_read()
    mark.touch()
    first.close()

    second = PresenceWatch(folder, clock)
    assert second.streams_read() == {"main"}
    mark.close()
    second.close()


def test_a_reader_before_the_writer_is_found_as_soon_as_it_reads_again(folder: Path, clock: FakeClock) -> None:
    mark = PresenceMark(folder, "main", clock)
    mark.touch()

    watch = PresenceWatch(folder, clock)
    assert watch.streams_read() == frozenset()
    mark.touch()
    assert watch.streams_read() == {"main"}
    mark.close()
    watch.close()


def test_without_inotify_the_lock_alone_counts(folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(24, "too many instances")

    monkeypatch.setattr(presence, "INotify", refuse)
    watch, mark = PresenceWatch(folder, clock), PresenceMark(folder, "main", clock)
    watch.streams_read()
    mark.touch()
    clock.advance(60)

    assert watch.streams_read() == {"main"}
    mark.rest()
    assert watch.streams_read() == frozenset()
    watch.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_reader_that_is_killed_or_stopped_counts_no_more(folder: Path, clock: FakeClock, how: signal.Signals) -> None:
    watch = PresenceWatch(folder, clock)
    watch.streams_read()
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"there\n"
            assert watch.streams_read() == {"main"}
            process.send_signal(how)
            if how == signal.SIGSTOP:
                assert watch.streams_read() == {"main"}
                clock.advance(REST_SECONDS + 0.1)
                assert watch.streams_read() == frozenset()
            else:
                wait_until(lambda: not watch.streams_read(), "the kernel lets its lock go")
        finally:
            process.kill()
    watch.close()


def test_a_clock_that_differs_from_that_of_the_readers_does_not_matter(folder: Path) -> None:
    writers, readers = FakeClock(boottime_s=5), FakeClock(boottime_s=500_000)
    watch, mark = PresenceWatch(folder, writers), PresenceMark(folder, "main", readers)
    watch.streams_read()
    for _ in range(5):
        mark.touch()
        assert watch.streams_read() == {"main"}
        writers.advance(2)
        readers.advance(2)
    mark.close()
    watch.close()


def test_marks_that_were_dropped_leave_no_descriptor(folder: Path, clock: FakeClock) -> None:
    watch = PresenceWatch(folder, clock)
    watch.streams_read()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(100):
        PresenceMark(folder, "main", clock).touch()

    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert watch.streams_read() == frozenset()
    watch.close()


def test_more_openings_than_the_kernel_remembers_are_taken_for_readers(folder: Path, clock: FakeClock) -> None:
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    watch, mark = PresenceWatch(folder, clock), PresenceMark(folder, "main", clock)
    watch.streams_read()
    mark.touch()
    clock.advance(REST_SECONDS * 2)
    # Equal events in a row count as one, so the two files take turns.
    for number in range(queue + 100):
        os.close(os.open(folder / ("readers.lores", "readers.main")[number % 2], os.O_RDONLY))

    assert watch.streams_read() == {"main"}
    mark.close()
    watch.close()

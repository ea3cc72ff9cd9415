# SPDX-License-Identifier: MIT
"""capture.jobs: captures wait in order, within a limit, and none is forgotten."""

from __future__ import annotations

import threading
import time

import pytest

from fieldcam.capture.jobs import Jobs
from fieldcam.core.clock import SystemClock
from fieldcam.core.errors import CameraNotAvailableError, CaptureInProgressError
from fieldcam.core.frame import CaptureRequest
from tests.frames_on_disk import FakeClock


def queue(most: int = 2) -> Jobs:
    return Jobs(FakeClock(boottime_s=100), most=most, timeout_seconds=30)


def test_they_are_taken_in_order_with_a_deadline_that_leaves_time_to_answer() -> None:
    jobs = queue()
    first, second = (CaptureRequest(sample_no=name) for name in "ab")
    jobs.submit(first, store=True)
    jobs.submit(second, store=False)

    taken = [jobs.next(), jobs.next(), jobs.next()]

    assert [job.request if job else None for job in taken] == [first, second, None]
    assert [job.store for job in taken if job] == [True, False]
    assert taken[0] is not None
    assert (taken[0].accepted_ns, taken[0].deadline_ns) == (100_000_000_000, 128_500_000_000)


def test_more_than_may_wait_are_refused() -> None:
    jobs = queue(most=1)
    jobs.submit(CaptureRequest(), store=True)

    with pytest.raises(CaptureInProgressError, match="1 captures are waiting"):
        jobs.submit(CaptureRequest(), store=True)


def test_after_a_stop_none_is_accepted_but_those_that_wait_are_still_there() -> None:
    jobs = queue()
    jobs.submit(CaptureRequest(), store=True)
    jobs.stop()

    with pytest.raises(CaptureInProgressError, match="stopping"):
        jobs.submit(CaptureRequest(), store=True)
    before = (jobs.are_over, jobs.want_the_camera)
    jobs.next()

    assert (before, jobs.are_over, jobs.want_the_camera) == ((False, True), True, True)


def test_those_that_can_no_longer_be_taken_are_told() -> None:
    jobs = queue()
    answer = jobs.submit(CaptureRequest(), store=True)

    jobs.refuse_all()

    assert isinstance(answer.exception(0), CameraNotAvailableError)
    assert jobs.next() is None


def test_a_capture_ends_the_wait_of_the_loop() -> None:
    clock = SystemClock()
    jobs = Jobs(clock, most=2, timeout_seconds=30)
    started = time.monotonic()
    threading.Timer(0.05, lambda: jobs.submit(CaptureRequest(), store=True)).start()

    jobs.wait_until(clock.boottime_ns() + 60_000_000_000)

    assert time.monotonic() - started < 0.9  # a second is the longest wait, woken or not
    assert jobs.want_the_camera


def test_nothing_is_waited_for_when_something_is_to_be_done_or_the_time_has_come() -> None:
    clock = SystemClock()
    jobs = Jobs(clock, most=2, timeout_seconds=30)
    started = time.monotonic()
    jobs.wait_until(clock.boottime_ns() - 1)
    jobs.stop()
    jobs.wait_until(clock.boottime_ns() + 60_000_000_000)

    assert time.monotonic() - started < 0.5

# SPDX-License-Identifier: MIT
"""P8 and P12: what is made of a run that was watched."""

from __future__ import annotations

import dataclasses
from itertools import accumulate, chain, repeat

import pytest

from fieldcam.bench import p8_cadence, p12_disk_writes
from fieldcam.bench.live_run import LiveRun
from fieldcam.bench.row import NotMeasuredError

SECOND_NS = 1_000_000_000


def moments(*steps_ms: int) -> tuple[int, ...]:
    """Return when frames came, the first at 5 s and the others these milliseconds after one another."""
    return tuple(5 * SECOND_NS + step * 1_000_000 for step in accumulate(chain((0,), steps_ms)))


def run(exposed_ns: tuple[int, ...], **changes: object) -> LiveRun:
    seen = LiveRun(
        seconds=float(len(exposed_ns)),
        exposed_ns=exposed_ns,
        slots_skipped={},
        written_bytes=0,
        device="sda",
        device_written_bytes=0,
        image_bytes=3_000_000,
        loop_began=(0.0, 1.1, 2.2, 3.3),
        loop_written_bytes=12_000_000,
    )
    return dataclasses.replace(seen, **changes)  # type: ignore[arg-type]


def test_frames_on_their_slots_pass() -> None:
    row = p8_cadence.row(run(moments(*repeat(1000, 99))))

    assert row.verdict == "pass"
    assert row.figures["drift_seconds"] == 0.0


def test_jitter_is_no_drift() -> None:
    row = p8_cadence.row(run(moments(*([1040, 960] * 50))))

    assert row.verdict == "pass"
    assert row.samples["lateness_seconds"].max == pytest.approx(0.040)


def test_a_loop_that_sleeps_for_the_interval_is_found_to_drift() -> None:
    row = p8_cadence.row(run(moments(*repeat(1010, 99))))

    assert row.verdict == "short"
    # From the middle of the first tenth to the middle of the last: 90 steps of 10 ms.
    assert row.figures["drift_seconds"] == pytest.approx(0.9)


def test_a_loop_that_drifts_by_more_than_half_a_slot_is_not_taken_for_one_on_time() -> None:
    row = p8_cadence.row(run(moments(*repeat(1100, 199))))

    assert row.figures["drift_seconds"] == pytest.approx(18.0)


def test_a_gap_between_two_frames_is_a_missed_slot() -> None:
    row = p8_cadence.row(run(moments(1000, 1000, 3000, 1000), seconds=7.0))

    assert row.verdict == "short"
    assert row.figures["slots_missing_in_sidecars"] == 2
    assert row.ours.startswith("2 slots missed")


def test_a_capture_that_stopped_for_good_has_missed_the_rest() -> None:
    row = p8_cadence.row(run(moments(1000, 1000, 1000), seconds=60.0))

    assert row.verdict == "short"
    assert row.figures["slots_missing_in_sidecars"] == 55


def test_slots_the_process_admits_count_although_no_gap_is_seen() -> None:
    row = p8_cadence.row(run(moments(*repeat(1000, 9)), slots_skipped={"late": 3}))

    assert row.verdict == "short"
    assert "causes: late 3" in row.notes


def test_the_drift_of_the_documented_loop_is_scaled_to_the_same_time() -> None:
    row = p8_cadence.row(run(moments(*repeat(1000, 109)), seconds=110.0))

    # 100 turns of 1.1 s fit into 110 s, each 0.1 s late.
    assert row.figures["documented_drift_seconds"] == pytest.approx(10.0)
    assert row.baseline.startswith(("9 slots", "10 slots"))


def test_two_frames_are_too_few_to_say_anything() -> None:
    with pytest.raises(NotMeasuredError, match="only 2 live frames"):
        p8_cadence.row(run(moments(1000)))


@pytest.mark.parametrize(("written", "verdict"), [(0, "pass"), (500_000, "pass"), (500_001, "short")])
def test_bytes_are_scaled_to_an_hour_and_judged_by_three_megabytes(written: int, verdict: str) -> None:
    row = p12_disk_writes.row(run(moments(1000), seconds=600.0, written_bytes=written))

    assert row.verdict == verdict
    assert row.figures["bytes_per_hour"] == written * 6


def test_the_documented_design_writes_each_image_to_the_disk() -> None:
    row = p12_disk_writes.row(run(moments(1000), seconds=600.0, written_bytes=100_000))

    # 12 MB in four turns are 3 MB a second.
    assert row.figures["documented_bytes_per_hour"] == 3_000_000 * 3600
    assert row.ratio == pytest.approx(600_000 / (3_000_000 * 3600))


def test_a_folder_on_no_disk_gives_no_figure() -> None:
    with pytest.raises(NotMeasuredError, match="TMPDIR"):
        p12_disk_writes.row(run(moments(1000), loop_written_bytes=0))

# SPDX-License-Identifier: MIT
"""P1 to P5: what is made of what was measured."""

from __future__ import annotations

import dataclasses
from itertools import repeat

import numpy as np
import pytest

from fieldcam.bench import (
    p1_file_to_array,
    p2_notice,
    p3_raw_to_array,
    p3_writer_jitter,
    p4_four_consumers,
    p5_cached_again,
    provider_figures,
)
from fieldcam.bench.consumer_process import Stream
from fieldcam.bench.memcpy import Memcpy, frame_bytes
from fieldcam.bench.row import FULL_SIZE, NotMeasuredError, Plan, Row, milliseconds
from fieldcam.bench.samples import Summary, summarize

PLAN = Plan.full(None, None)
SIZE = PLAN.hand_off_size


def always(seconds: float) -> Summary:
    return summarize([seconds])


def test_the_full_plan_hands_over_12_megapixels() -> None:
    assert SIZE == FULL_SIZE
    assert frame_bytes(SIZE) == 36_990_720


class TestP1:
    def row(self, ours: float, documented: float = 0.140) -> Row:
        done = p1_file_to_array.Measured([ours], [0.066], [0.060], [documented], 3e6)
        return p1_file_to_array.row(PLAN, done)

    @pytest.mark.parametrize(("ours", "verdict"), [(0.0690, "pass"), (0.0739, "short")])
    def test_twice_as_fast_as_documented_is_asked_for(self, ours: float, verdict: str) -> None:
        # 1.15 × 60 + 5 = 74 ms, half of 140 = 70 ms.
        assert self.row(ours).verdict == verdict

    @pytest.mark.parametrize(("ours", "verdict"), [(0.0739, "pass"), (0.0741, "short")])
    def test_no_more_than_the_decoder_and_a_little_is_asked_for(self, ours: float, verdict: str) -> None:
        assert self.row(ours, documented=0.300).verdict == verdict

    def test_the_ratio_is_to_the_documented_design(self) -> None:
        assert self.row(0.070).ratio == pytest.approx(0.5)

    def test_frames_fall_evenly_into_the_interval_of_the_poll(self) -> None:
        waits = [p1_file_to_array.poll_phase(turn) - p1_file_to_array.WAIT_SECONDS for turn in range(100)]

        tenths = [sum(low / 100 <= wait < (low + 1) / 100 for wait in waits) for low in range(10)]
        assert sum(tenths) == 100
        assert all(9 <= number <= 11 for number in tenths)


class TestP2:
    def test_the_percentile_is_judged(self) -> None:
        row = p2_notice.row([*repeat(0.0002, 190), *repeat(0.006, 10)], [0.05], "inotify")

        assert row.verdict == "short"
        assert row.samples["notice_seconds"].median == 0.0002

    def test_notices_within_five_milliseconds_hold_the_bar(self) -> None:
        row = p2_notice.row([0.0002, 0.0049], [0.05], "inotify")

        assert row.verdict == "pass"
        assert row.ratio == pytest.approx(0.098)
        assert any("≤ 100 ms" in note and "holds" in note for note in row.notes)

    def test_a_folder_where_inotify_is_deaf_is_short_and_says_where_to_go(self) -> None:
        row = p2_notice.row([0.0002, 0.0049], [0.05], "poll")

        assert row.verdict == "short"
        assert "TMPDIR" in row.notes[0]


class TestP3:
    def rows(self, **seconds: float) -> dict[str, Row]:
        done = p3_raw_to_array.Measured()
        for way in done.raw_to:
            done.raw_to[way].append(seconds.get(way, 0.005))
        done.published_to_view.append(seconds.get("published", 0.001))
        done.publishing.append(0.003)
        found = p3_raw_to_array.rows(PLAN, done, reused=always(0.003), fresh=always(0.009))
        return dict(zip(("reused", "view", "library", "published"), found, strict=True))

    def test_all_bars_hold(self) -> None:
        assert [row.verdict for row in self.rows().values()] == ["pass"] * 4

    @pytest.mark.parametrize(
        ("way", "seconds"), [("reused", 0.0061), ("view", 0.0061), ("library", 0.0061), ("published", 0.0021)]
    )
    def test_each_line_has_its_own_bar(self, way: str, seconds: float) -> None:
        rows = self.rows(**{way: seconds})

        assert {name for name, row in rows.items() if row.verdict == "short"} == {way}

    def test_the_library_is_held_against_a_copy_into_an_array_that_is_there_as_it_uses_memory_again(self) -> None:
        rows = self.rows(library=0.0059)

        assert rows["library"].verdict == "pass"
        assert rows["library"].ratio == pytest.approx(0.0059 / 0.003)
        assert f"{0.0059 / 0.009:.2f} × the latter" in rows["library"].notes[0]
        assert rows["reused"].baseline == f"{milliseconds(0.003)} (one memcpy)"


class TestWriterJitter:
    def row(self, stopped: list[float], dropped: int = 0) -> Row:
        done = p3_writer_jitter.Measured([0.005] * 100, stopped, dropped, [0.004] * 100, [0.003] * 100)
        return p3_writer_jitter.row(PLAN, done)

    def test_a_writer_that_feels_nothing_passes(self) -> None:
        assert self.row([0.005] * 100).verdict == "pass"

    def test_one_new_slot_in_a_block_is_no_jitter(self) -> None:
        assert self.row([*repeat(0.005, 199), 0.040]).verdict == "pass"

    def test_a_writer_that_waits_now_and_then_is_found_by_the_percentile(self) -> None:
        assert self.row([*repeat(0.005, 90), *repeat(0.009, 10)]).verdict == "short"

    def test_a_writer_that_is_slower_every_time_is_found_by_the_median(self) -> None:
        assert self.row([0.0065] * 100).verdict == "short"

    def test_the_processor_time_of_the_same_calls_is_said(self) -> None:
        assert "median 3.0 ms and 4.0 ms" in " ".join(self.row([0.005] * 100).notes)

    def test_a_dropped_frame_is_short(self) -> None:
        assert self.row([0.005] * 100, dropped=1).verdict == "short"


class TestP4:
    def rows(self, per_consumer: float, writer: float) -> list[Row]:
        def measured(consumers: int, seconds: float) -> p4_four_consumers.Measured:
            # Two blocks, and one frame that is an accident.
            stream = Stream(0.0, 10.0, [], [seconds, seconds, seconds, 10 * seconds])
            return p4_four_consumers.Measured(consumers, streams=[stream] * consumers * 2)

        done = {
            "ours": measured(4, per_consumer),
            "reused": measured(4, per_consumer / 2),
            "documented": measured(1, 0.090),
            "documented_4": measured(4, 0.090),
            "files": measured(1, 0.065),
        }
        for name in ("ours", "reused"):
            done[name].writer_seconds += [writer, writer, 10 * writer]
        return p4_four_consumers.rows(PLAN, done)

    def test_the_writer_and_all_four_consumers_count(self) -> None:
        together, _ = self.rows(per_consumer=0.0142, writer=0.060)
        more, _ = self.rows(per_consumer=0.0143, writer=0.060)

        # 1.3 × 90 = 117 ms.
        assert (together.verdict, more.verdict) == ("pass", "short")
        assert together.ratio == pytest.approx(0.1168 / 0.090)
        assert "4.00 × one" in together.notes[2]
        assert together.figures["documented_mean_cpu_seconds_per_frame"] == pytest.approx(0.090 * 13 / 4)

    def test_a_provider_is_judged_by_its_share_of_a_core_without_the_writer(self) -> None:
        _, provider = self.rows(per_consumer=0.049, writer=0.5)
        _, too_much = self.rows(per_consumer=0.051, writer=0.0)

        assert (provider.row, provider.verdict) == ("doc", "pass")
        assert provider.ours == "4.9 % of a core"
        assert too_much.verdict == "short"
        assert provider.figures["files_percent"] == pytest.approx(6.5)


class TestP5:
    def rows(self, view: float = 10e-6, copy: float = 0.009, call: float = 0.009) -> list[Row]:
        done = p5_cached_again.Measured([view], [copy], [call])
        return p5_cached_again.rows(PLAN, done, reused=always(0.003), fresh=always(0.009))

    def test_all_bars_hold(self) -> None:
        assert [row.verdict for row in self.rows()] == ["pass"] * 3

    @pytest.mark.parametrize(("index", "seconds"), [(0, {"view": 51e-6}), (1, {"copy": 0.0118}), (2, {"call": 0.051})])
    def test_each_line_has_its_own_bar(self, index: int, seconds: dict[str, float]) -> None:
        verdicts = [row.verdict for row in self.rows(**seconds)]

        assert [number for number, verdict in enumerate(verdicts) if verdict == "short"] == [index]


class TestProvider:
    def test_the_worst_load_from_disk_is_judged(self) -> None:
        assert provider_figures.disk_row(SIZE, [0.1, 0.299], [0.1]).verdict == "pass"
        assert provider_figures.disk_row(SIZE, [0.1, 0.301], [0.1]).verdict == "short"

    @pytest.mark.parametrize(("percent", "verdict"), [(90.1, "pass"), (90.0, "short")])
    def test_more_than_nine_of_ten_calls_are_answered_from_the_cache(self, percent: float, verdict: str) -> None:
        row = provider_figures.hit_row(SIZE, Stream(1.0, 10.0, [], []), percent)

        assert row.verdict == verdict

    @pytest.mark.parametrize(("idle", "verdict"), [(64_000_000, "pass"), (64_000_001, "short")])
    def test_the_cache_is_judged_when_nobody_asks(self, idle: int, verdict: str) -> None:
        row = provider_figures.cache_row(SIZE, 100_000_000, idle, 370_000_000, 28_000_000)

        assert row.verdict == verdict
        assert "100 MB" in row.notes[0]


def test_a_copy_is_timed_both_ways() -> None:
    memcpy = Memcpy([np.zeros((1000, 1000, 3), np.uint8)])

    for _ in range(3):
        memcpy.copy()

    assert memcpy.reused.n == memcpy.fresh.n == 3
    assert 0 < memcpy.reused.min < 1


def test_a_pipeline_without_frames_is_no_measurement() -> None:
    from fieldcam.bench.documented_figures import pipeline_row

    with pytest.raises(NotMeasuredError, match="no frame"):
        pipeline_row([])
    assert pipeline_row([0.2, 0.9, 2.9]).verdict == "pass"
    assert pipeline_row([0.2, 0.9, 3.1]).verdict == "short"
    assert pipeline_row([0.2, 1.1, 1.2]).verdict == "short"


def test_every_plan_measures_something_of_everything() -> None:
    for plan in (PLAN, Plan.small(None)):
        numbers = (value for value in dataclasses.astuple(plan) if isinstance(value, (int, float)))
        assert all(value >= 0 for value in numbers)
        assert min(plan.frames, plan.notices, plan.raw_frames, plan.blocks, plan.cached) >= 1

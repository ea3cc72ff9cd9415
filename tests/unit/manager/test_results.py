# SPDX-License-Identifier: MIT
"""Results of consumers: each is kept once, and what they belong to is known."""

from __future__ import annotations

import json
import os
import stat
from itertools import pairwise
from typing import Any

import pytest

from fieldcam.catalog import writer as catalog_writer
from fieldcam.catalog.connect import transaction
from fieldcam.core.errors import StorageFullError
from fieldcam.core.layout import MARKER
from fieldcam.manager import processed, results
from fieldcam.manager.sources import count_unacknowledged
from tests.frames_on_disk import put_capture, put_live
from tests.results_stage import Stage, as_result

# --- what becomes of a result -----------------------------------------------------------------------------------------


def test_a_result_gets_a_row_and_a_file_and_its_source_goes(stage: Stage) -> None:
    stage.put("sky", 1)
    stage.put("sky", 2, camera="north", sequence=5)

    stage.pass_time(2)

    assert [row.result for row in stage.rows()] == [
        as_result("sky", 1),
        as_result("sky", 2, camera="north", sequence=5),
    ]
    assert stage.processed() == stage.rows()
    assert stage.waiting("sky") == []
    layout = stage.config.layout
    assert [path.name[:24] for path in (layout.camera("north").processed / "sky").iterdir()] == [
        "result_0000000000000002_"
    ]
    assert stage.sweeper.counts.taken == 2


def test_the_file_says_what_the_row_says_with_its_id(stage: Stage) -> None:
    stage.put("sky", 1, note="unknown keys go")

    stage.pass_time(2)

    file = next((stage.config.layout.camera("default").processed / "sky").iterdir())
    assert json.loads(file.read_text()) == {"id": 1, **as_result("sky", 1).to_dict()}
    assert stat.S_IMODE(file.stat().st_mode) & 0o444 == 0o444


def test_services_are_taken_whether_they_are_configured_or_not_and_other_folders_are_not(stage: Stage) -> None:
    for name in ("sky", "cars", "no-one-knows-me", "UPPER", ".hidden", "a" * 33):
        stage.put(name, 1)
    (stage.config.results_dir / "file").write_text("x")
    (stage.config.results_dir / "link").symlink_to(stage.folder("UPPER"))

    stage.pass_time(2)

    assert sorted(row.result.service for row in stage.rows()) == ["cars", "no-one-knows-me", "sky"]
    assert stage.waiting("UPPER") == ["result_00000000000000000001.json"]


def test_without_a_folder_for_results_nothing_happens(stage: Stage) -> None:
    stage.config.results_dir.rmdir()

    stage.pass_time()

    assert stage.rows() == []


def test_everything_that_waits_is_one_transaction_and_the_next_sweep_is_ten_seconds_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.pass_time(0)
    began: list[int] = []

    def began_now(*args: Any) -> Any:
        began.append(stage.clock.boottime // 10**9)
        return transaction(*args)

    monkeypatch.setattr(catalog_writer, "transaction", began_now)
    for second in range(40):
        for service in ("sky", "cars"):
            stage.put(service, second)
        stage.pass_time(0)

    assert [later - earlier for earlier, later in pairwise(began)] == [10] * (len(began) - 1)
    assert len(began) == 4


def test_a_file_written_twice_with_the_same_words_is_one_result(stage: Stage) -> None:
    stage.put("sky", 1)
    stage.pass_time()
    stage.put("sky", 1)
    again = stage.put("sky", 1)
    again.rename(again.with_name("result_other-name.json"))
    stage.put("sky", 1, data={"number": 2})

    stage.pass_time()

    assert stage.numbers() == [1, 2]
    assert stage.waiting("sky") == []


def test_processed_keeps_the_newest_of_each_consumer_and_camera(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.sweeper._processed, "_keep", 10)
    for number in range(25):
        stage.put("sky", number)
        stage.put("cars", number, camera="north")
    stage.pass_time()
    stage.restart()
    monkeypatch.setattr(stage.sweeper._processed, "_keep", 10)
    stage.put("sky", 25)
    stage.pass_time()

    kept = [(row.result.service, row.result.data["number"]) for row in stage.processed()]
    assert sorted(kept) == [("cars", number) for number in range(15, 25)] + [
        ("sky", number) for number in range(16, 26)
    ]
    assert len(stage.rows()) == 51


def test_files_in_processed_may_be_deleted_by_hand(stage: Stage) -> None:
    stage.put("sky", 1)
    stage.pass_time()
    folder = stage.config.layout.camera("default").processed / "sky"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    stage.put("sky", 2)

    stage.pass_time(30)

    assert [row.result.data["number"] for row in stage.processed()] == [2]
    assert stage.numbers() == [1, 2]
    assert stage.waiting("sky") == []


# --- captures and acknowledgements ------------------------------------------------------------------------------------


def test_a_result_about_a_capture_acknowledges_it(stage: Stage) -> None:
    first, second = put_capture(stage.config, 1), put_capture(stage.config, 2)
    put_capture(stage.config, 3)
    other = put_capture(stage.config, 2, "north")
    captures = stage.config.layout.camera("default").captures
    stage.pass_time(1)
    stage.put("sky", 1, filename=first.filename, sequence=first.sequence)
    stage.put("sky", 2, image_id=second.id)
    stage.put("cars", 3, image_id=second.id)
    before = count_unacknowledged(captures)

    stage.pass_time()

    assert [row.result.image_id for row in stage.rows()] == [second.id, first.id, second.id]
    assert (before, count_unacknowledged(captures)) == (3, 1)
    assert sorted(path.name for path in captures.glob("*.ack")) == [
        first.filename.replace(".jpg", ".ack"),
        second.filename.replace(".jpg", ".ack"),
    ]
    assert not list(captures.glob(".*"))
    assert count_unacknowledged(stage.config.layout.camera("north").captures) == 1
    assert other.id != second.id
    assert stage.sweeper.counts.acknowledged == 2


def test_a_capture_that_has_no_row_yet_is_found_by_its_sidecar(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.pass_time(1)
    capture = put_capture(stage.config, 7)  # announced later
    stage.put("sky", 1, filename=capture.filename)

    stage.pass_time()

    assert stage.rows()[0].result.image_id == capture.id
    assert count_unacknowledged(stage.config.layout.camera("default").captures) == 0


def test_a_live_frame_of_the_same_name_acknowledges_nothing(stage: Stage) -> None:
    capture = put_capture(stage.config, 7)
    put_live(stage.config, 7, sequence=8)
    stage.pass_time(1)
    stage.put("sky", 1, filename=capture.filename, sequence=8)
    stage.put("sky", 2, filename=capture.filename, image_id=99)

    stage.pass_time()

    assert stage.rows()[0].result.image_id is None
    assert count_unacknowledged(stage.config.layout.camera("default").captures) == 1


def test_a_capture_that_was_deleted_keeps_its_id_in_results_and_gets_no_marker(stage: Stage) -> None:
    capture = put_capture(stage.config, 7)
    stage.pass_time(1)
    captures = stage.config.layout.camera("default").captures
    for path in captures.iterdir():
        path.unlink()
    stage.put("sky", 1, image_id=capture.id)

    stage.pass_time()

    assert stage.rows()[0].result.image_id == capture.id
    assert list(captures.iterdir()) == []


# --- places and catalogs that go away ---------------------------------------------------------------------------------


def test_while_the_hand_off_area_is_away_results_wait(stage: Stage) -> None:
    stage.pass_time(0)
    marker = stage.config.capture_dir / MARKER
    marker.rename(marker.with_name("hidden"))
    stage.put("sky", 1)
    stage.pass_time()
    assert (stage.rows(), stage.waiting("sky")) == ([], ["result_00000000000000000001.json"])

    marker.with_name("hidden").rename(marker)
    stage.pass_time(3)

    assert stage.numbers() == [1]
    assert stage.processed() == stage.rows()


def test_a_full_hand_off_area_makes_results_wait_without_counting_them_twice(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def full(*_args: Any, **_kwargs: Any) -> None:
        raise StorageFullError("no space left")

    stage.put("sky", 1)
    with monkeypatch.context() as patched:
        patched.setattr(processed, "publish", full)
        stage.pass_time(40)
        assert stage.numbers() == [1]
        assert stage.waiting("sky") == ["result_00000000000000000001.json"]
    stage.pass_time(11)

    assert stage.processed() == stage.rows()
    assert stage.numbers() == [1]
    assert stage.waiting("sky") == []
    assert caplog.text.count("RESULTS_WAIT:") == 1
    assert caplog.text.count("RESULTS_WAIT_OVER:") == 1


@pytest.mark.parametrize("how", ["deleted", "garbage", "cut"])
def test_a_catalog_that_is_made_again_has_every_result_once(stage: Stage, how: str) -> None:
    for number in range(60):
        stage.put("sky", number, camera=("default", "north")[number % 2])
    stage.pass_time()
    before = stage.rows()
    stage.put("sky", 60)
    catalog = stage.config.layout.catalog
    if how == "deleted":
        catalog.unlink()
    elif how == "garbage":
        catalog.write_bytes(b"garbage" * 3000)
    else:
        os.truncate(catalog, 5000)

    stage.pass_time(25)

    assert stage.rows()[:60] == before
    assert stage.numbers()[60:] == [60]
    assert stage.processed() == stage.rows()


def test_a_sweep_stops_when_the_catalog_goes_away_in_the_middle(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "STEP_SECONDS", 0.0)  # one file a step
    for number in range(10):
        stage.put("sky", number)
    stage.pass_time(0)
    stage.clock.advance(10)
    for number in range(10, 20):
        stage.put("sky", number)
    stage.sweeper.tick()
    while len(stage.processed()) < 13:
        stage.sweeper.work()
    stage.config.layout.catalog.write_bytes(b"garbage" * 3000)
    stage.captures.tick()

    while stage.sweeper.busy:
        stage.sweeper.work()
    left = len(stage.waiting("sky"))
    stage.pass_time(25)

    assert left >= 6
    assert stage.numbers() == list(range(20))
    assert stage.processed() == stage.rows()

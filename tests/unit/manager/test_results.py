# SPDX-License-Identifier: MIT
"""Results of consumers: each is kept once, whoever is killed where, and no consumer harms anybody but itself."""

from __future__ import annotations

import json
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldcam.catalog import writer as catalog_writer
from fieldcam.catalog.connect import transaction
from fieldcam.core import plain_file
from fieldcam.core.clock import Instant
from fieldcam.core.errors import StorageFullError
from fieldcam.core.layout import MARKER
from fieldcam.core.result import MAX_RESULT_BYTES, Beat
from fieldcam.manager import processed, result_folders, results
from fieldcam.manager.consumers import silent_consumers
from fieldcam.manager.result_folders import MAX_REJECTED, services_in
from fieldcam.manager.results import MAX_BYTES_PER_SWEEP, MAX_PER_SWEEP, STUCK_SECONDS, fair_shares
from fieldcam.manager.sources import count_unacknowledged
from tests.crash.faulty_disk import DiedError, FaultyDisk
from tests.frames_on_disk import FakeClock, as_an_ordinary_user, put_capture, put_live
from tests.results_stage import Stage, as_result, results_config


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(results_config(tmp_path))
    yield made
    made.close()


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


# --- hostile consumers ------------------------------------------------------------------------------------------------


def make_hostile(folder: Path) -> dict[str, str]:
    """Fill a folder with everything a program may come up with; return name and reason of what is put aside."""
    (folder.parent / "victim").write_text("precious")
    good = json.dumps(as_result("sky", 900).to_dict())
    bad = {
        "no-json": b"{", "empty": b"", "huge": b"x" * (MAX_RESULT_BYTES + 1), "binary": bytes(range(256)),
        "other-service": good.replace('"sky"', '"cars"').encode(), "list": b"[]", "deep": b"[" * 60_000,
        "nan": good.replace("900}", "NaN}").encode(), "no-camera": good.replace('"default"', '"nowhere"').encode(),
        "path": good.replace('"default"', '"../../etc"').encode(),
        "grows": good.replace("900}", "[" + "1e15," * 12_900 + "1]}").encode(),
    }  # fmt: skip
    for name, content in bad.items():
        (folder / f"result_{name}.json").write_bytes(content)
    (folder / "result_link.json").symlink_to(folder.parent / "victim")
    (folder / "result_dangling.json").symlink_to("/nowhere")
    (folder / "result_to-folder.json").symlink_to(folder.parent)
    os.mkfifo(folder / "result_pipe.json")
    with (folder / "result_sparse.json").open("wb") as sparse:
        sparse.truncate(10**12)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "result_socket.json"))
    return dict.fromkeys(
        [f"result_{name}.json" for name in (*bad, "link", "dangling", "to-folder", "pipe", "sparse", "socket")], ""
    )


def test_whatever_lies_there_harms_nothing_and_is_put_aside(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    folder = stage.folder("sky")
    hostile = make_hostile(folder)
    (folder / "result_folder.json").mkdir()
    (folder / "result_folder.json" / "inside").write_text("x")
    for name in ("notes.txt", "result_.json", "result_x.json.tmp", ".result_x.json.5.tmp", "heartbeat.json"):
        (folder / name).write_text("not looked at")
    stage.put("sky", 1)
    stage.put("cars", 2)

    stage.pass_time()

    assert stage.numbers() == [2, 1]
    assert sorted(name for name in stage.waiting("sky") if name.endswith(".rejected")) == sorted(
        f"{name}.rejected" for name in hostile
    )
    assert [name for name in stage.waiting("sky") if not name.endswith(".rejected")] == [
        *(".result_x.json.5.tmp", "heartbeat.json", "notes.txt", "result_.json", "result_folder.json"),
        "result_x.json.tmp",
    ]
    assert (folder.parent / "victim").read_text() == "precious"
    assert (folder / "result_link.json.rejected").is_symlink()
    assert stage.sweeper.counts.rejected == len(hostile)
    assert caplog.text.count("RESULTS_REJECTED service=sky") == 1
    assert "RESULTS_REJECTED service=cars" not in caplog.text
    assert not list(stage.config.capture_dir.rglob("nowhere"))


def test_what_was_put_aside_is_bounded_and_told_once(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for number in range(100):
        (stage.folder("sky") / f"result_bad-{number:03d}.json").write_text("{")
    stage.pass_time(30)
    stage.put("sky", 1)
    stage.pass_time()

    aside = [name for name in stage.waiting("sky") if name.endswith(".rejected")]
    assert aside == [f"result_bad-{number:03d}.json.rejected" for number in range(100 - MAX_REJECTED, 100)]
    assert caplog.text.count("RESULTS_REJECTED service=sky") == 1
    assert caplog.text.count("RESULTS_REJECTED_OVER service=sky") == 1


def test_a_folder_where_the_rejected_file_would_go_does_not_stop_it(stage: Stage) -> None:
    (stage.folder("sky") / "result_bad.json").write_text("{")
    (stage.folder("sky") / "result_bad.json.rejected").mkdir()
    stage.put("sky", 1)

    stage.pass_time()

    assert stage.numbers() == [1]
    assert stage.waiting("sky") == ["result_bad.json.rejected"]


def test_a_link_in_place_of_a_consumers_folder_is_not_followed(stage: Stage, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    stage.put("sky", 1).rename(elsewhere / "result_1.json")
    stage.folder("sky").rmdir()
    (stage.config.results_dir / "sky").symlink_to(elsewhere)

    stage.pass_time()

    assert stage.rows() == []
    assert [path.name for path in elsewhere.iterdir()] == ["result_1.json"]


def test_a_file_exchanged_while_it_is_taken_is_not_lost(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stage.put("sky", 1)
    original = processed.Processed.put

    def put(self: processed.Processed, camera: str, row: Any) -> Path:
        monkeypatch.undo()
        newer = stage.put("sky", 2)
        newer.replace(path)
        return original(self, camera, row)

    monkeypatch.setattr(processed.Processed, "put", put)
    stage.pass_time(0)
    stage.pass_time()

    assert stage.numbers() == [1, 2]
    assert stage.waiting("sky") == []


def test_a_flood_is_taken_a_bounded_number_at_a_time_and_the_others_get_their_share(stage: Stage) -> None:
    for number in range(3000):
        stage.put("flood", number)
    stage.put("sky", 1)
    stage.put("cars", 2)
    stage.pass_time(0)

    assert len(stage.rows()) == MAX_PER_SWEEP
    assert stage.numbers(service="sky") + stage.numbers(service="cars") == [1, 2]
    assert stage.numbers(service="flood") == list(range(MAX_PER_SWEEP - 2))

    stage.pass_time(49)
    assert len(stage.waiting("flood")) == 3000 + 2 - MAX_PER_SWEEP * 6


def test_large_results_are_taken_a_bounded_number_of_bytes_at_a_time(stage: Stage) -> None:
    for number in range(100):
        stage.put("flood", number, data={"number": number, "text": "x" * 60_000})
    stage.put("sky", 1)

    stage.pass_time(0)

    assert 0 < len(stage.rows(service="flood")) <= MAX_BYTES_PER_SWEEP // 2 // 60_000 + 1
    assert stage.numbers(service="sky") == [1]


def test_what_waits_is_bounded_also_while_the_catalog_is_away(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(results, "MAX_WAITING", 50)
    marker = stage.config.archive_dir / MARKER
    marker.rename(marker.with_name("hidden"))
    for number in range(80):
        stage.put("sky", number)

    stage.pass_time(20)
    assert stage.waiting("sky") == [f"result_{number:020d}.json" for number in range(30, 80)]
    assert not stage.config.layout.catalog.exists()

    marker.with_name("hidden").rename(marker)
    stage.pass_time(25)
    assert stage.numbers() == list(range(30, 80))
    assert stage.sweeper.counts.dropped == 30
    assert caplog.text.count("RESULTS_DROPPED service=sky") == 1
    assert caplog.text.count("RESULTS_DROPPED_OVER service=sky") == 1


def test_a_folder_the_manager_may_not_write_is_told_once_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        stage = Stage(results_config(Path(name)))
        stage.put("sky", 1)
        stage.put("cars", 2)
        stage.pass_time(0)
        for number in (3, 4):
            stage.put("sky", number)
        stage.folder("sky").chmod(0o555)
        with as_an_ordinary_user(Path(name)):
            stage.pass_time(30)
            assert len(stage.rows()) == 2
            stage.folder("sky").chmod(0o755)
            stage.pass_time(12)

        assert stage.numbers(service="sky") == [1, 3, 4]
        stage.close()
    assert caplog.text.count("RESULTS_WAIT service=sky") == 1
    assert caplog.text.count("RESULTS_WAIT_OVER service=sky") == 1


def test_a_file_that_cannot_be_removed_is_passed_over(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = os.unlink

    def unlink(name: Any, **kwargs: Any) -> None:
        if str(name).endswith("1.json"):
            raise PermissionError(1, "Operation not permitted")
        original(name, **kwargs)

    monkeypatch.setattr(os, "unlink", unlink)
    for number in range(5):
        stage.put("sky", number)

    stage.pass_time(40)

    assert stage.numbers() == [0, 1, 2, 3, 4]
    assert stage.waiting("sky") == ["result_00000000000000000001.json"]
    assert caplog.text.count("RESULTS_WAIT service=sky") == 1

    monkeypatch.undo()
    stage.pass_time(STUCK_SECONDS)
    assert stage.waiting("sky") == []
    assert stage.numbers() == [0, 1, 2, 3, 4]


@given(st.lists(st.integers(0, 500), max_size=8), st.integers(0, 300))
def test_shares_are_fair(waiting: list[int], total: int) -> None:
    shares = fair_shares(waiting, total)

    assert all(0 <= share <= want for share, want in zip(shares, waiting, strict=True))
    assert sum(shares) <= total
    for share, want in zip(shares, waiting, strict=True):
        if share < want:  # who is left wanting has as much as anybody, but for what cannot be split
            assert share >= max(shares) - 1
    if sum(waiting) <= total:
        assert shares == waiting


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


# --- killed anywhere --------------------------------------------------------------------------------------------------

FOLDER_CALLS = ("open", "scandir", "stat", "unlink", "replace", "access")
FILE_CALLS = ("open", "fstat", "read")


class SteppedOs:
    """`os` of a module, each of its calls a step of the disk."""

    def __init__(self, disk: FaultyDisk, calls: tuple[str, ...]) -> None:
        self._disk = disk
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self._calls:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self._disk.step(f"{name} by the sweeper")
            return real(*args, **kwargs)

        return call


@contextmanager
def stepped(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyDisk]:
    """Make every call to the kernel and every boundary of a transaction a step that can fail or be the last."""
    with monkeypatch.context() as patched:
        disk = FaultyDisk(patched)
        patched.setattr(result_folders, "os", SteppedOs(disk, FOLDER_CALLS))
        patched.setattr(plain_file, "os", SteppedOs(disk, FILE_CALLS))
        patched.setattr(processed, "os", SteppedOs(disk, ("scandir",)))

        @contextmanager
        def in_steps(*args: Any) -> Iterator[None]:
            disk.step("begin")
            with transaction(*args):
                yield
                disk.step("commit")
            disk.step("committed")

        patched.setattr(catalog_writer, "transaction", in_steps)
        yield disk


class Scene:
    """Two services, two cameras, a capture to be acknowledged, and something that is no result."""

    def __init__(self, base: Path) -> None:
        base.mkdir()
        self.stage = Stage(results_config(base, live_backing="storage"))
        self.stage.pass_time(0)
        self.capture = put_capture(self.stage.config, 7)
        self.stage.put("sky", 1, filename=self.capture.filename)
        self.stage.put("sky", 2, camera="north")
        self.stage.put("cars", 3)
        (self.stage.folder("cars") / "result_bad.json").write_text("{")
        self.stage.clock.advance(10)

    def sweep(self) -> None:
        self.stage.sweeper.tick()
        while self.stage.sweeper.busy:
            self.stage.sweeper.work()

    def check(self) -> None:
        """Everything is there exactly once."""
        stage = self.stage
        assert sorted(stage.numbers()) == [1, 2, 3]
        captures_of = {row.result.data["number"]: row.result.image_id for row in stage.rows()}
        assert captures_of == {1: self.capture.id, 2: None, 3: None}
        assert stage.processed() == stage.rows()
        assert stage.waiting("sky") == []
        assert [name for name in stage.waiting("cars") if not name.endswith(".rejected")] == []
        captures = stage.config.layout.camera("default").captures
        assert [path.name for path in captures.glob("*.ack")] == [self.capture.filename.replace(".jpg", ".ack")]
        assert list(stage.config.capture_dir.rglob(".*.tmp")) == []


def steps_of_a_sweep(base: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    scene = Scene(base)
    with stepped(monkeypatch) as disk:
        scene.sweep()
        steps = list(disk.steps)
    scene.check()
    scene.stage.close()
    return steps


def test_killed_before_any_step_everything_is_kept_exactly_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = steps_of_a_sweep(tmp_path / "whole", monkeypatch)
    assert {"begin", "commit", "committed", "unlink by the sweeper", "rename sidecar"} <= set(steps)

    for number in range(len(steps)):
        scene = Scene(tmp_path / str(number))
        with stepped(monkeypatch) as disk:
            disk.die(number)
            with pytest.raises(DiedError):
                scene.sweep()
        scene.stage.close()
        scene.stage.restart()
        scene.stage.pass_time()

        scene.check()
        scene.stage.close()


@pytest.mark.parametrize("code", [5, 28])  # EIO, ENOSPC
def test_after_a_failure_at_any_step_everything_is_kept_exactly_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    steps = steps_of_a_sweep(tmp_path / "whole", monkeypatch)

    for number in range(len(steps)):
        scene = Scene(tmp_path / str(number))
        with stepped(monkeypatch) as disk:
            disk.fail(number, code)
            scene.sweep()
        scene.stage.pass_time(2)
        scene.stage.close()
        scene.stage.restart()  # what one manager gave up, such as a file that could not be removed, the next one takes
        scene.stage.pass_time()

        scene.check()
        scene.stage.close()


# --- signs of life ----------------------------------------------------------------------------------------------------


def put_beat(stage: Stage, folder: str, **changes: Any) -> None:
    now = Instant.now(stage.clock)
    values = {"service": folder, "boot_id": now.boot_id, "boottime_ns": now.boottime_ns, "pid": 1, "detail": {}}
    beat = Beat(**{**values, "at": "2026-01-13T10:30:45.000Z", **changes})
    (stage.folder(folder) / "heartbeat.json").write_bytes(beat.to_json())


def silent(stage: Stage) -> tuple[str, ...]:
    return silent_consumers(stage.config.results_dir, ("sky", "cars"), 60.0, stage.clock)


def test_a_consumer_is_silent_until_it_speaks_and_again_when_it_stops(stage: Stage) -> None:
    found = [silent(stage)]
    put_beat(stage, "sky")
    found.append(silent(stage))
    put_beat(stage, "cars")
    found.append(silent(stage))
    stage.clock.advance(30)
    put_beat(stage, "sky")
    stage.clock.advance(31)
    found.append(silent(stage))

    assert found == [("sky", "cars"), ("cars",), (), ("cars",)]


@pytest.mark.parametrize(
    "change",
    [{"boot_id": "another"}, {"boottime_ns": 10**18}, {"service": "cars"}],
    ids=["another boot", "the future", "another's"],
)
def test_a_beat_that_cannot_be_true_is_none(stage: Stage, change: dict[str, Any]) -> None:
    put_beat(stage, "sky", **change)

    assert silent(stage) == ("sky", "cars")


def test_a_heartbeat_that_is_a_link_a_pipe_or_nonsense_is_none(stage: Stage) -> None:
    put_beat(stage, "cars")
    heartbeat = stage.folder("sky") / "heartbeat.json"
    for make in (
        lambda: heartbeat.symlink_to(stage.folder("cars") / "heartbeat.json"),
        lambda: os.mkfifo(heartbeat),
        lambda: heartbeat.write_text("{"),
        lambda: heartbeat.write_bytes(b"x" * 100_000),
    ):
        make()
        assert silent(stage) == ("sky",)
        heartbeat.unlink()


def test_the_folders_of_consumers_are_bounded_in_number(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"s{number:03d}").mkdir()

    assert services_in(tmp_path) == [f"s{number:03d}" for number in range(64)]
    assert services_in(tmp_path / "nothing") == []


def test_time_does_not_matter_for_what_is_taken(stage: Stage) -> None:
    stage.clock = FakeClock(wall_ms=0)
    stage.restart()
    stage.put("sky", 1)

    stage.pass_time(1)

    assert stage.numbers() == [1]

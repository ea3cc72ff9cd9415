# SPDX-License-Identifier: MIT
"""No consumer harms anybody but itself, whatever it leaves in its folder."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldcam.core.layout import MARKER
from fieldcam.core.result import MAX_RESULT_BYTES
from fieldcam.manager import processed, results
from fieldcam.manager.result_folders import MAX_REJECTED
from fieldcam.manager.results import MAX_BYTES_PER_SWEEP, MAX_PER_SWEEP, STUCK_SECONDS, fair_shares
from tests.frames_on_disk import as_an_ordinary_user
from tests.results_stage import Stage, as_result, results_config


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

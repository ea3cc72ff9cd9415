# SPDX-License-Identifier: MIT
"""A consumer's half of the results: whole files in rising order, within its bound, and a sign of life."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldcam.core import durable
from fieldcam.core.clock import Instant, SystemClock
from fieldcam.core.errors import RequestInvalidError, StorageFullError, StorageUnavailableError
from fieldcam.core.result import MAX_RESULT_BYTES, RESULT_NAME, Beat, Result
from fieldcam.provider.check_consumer import check, main
from fieldcam.provider.results import BEAT_SECONDS_ON_DISK, ResultWriter, _is_in_ram, results_folder
from tests.frames_on_disk import FakeClock, as_an_ordinary_user, make_sidecar
from tests.requirements import require


def results(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if RESULT_NAME.fullmatch(path.name))


def read(path: Path) -> Result:
    return Result.from_json(path.read_bytes())


def test_a_result_says_who_when_and_about_which_frame(tmp_path: Path) -> None:
    clock = FakeClock()
    metadata = {**make_sidecar(3, kind="live", id=None, camera="north").to_dict(), "age": 0.1}

    path = ResultWriter("sky", tmp_path, clock=clock).write({"cloud": 0.5}, metadata=metadata)

    assert results(tmp_path) == [path]
    assert read(path) == Result(
        service="sky",
        camera="north",
        at="2024-05-01T00:00:00.000Z",
        boot_id="boot-1",
        monotonic_ns=1_000_000_000_000,
        data={"cloud": 0.5},
        sequence=3,
        filename=make_sidecar(3).filename,
        image_id=None,
    )


def test_the_id_of_a_capture_is_passed_on_and_a_frame_of_the_ring_has_no_file(tmp_path: Path) -> None:
    writer = ResultWriter("sky", tmp_path)

    capture = writer.write({}, metadata=make_sidecar(3).to_dict())
    ring = writer.write({}, metadata=make_sidecar(3, kind="live", filename="", id=9).to_dict())
    none = writer.write({})

    assert (read(capture).image_id, read(capture).filename) == (4, make_sidecar(3).filename)
    assert (read(ring).image_id, read(ring).filename, read(ring).sequence) == (None, None, 3)
    assert (read(none).camera, read(none).sequence) == (None, None)


def test_numbers_and_arrays_of_numpy_are_written_as_json(tmp_path: Path) -> None:
    data = {
        "a": np.float32(0.5),
        "b": np.int64(3),
        "c": np.arange(3),
        "d": (1, np.bool_(True)),
        "e": {"f": np.zeros(1)},
    }

    path = ResultWriter("sky", tmp_path).write(data)

    assert json.loads(path.read_text())["data"] == {"a": 0.5, "b": 3, "c": [0, 1, 2], "d": [1, True], "e": {"f": [0.0]}}


@pytest.mark.parametrize(
    "data",
    [
        *({"x": float("nan")}, {"x": np.float64("inf")}, {"x": object()}, {"x": b"y"}, {1: 2}),
        *({"x": "y" * MAX_RESULT_BYTES}, []),
    ],
    ids=["nan", "inf", "object", "bytes", "number as key", "too long", "no object"],
)
def test_data_that_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path, data: Any) -> None:
    with pytest.raises(RequestInvalidError):
        ResultWriter("sky", tmp_path).write(data)

    assert list(tmp_path.iterdir()) == []


def test_metadata_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalidError, match="camera"):
        ResultWriter("sky", tmp_path).write({}, metadata={"camera": "No Camera"})


@pytest.mark.parametrize("name", ["", "Sky", "a/b", "..", "a" * 33])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(RequestInvalidError, match="service"):
        ResultWriter(name)


def test_names_rise_when_the_clock_stands_still_goes_back_or_the_writer_starts_again(tmp_path: Path) -> None:
    clock = FakeClock()
    paths = []
    for _ in range(3):
        writer = ResultWriter("sky", tmp_path, clock=clock)
        paths += [writer.write({"n": number}) for number in range(5)]
        clock.wall -= 3600 * 10**9

    assert all(earlier.name < later.name for earlier, later in pairwise(paths))
    assert results(tmp_path) == paths


def test_two_processes_of_one_consumer_never_overwrite_each_other(tmp_path: Path) -> None:
    clock = FakeClock()  # both see the same time
    writers = [ResultWriter("sky", tmp_path, clock=clock, durable=False) for _ in range(4)]

    def write(writer: ResultWriter) -> None:
        for number in range(50):
            writer.write({"n": number})

    threads = [threading.Thread(target=write, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(results(tmp_path)) == 200
    assert sorted(read(path).data["n"] for path in results(tmp_path)) == sorted(4 * list(range(50)))


def test_threads_may_share_a_writer(tmp_path: Path) -> None:
    writer = ResultWriter("sky", tmp_path, max_waiting=50, durable=False)
    threads = [threading.Thread(target=lambda: [writer.write({}) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(results(tmp_path)) == 50
    assert writer.dropped == 150


def test_a_result_has_its_name_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[Path], list[str]]] = []
    original = durable.rename_without_overwriting

    def rename(source: Path, target: Path) -> None:
        seen.append((results(tmp_path), [path.name for path in tmp_path.iterdir()]))
        assert read(source).data == {"n": 1}
        original(source, target)

    monkeypatch.setattr(durable, "rename_without_overwriting", rename)

    ResultWriter("sky", tmp_path).write({"n": 1})

    assert [(found, len(names)) for found, names in seen] == [([], 1)]
    assert seen[0][1][0].startswith(".")


@pytest.mark.parametrize("is_durable", [True, False])
def test_a_result_is_flushed_unless_that_is_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_durable: bool
) -> None:
    flushed: list[int] = []
    original = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append(descriptor)
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    ResultWriter("sky", tmp_path, durable=is_durable).write({})

    assert bool(flushed) is is_durable


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_when_nobody_collects_the_oldest_go_and_that_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "result_by-hand.json").write_text("of another program")
    writer = ResultWriter("sky", tmp_path, max_waiting=300, durable=False)

    for number in range(1000):
        writer.write({"n": number})

    own = [path for path in results(tmp_path) if path.name != "result_by-hand.json"]
    assert [read(path).data["n"] for path in own] == list(range(1000 - len(own), 1000))
    assert 297 <= len(own) <= 300
    assert writer.dropped == 1000 - len(own)
    assert (tmp_path / "result_by-hand.json").exists()
    assert caplog.text.count("RESULTS_UNCOLLECTED service=sky") == 1


def test_it_is_told_once_that_results_are_collected_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    writer = ResultWriter("sky", tmp_path, max_waiting=10, durable=False)
    for _ in range(15):
        writer.write({})
    for path in results(tmp_path):
        path.unlink()
    for _ in range(12):
        writer.write({})
        for path in results(tmp_path):
            path.unlink()

    assert caplog.text.count("RESULTS_UNCOLLECTED_OVER service=sky") == 1
    assert writer.dropped == 5


def test_what_an_earlier_writer_left_counts(tmp_path: Path) -> None:
    for _ in range(20):
        ResultWriter("sky", tmp_path, durable=False).write({})

    ResultWriter("sky", tmp_path, max_waiting=5, durable=False).write({"n": "new"})

    assert len(results(tmp_path)) == 5
    assert read(results(tmp_path)[-1]).data == {"n": "new"}


def test_a_folder_is_not_listed_at_every_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ResultWriter("sky", tmp_path, max_waiting=1000, durable=False)
    writer.write({})
    listed: list[Any] = []
    original = os.scandir

    def scandir(*path: Any) -> Any:
        listed.append(path)
        return original(*path)

    monkeypatch.setattr(os, "scandir", scandir)

    for _ in range(100):
        writer.write({})

    assert listed == []


def test_leftovers_of_a_killed_writer_are_removed_when_they_are_old(tmp_path: Path) -> None:
    old, young, foreign = (
        tmp_path / name for name in (".result_1.json.5-a-0.tmp", ".result_2.json.5-a-0.tmp", ".x.tmp")
    )
    for path in (old, young, foreign):
        path.write_text("half")
    for path in (old, foreign):
        os.utime(path, (1, 1))

    ResultWriter("sky", tmp_path).write({})

    assert (old.exists(), young.exists(), foreign.exists()) == (False, True, True)


# --- disks ------------------------------------------------------------------------------------------------------------


def test_a_missing_folder_is_an_error_that_says_so_and_is_used_as_soon_as_it_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    writer = ResultWriter("sky", folder)

    with pytest.raises(StorageUnavailableError, match="results"):
        writer.write({})
    folder.mkdir()

    assert writer.write({}).exists()


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "victim")
    writer = ResultWriter("sky", tmp_path / "results")

    with pytest.raises(StorageUnavailableError, match="no folder"):
        writer.write({})
    writer.beat()

    assert list((tmp_path / "victim").iterdir()) == []


def test_a_link_in_place_of_the_heartbeat_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "heartbeat.json").symlink_to(victim)

    ResultWriter("sky", tmp_path / "results").beat()

    assert victim.read_text() == "precious"
    assert not (tmp_path / "results" / "heartbeat.json").is_symlink()


@pytest.mark.root
def test_a_full_mount_is_an_error_that_leaves_nothing_and_passes(tmp_path: Path) -> None:
    mount = tmp_path / "results"
    mount.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], check=False)
    require(mounted.returncode == 0, "needs to mount a tmpfs")
    try:
        writer = ResultWriter("sky", mount)
        text = "x" * 15_000
        full = None
        while full is None:
            try:
                writer.write({"text": text})
            except StorageFullError as error:
                full = error
        assert "no space left" in full.message
        held = results(mount)
        assert sorted(mount.iterdir()) == held
        assert all(read(path).data == {"text": text} for path in held)

        held[0].unlink()

        assert writer.write({"text": text}).exists()
        assert _is_in_ram(mount)
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_an_unprivileged_user_needs_nothing_but_the_folder() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        with as_an_ordinary_user(folder):
            writer = ResultWriter("sky", folder)
            path = writer.write({})
            writer.beat()

        assert path.stat().st_mode & 0o044 == 0o044
        assert (folder / "heartbeat.json").stat().st_mode & 0o044 == 0o044


# --- signs of life ----------------------------------------------------------------------------------------------------


def beat_of(folder: Path) -> Beat:
    return Beat.from_json((folder / "heartbeat.json").read_bytes())


def test_a_beat_is_written_at_once_then_rarely_and_always_when_forced(tmp_path: Path) -> None:
    clock = FakeClock()
    writer = ResultWriter("sky", tmp_path, clock=clock)
    written = []
    for number in range(61):
        writer.beat(frames=number)
        written.append(beat_of(tmp_path).detail["frames"])
        clock.advance(1)
    writer.beat(force=True, frames="last")

    every = 1 if _is_in_ram(tmp_path) else int(BEAT_SECONDS_ON_DISK)
    assert sorted(set(written)) == list(range(0, 61, every))
    assert beat_of(tmp_path).detail == {"frames": "last"}
    assert (beat_of(tmp_path).service, beat_of(tmp_path).pid) == ("sky", os.getpid())


def test_beats_follow_the_boot_clock_not_the_wall(tmp_path: Path) -> None:
    clock = FakeClock()
    writer = ResultWriter("sky", tmp_path, clock=clock)
    writer.beat(n=1)
    clock.wall += 10**15

    writer.beat(n=2)

    assert beat_of(tmp_path).detail == {"n": 1}


def test_a_beat_that_cannot_be_written_ends_nothing_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    clock = FakeClock()
    writer = ResultWriter("sky", tmp_path / "results", clock=clock)
    for _ in range(5):
        writer.beat()
        clock.advance(2)
    (tmp_path / "results").mkdir()
    writer.beat()

    assert caplog.text.count("HEARTBEAT_FAILED service=sky") == 1
    assert caplog.text.count("HEARTBEAT_FAILED_OVER service=sky") == 1
    assert beat_of(tmp_path / "results").service == "sky"


def test_a_detail_that_is_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalidError):
        ResultWriter("sky", tmp_path).beat(detail=object())


# --- the check for Docker ---------------------------------------------------------------------------------------------


def test_a_consumer_is_alive_while_its_beat_is_recent(tmp_path: Path) -> None:
    clock = FakeClock()
    ResultWriter("sky", tmp_path, clock=clock).beat()

    verdicts = []
    for _ in range(4):
        verdicts.append(check(tmp_path, 60.0, clock)[0])
        clock.advance(30)

    assert verdicts == [True, True, True, False]


@pytest.mark.parametrize(
    ("change", "alive"),
    [
        ({}, True),
        ({"boot_id": "another"}, False),
        ({"boottime_ns": 10**18}, False),  # the future
    ],
)
def test_only_a_beat_of_this_boot_and_of_the_past_counts(
    tmp_path: Path, change: dict[str, Any], *, alive: bool
) -> None:
    now = Instant.now(FakeClock())
    beat = Beat("sky", now.boot_id, now.boottime_ns, "2024-05-01T00:00:00.000Z", 1)
    (tmp_path / "heartbeat.json").write_bytes(dataclasses.replace(beat, **change).to_json())

    assert check(tmp_path, 60.0, FakeClock())[0] is alive


def test_a_beat_that_is_no_plain_file_is_none(tmp_path: Path) -> None:
    heartbeat = tmp_path / "heartbeat.json"
    words = [check(tmp_path, 60.0, FakeClock())[1]]
    os.mkfifo(heartbeat)
    words.append(check(tmp_path, 60.0, FakeClock())[1])
    heartbeat.unlink()
    heartbeat.symlink_to("/etc/passwd")
    words.append(check(tmp_path, 60.0, FakeClock())[1])
    heartbeat.unlink()
    heartbeat.write_bytes(b"{")

    assert main(["--results", str(tmp_path)], FakeClock()) == 1
    assert "no heartbeat" in words[0]
    assert all("cannot be read" in text for text in words[1:])


def test_as_a_command_it_takes_its_folder_from_the_environment(tmp_path: Path) -> None:
    ResultWriter("sky", tmp_path).beat()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fieldcam.provider.check_consumer", *arguments],
            env={"RESULTS_DIR": str(tmp_path)}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    good, bad = run(), run("--results", str(tmp_path / "nothing"))

    assert (good.returncode, bad.returncode) == (0, 1)
    assert good.stdout.startswith("sky spoke ")
    assert good.stdout.count("\n") == bad.stdout.count("\n") == 1
    assert good.stderr + bad.stderr == ""


def test_the_folder_is_the_one_given_else_of_the_environment_else_the_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESULTS_DIR", raising=False)
    found = [results_folder(), results_folder("/given")]
    monkeypatch.setenv("RESULTS_DIR", "/said")
    found += [results_folder(), results_folder(Path("/given"))]
    monkeypatch.setenv("RESULTS_DIR", "")

    assert [str(path) for path in [*found, results_folder()]] == ["/results", "/given", "/said", "/given", "/results"]


def test_the_clock_is_the_machines_own_by_default(tmp_path: Path) -> None:
    ResultWriter("sky", tmp_path).beat()

    assert 0 <= beat_of(tmp_path).age_seconds(Instant.now(SystemClock())) < 60

# SPDX-License-Identifier: MIT
"""Cleanup on real folders: what it removes, what it refuses, and what it leaves to the capture process."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fieldcam.catalog.writer import CatalogWriter
from fieldcam.core.config import Config
from fieldcam.core.layout import MARKER
from fieldcam.manager import cleanup
from fieldcam.manager.cleanup import Cleaner, CleanupResult
from fieldcam.manager.sources import Sources
from tests.frames_on_disk import FakeClock, make_config, make_sidecar, put_capture, put_live

HOUR = 3600


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_config(tmp_path, max_images=10, max_capture_age_hours=1)


def clean(config: Config, clock: FakeClock) -> CleanupResult:
    return Cleaner(config, Sources(config.layout, config.all_cameras), clock).run()


def stems(folder: Path, suffix: str = ".jpg") -> set[str]:
    return {path.stem for path in folder.glob(f"*{suffix}")}


def later(seconds: float, **fields: Any) -> FakeClock:
    clock = FakeClock(**fields)
    clock.advance(seconds)
    return clock


def record(config: Config, count: int, **changes: Any) -> None:
    with closing(CatalogWriter.open(config.layout.catalog, "capture", FakeClock())) as writer:
        for number in range(count):
            writer.record(put_capture(config, number, **changes))


@contextmanager
def capture_process_of(config: Config) -> Iterator[None]:
    lock = config.layout.camera("default").owner_lock
    lock.parent.mkdir(parents=True)
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def test_captures_older_than_allowed_go_and_younger_ones_stay(config: Config) -> None:
    record(config, 100)
    now = later(HOUR + 30, boottime_s=0)  # captures 0 to 29 are older than an hour

    result = clean(config, now)

    captures = config.layout.camera("default").captures
    assert stems(captures) == stems(captures, ".json") == {make_sidecar(n).filename[:-4] for n in range(30, 100)}
    assert (result.images_removed, result.metadata_removed, result.refused) == (30, 30, [])
    assert set(result.as_dict()) == {"images_removed", "metadata_removed", "space_freed_mb"}
    assert all(type(value) is int for value in result.as_dict().values())
    assert result.removed[("capture", "default")][0] == make_sidecar(0).filename


def test_without_an_age_nothing_is_ever_too_old(config: Config) -> None:
    record(config, 30)

    result = clean(config.model_copy(update={"max_capture_age_hours": None}), later(1000 * HOUR))

    assert (result.images_removed, result.refused) == (0, [])


def test_more_than_half_is_refused_and_told(config: Config) -> None:
    record(config, 100)

    result = clean(config, later(100 * HOUR, boottime_s=0))

    assert result.images_removed == 0
    assert "90 of 100" in result.refused[0]


def test_no_capture_goes_for_its_age_while_the_clock_is_not_trusted(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(config, 100)
    monkeypatch.setattr(cleanup, "is_clock_synchronized", lambda: False)

    result = clean(config.model_copy(update={"clock_trust": "ntp"}), later(HOUR + 30, boottime_s=0))

    assert result.images_removed == 0
    assert "not synchronised" in result.refused[0]


def test_a_capture_stamped_by_a_wrong_clock_is_not_too_old_after_a_reboot(config: Config) -> None:
    record(config, 100, time_quality="unsynchronized")

    result = clean(config, later(HOUR + 30, boot="boot-2"))

    assert (result.images_removed, result.refused) == (0, [])


def test_pinned_captures_stay_and_do_not_hide_those_behind_them(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "CHUNK", 5)
    record(config, 100)
    captures = config.layout.camera("default").captures
    for number in range(20):
        (captures / make_sidecar(number).filename).with_suffix(".pin").touch()

    result = clean(config, later(HOUR + 30, boottime_s=0))

    assert result.images_removed == 10
    assert stems(captures) == {make_sidecar(n).filename[:-4] for n in (*range(20), *range(30, 100))}


def test_a_missing_catalog_is_told_and_no_capture_goes(config: Config) -> None:
    record(config, 100)
    config.layout.catalog.unlink()

    result = clean(config, later(HOUR + 30))

    assert result.images_removed == 0
    assert "missing" in result.refused[0]


def test_a_missing_place_is_told_and_the_other_one_cleaned(config: Config) -> None:
    record(config, 100)
    (config.capture_dir / MARKER).unlink()

    result = clean(config, later(HOUR + 30, boottime_s=0))

    assert result.images_removed == 30
    assert "no marker" in result.refused[0]


def test_orphaned_sidecars_go_when_they_are_surely_no_frame_in_the_making(config: Config) -> None:
    paths = config.layout.camera("default")
    for number in range(4):
        put_live(config, number)
    for number in (0, 1, 3):
        (paths.live / make_sidecar(number).filename).unlink()
    (paths.metadata / "capture_20240501_000009_000.json").write_text("{")
    clock = FakeClock(boottime_s=61.5)  # frames 0 and 1 are a minute old, frame 3 is not; the damaged one came later

    with capture_process_of(config):
        result = clean(config, clock)

    assert (result.images_removed, result.metadata_removed) == (0, 2)
    assert stems(paths.metadata, ".json") == {
        make_sidecar(2).filename[:-4],
        make_sidecar(3).filename[:-4],
        "capture_20240501_000009_000",
    }


def test_live_frames_beyond_the_limit_go_only_while_the_capture_process_is_away(config: Config) -> None:
    paths = config.layout.camera("default")
    for number in range(15):
        put_live(config, number)
    (paths.live / ".capture_x.jpg.1-1.tmp").write_bytes(b"half")
    clock = FakeClock(boottime_s=500)

    with capture_process_of(config):
        assert clean(config, clock).images_removed == 0
        assert len(list(paths.live.iterdir())) == 16

    result = clean(config, clock)

    assert (result.images_removed, result.metadata_removed) == (5, 5)
    assert stems(paths.live) == stems(paths.metadata, ".json") == {make_sidecar(n).filename[:-4] for n in range(5, 15)}
    assert not list(paths.live.glob(".*"))


def test_live_frames_are_ordered_by_boot_and_sequence_not_by_name(config: Config) -> None:
    paths = config.layout.camera("default")
    for number in range(12):  # names rise while sequences fall: the clock went back at every frame
        put_live(config, number, sequence=100 - number)

    clean(config, FakeClock(boottime_s=500))

    assert stems(paths.live) == {make_sidecar(number).filename[:-4] for number in range(10)}

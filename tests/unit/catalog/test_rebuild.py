# SPDX-License-Identifier: MIT
"""The catalog is disposable: it is made again from the sidecars, row for row, and compared with the files."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fieldcam.catalog.rebuild import KEPT_DAMAGED, Rebuild, Report, move_aside
from fieldcam.catalog.verify import Verdict, verify
from fieldcam.catalog.writer import CatalogWriter
from fieldcam.core.config import Config
from fieldcam.core.errors import CatalogUnavailableError
from fieldcam.manager.sources import Sources
from tests.frames_on_disk import FakeClock, make_config, make_sidecar, put_capture, put_frame


@pytest.fixture
def config(tmp_path: Path) -> Config:
    cameras = {"default": {"backend": "simulated"}, "b": {"backend": "simulated", "number": 1}}
    return make_config(tmp_path, cameras=cameras)


def rebuild(config: Config, clock: FakeClock | None = None) -> Report:
    sources = Sources(config.layout, config.all_cameras)
    job = Rebuild(
        config.layout.catalog, "capture", clock or FakeClock(), sources.frames("capture"), sources.thumbnail_of
    )
    return job.run()


def compare(config: Config, *, deep: bool = False) -> Verdict:
    sources = Sources(config.layout, config.all_cameras)
    return verify(
        config.layout.catalog,
        sources.frames("capture"),
        lambda camera, filename: sources.image(camera, filename, "capture"),
        deep=deep,
    )


def rows(config: Config) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(config.layout.catalog)) as connection:
        return connection.execute("SELECT * FROM images ORDER BY id").fetchall()


@pytest.fixture
def recorded(config: Config) -> Config:
    """Captures of two cameras, one of them with a thumbnail, and a catalog that was written as they came."""
    thumbnail = config.layout.camera("default").thumbnails / make_sidecar(3).filename
    thumbnail.parent.mkdir(parents=True)
    with closing(CatalogWriter.open(config.layout.catalog, "capture", FakeClock())) as writer:
        for number in range(20):
            writer.record(put_capture(config, number, sample_no="S1", job_id=number))
            writer.record(put_capture(config, number, "b", description="größer", x_position=1.25))
        thumbnail.write_bytes(b"small")
        writer.set_thumbnails([("default", thumbnail.name, f"thumbnails/{thumbnail.name}")])
    return config


def test_a_deleted_catalog_comes_back_row_for_row(recorded: Config) -> None:
    before = rows(recorded)
    recorded.layout.catalog.unlink()

    report = rebuild(recorded)

    assert rows(recorded) == before
    assert (report.recorded, report.damaged, report.moved_aside) == (40, 0, None)
    assert compare(recorded, deep=True).ok


def test_the_old_one_is_moved_aside_with_its_journal(recorded: Config) -> None:
    catalog = recorded.layout.catalog
    before = rows(recorded)
    catalog.write_bytes(b"garbage" * 1000)
    for suffix in ("-journal", "-wal", "-shm"):
        catalog.with_name(catalog.name + suffix).write_bytes(b"stale")

    report = rebuild(recorded)

    assert rows(recorded) == before
    assert report.moved_aside is not None
    assert report.moved_aside.name == "catalog.db.corrupt.20240501T000000Z"
    assert report.moved_aside.read_bytes() == b"garbage" * 1000
    assert sorted(path.name for path in catalog.parent.glob("catalog.db*")) == [
        "catalog.db",
        *(f"{report.moved_aside.name}{suffix}" for suffix in ("", "-journal", "-shm", "-wal")),
    ]


def test_only_the_newest_damaged_catalogs_are_kept(recorded: Config) -> None:
    clock = FakeClock()

    for _ in range(2 * KEPT_DAMAGED):
        recorded.layout.catalog.write_bytes(b"garbage")
        rebuild(recorded, clock)  # the clock stands still: names must differ all the same

    assert len(list(recorded.layout.archive_dir.glob("catalog.db.corrupt.*"))) == KEPT_DAMAGED


def test_moving_aside_nothing_moves_nothing(tmp_path: Path) -> None:
    assert move_aside(tmp_path / "catalog.db", FakeClock()) is None


def test_damaged_sidecars_are_told_and_passed_over_and_foreign_images_left_alone(recorded: Config) -> None:
    captures = recorded.layout.camera("default").captures
    stems = [make_sidecar(number).filename.removesuffix(".jpg") for number in range(6)]
    (captures / f"{stems[0]}.json").write_text("{")
    (captures / f"{stems[1]}.json").write_text('{"filename": 1}')
    (captures / f"{stems[2]}.json").write_bytes(b"\xff\xfe")
    (captures / f"{stems[3]}.json").write_text((captures / f"{stems[4]}.json").read_text())
    (captures / f"{stems[5]}.jpg").write_bytes(b"half")
    (captures / "capture_20200101_000000_000.jpg").write_bytes(b"copied by an operator")
    (captures / "holiday.jpg").write_bytes(b"not ours")
    (captures / "capture_20200101_000000_001.jpg").symlink_to("/etc/passwd")

    report = rebuild(recorded)

    assert (report.recorded, report.damaged, report.without_sidecar) == (36, 4, 1)
    assert len(report.problems) == 5
    assert any("has 4 bytes" in problem for problem in report.problems)
    assert (captures / "capture_20200101_000000_000.jpg").read_bytes() == b"copied by an operator"


def test_two_images_with_one_id_leave_one_row_and_a_problem(recorded: Config) -> None:
    captures = recorded.layout.camera("default").captures
    put_frame(captures, captures, make_sidecar(500, id=1))

    report = rebuild(recorded)

    assert (report.recorded, report.damaged) == (40, 1)
    assert "another image has its id 1" in report.problems[0]


def test_a_rebuild_that_is_broken_off_leaves_the_old_catalog_and_nothing_else(recorded: Config) -> None:
    before = rows(recorded)
    sources = Sources(recorded.layout, recorded.all_cameras)
    steps = Rebuild(recorded.layout.catalog, "capture", FakeClock(), sources.frames("capture")).steps()
    next(steps)

    steps.close()  # type: ignore[attr-defined]

    assert rows(recorded) == before
    assert not list(recorded.layout.archive_dir.glob(".catalog.db*"))


def test_leftovers_of_a_killed_rebuild_are_no_obstacle(recorded: Config) -> None:
    before = rows(recorded)
    leftover = recorded.layout.archive_dir / ".catalog.db.rebuild.tmp"
    leftover.write_bytes(b"half a catalog")
    leftover.with_name(leftover.name + "-journal").write_bytes(b"journal")

    rebuild(recorded)

    assert rows(recorded) == before
    assert not list(recorded.layout.archive_dir.glob(".catalog.db*"))


def test_cameras_that_are_no_longer_configured_are_found(recorded: Config) -> None:
    before = rows(recorded)
    fewer = recorded.model_copy(update={"cameras": {"default": recorded.cameras["default"]}})
    fewer.layout.catalog.unlink()

    rebuild(fewer)

    assert rows(fewer) == before


def test_verify_tells_rows_without_files_and_files_without_rows(recorded: Config) -> None:
    captures = recorded.layout.camera("b").captures
    (captures / make_sidecar(2).filename).unlink()
    put_capture(recorded, 100)

    verdict = compare(recorded)

    assert not verdict.ok
    assert (verdict.rows, verdict.files) == (40, 40)
    assert (verdict.rows_without_file, verdict.files_without_row) == (1, 1)
    assert len(verdict.problems) == 2


def test_verify_reads_every_image_when_asked_to(recorded: Config) -> None:
    image = recorded.layout.camera("b").captures / make_sidecar(2).filename
    image.write_bytes(b"imaGe bytes")

    assert compare(recorded).ok
    verdict = compare(recorded, deep=True)

    assert not verdict.ok
    assert verdict.damaged_images == 1


def test_verify_tells_a_damaged_row_and_a_damaged_structure(recorded: Config) -> None:
    catalog = recorded.layout.catalog
    catalog.write_bytes(catalog.read_bytes().replace("größer".encode(), b"smaller!"))
    assert compare(recorded).damaged_rows

    with catalog.open("r+b") as stream:
        stream.truncate(3 * 4096)
    verdict = compare(recorded)

    assert not verdict.ok
    assert verdict.structure != "ok"


def test_verify_of_no_catalog_is_an_error(config: Config) -> None:
    with pytest.raises(CatalogUnavailableError):
        compare(config)

    assert not os.path.lexists(config.layout.catalog)

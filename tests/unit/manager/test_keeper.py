# SPDX-License-Identifier: MIT
"""Whatever happens to a catalog, it ends open, whole and equal to its files. Time is moved by hand."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fieldcam.catalog.schema import SCHEMA_VERSION
from fieldcam.catalog.writer import CatalogWriter
from fieldcam.core.config import Config
from fieldcam.core.errors import CatalogError
from fieldcam.core.layout import MARKER
from fieldcam.manager.keeper import GIVE_UP_LOCK_SECONDS, OK, REBUILDING, Catalog, Keeper
from fieldcam.manager.sources import Sources
from tests.frames_on_disk import FakeClock, as_an_ordinary_user, make_config, make_sidecar, put_capture, put_live


class Stage:
    """A keeper of captures with everything it needs."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clock = FakeClock()
        self.sources = Sources(config.layout, config.all_cameras)
        self.wanted: list[str] = []
        self.notes: list[str] = []
        self.keeper = self.make(Catalog("capture", config.layout.catalog, config.archive_dir, "archive"))

    def make(self, catalog: Catalog) -> Keeper:
        return Keeper(
            catalog,
            self.sources,
            self.clock,
            want_thumbnail=self.want,
            note=lambda cause, _details: self.notes.append(cause),
        )

    def want(self, _camera: str, filename: str) -> bool:
        self.wanted.append(filename)
        return True

    def settle(self, seconds: float = 5.0) -> None:
        """Let time pass, doing what is to be done."""
        passed = 0.0
        while passed <= seconds:
            self.keeper.tick()
            while self.keeper.busy:
                self.keeper.work()
            self.clock.advance(1)
            passed += 1

    def rows(self) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.config.layout.catalog)) as connection:
            return connection.execute("SELECT * FROM images WHERE state = 'present' ORDER BY id").fetchall()

    @property
    def writer(self) -> CatalogWriter:
        assert self.keeper.writer is not None, self.keeper.state
        return self.keeper.writer


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(make_config(tmp_path))
    for number in range(300):
        put_capture(made.config, number, description="some words that fill the page" * 3)
    yield made
    made.keeper.close()


def test_a_first_start_makes_a_catalog_of_what_is_there(stage: Stage) -> None:
    stage.settle()

    assert stage.keeper.state == OK
    assert len(stage.rows()) == 300
    assert len(stage.wanted) == 300


def test_frames_that_came_and_went_while_it_was_away_are_reconciled(stage: Stage) -> None:
    stage.settle()
    stage.keeper.close()
    captures = stage.config.layout.camera("default").captures
    put_capture(stage.config, 500)
    (captures / make_sidecar(3).filename).unlink()

    stage.settle()

    names = {row[3] for row in stage.rows()}
    assert make_sidecar(500).filename in names
    assert make_sidecar(3).filename not in names
    assert len(names) == 300


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 17)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def garbage(path: Path) -> None:
    path.write_bytes(b"\x9f\x00 no database " * 1000)


def flip_structure(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for page in range(3, len(data) // 4096):
        data[page * 4096 + 3] ^= 0xFF  # number of cells of a page
    path.write_bytes(data)


def flip_value(path: Path) -> None:
    data = path.read_bytes()
    assert b"some words" in data
    path.write_bytes(data.replace(b"some words", b"some swords"[:10], 1))


def lose_rows(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM images WHERE id % 2")
        connection.commit()


def lose_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE images")
        connection.commit()


def other_database(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE images (id INTEGER PRIMARY KEY)")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.commit()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CORRUPTIONS: list[Callable[[Path], None]] = [
    delete,
    truncate,
    empty,
    zero,
    garbage,
    flip_structure,
    flip_value,
    lose_rows,
    lose_table,
    other_database,
    folder,
]


@pytest.mark.parametrize("corrupt", CORRUPTIONS)
@pytest.mark.parametrize("running", [True, False], ids=["while running", "while stopped"])
def test_a_damaged_catalog_comes_back_row_for_row(stage: Stage, corrupt: Callable[[Path], None], running: bool) -> None:
    stage.settle()
    before = stage.rows()
    if not running:
        stage.keeper.close()

    corrupt(stage.config.layout.catalog)
    stage.settle()

    assert stage.keeper.state == OK
    assert stage.rows() == before
    assert stage.writer.record(put_capture(stage.config, 900)) == 901


def test_a_stale_journal_of_another_run_is_not_believed(stage: Stage) -> None:
    stage.settle()
    before = stage.rows()
    catalog = stage.config.layout.catalog
    with closing(sqlite3.connect(catalog, isolation_level=None)) as killed:
        killed.execute("PRAGMA cache_size = 1")
        killed.execute("BEGIN IMMEDIATE")
        killed.execute("UPDATE images SET metadata = metadata || 'x'")
        journal = catalog.with_name("catalog.db-journal").read_bytes()
        killed.execute("ROLLBACK")
    stage.settle()
    catalog.with_name("catalog.db-journal").write_bytes(journal[:512] + journal[512:].replace(b"some", b"sume"))

    stage.keeper.close()
    stage.settle()

    assert stage.keeper.state == OK
    assert stage.rows() == before


def test_a_catalog_without_permission_is_made_again() -> None:
    base = Path(tempfile.mkdtemp(prefix="fc-"))  # tmp_path lies below a folder that only root may enter
    stage = Stage(make_config(base))
    try:
        for number in range(20):
            put_capture(stage.config, number)
        stage.settle()
        before = stage.rows()
        stage.keeper.close()
        stage.config.layout.catalog.chmod(0)

        with as_an_ordinary_user(owning=base):
            stage.settle()
            assert stage.keeper.state == OK
            assert stage.rows() == before
    finally:
        stage.keeper.close()
        shutil.rmtree(base)

    assert stage.notes == ["catalog_rebuilt", "catalog_rebuilt"]


def test_a_short_lock_is_waited_for_and_a_long_one_given_up(stage: Stage) -> None:
    stage.settle()
    catalog = stage.config.layout.catalog
    with closing(sqlite3.connect(catalog, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CatalogError) as caught:
            stage.writer.record(put_capture(stage.config, 700))
        stage.keeper.failed(caught.value)
        assert stage.keeper.writer is None
        assert "locked" in stage.keeper.state

        other.execute("ROLLBACK")
        stage.settle()
        assert stage.keeper.state == OK
        assert len(stage.rows()) == 301
        assert not list(catalog.parent.glob("*.corrupt.*"))

        other.execute("BEGIN EXCLUSIVE")
        stage.keeper.failed(caught.value)
        stage.settle(GIVE_UP_LOCK_SECONDS + 5)

    assert stage.keeper.state == OK
    assert len(stage.rows()) == 301
    assert len(list(catalog.parent.glob("*.corrupt.*"))) == 1


def test_a_catalog_of_a_newer_release_is_left_as_it_is(stage: Stage) -> None:
    stage.settle()
    stage.keeper.close()
    catalog = stage.config.layout.catalog
    with closing(sqlite3.connect(catalog)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'min_reader'")
        connection.commit()
    before = catalog.read_bytes()

    stage.settle(30)

    assert "schema" in stage.keeper.state
    assert stage.keeper.writer is None
    assert catalog.read_bytes() == before


def test_a_place_that_is_taken_away_loses_no_row_and_is_taken_up_again(stage: Stage) -> None:
    stage.settle()
    away = stage.config.archive_dir.with_name("unmounted")
    stage.config.archive_dir.rename(away)
    stage.config.archive_dir.mkdir()

    stage.settle()
    assert stage.keeper.writer is None
    assert "no marker" in stage.keeper.place_state
    assert not list(stage.config.archive_dir.iterdir())

    stage.config.archive_dir.rmdir()
    away.rename(stage.config.archive_dir)
    stage.settle()

    assert stage.keeper.state == stage.keeper.place_state == OK
    assert len(stage.rows()) == 300


def test_a_place_that_goes_during_a_comparison_is_no_deletion(stage: Stage) -> None:
    stage.settle()
    stage.keeper.reconcile()
    (stage.config.archive_dir / MARKER).rename(stage.config.archive_dir / "gone")
    captures = stage.config.layout.camera("default").captures
    for image in captures.glob("*.jpg"):
        image.unlink()

    while stage.keeper.busy:
        stage.keeper.work()

    assert len(stage.rows()) == 300


def test_a_missing_folder_is_no_deletion_of_each_image(stage: Stage) -> None:
    stage.settle()
    captures = stage.config.layout.camera("default").captures
    captures.rename(captures.with_name("elsewhere"))

    stage.keeper.reconcile()
    stage.settle()

    assert len(stage.rows()) == 300


def test_repeated_damage_is_repaired_less_and_less_often(stage: Stage) -> None:
    stage.settle()
    rebuilds = 0
    for _ in range(300):
        if stage.config.layout.catalog.exists() and stage.keeper.state == OK:
            garbage(stage.config.layout.catalog)
        stage.keeper.tick()
        rebuilds += stage.keeper.state == REBUILDING
        while stage.keeper.busy:
            stage.keeper.work()
        stage.clock.advance(1)

    assert 3 <= rebuilds <= 15


def test_what_could_not_be_recorded_during_a_rebuild_has_its_row_afterwards(stage: Stage) -> None:
    stage.keeper.tick()
    assert stage.keeper.state == REBUILDING
    stage.keeper.work()
    assert stage.keeper.writer is None
    late = put_capture(stage.config, 999)

    stage.settle()

    assert late.filename in {row[3] for row in stage.rows()}
    assert stage.notes == ["catalog_rebuilt"]


def test_live_frames_deleted_by_hand_lose_their_rows(stage: Stage) -> None:
    stage.keeper.close()
    stage.keeper = stage.make(Catalog("live", stage.config.layout.live_catalog, stage.config.capture_dir, "handoff"))
    for number in range(5):
        put_live(stage.config, number)
    stage.settle()
    live = stage.config.layout.camera("default").live
    (live / make_sidecar(2).filename).unlink()

    stage.keeper.reconcile()
    stage.settle()

    with closing(sqlite3.connect(stage.config.layout.live_catalog)) as connection:
        assert connection.execute("SELECT count(*) FROM images").fetchone() == (4,)
    assert stage.wanted == []


def test_a_damaged_live_catalog_leaves_nothing_behind(stage: Stage) -> None:
    stage.keeper.close()
    stage.keeper = stage.make(Catalog("live", stage.config.layout.live_catalog, stage.config.capture_dir, "handoff"))
    put_live(stage.config, 1)
    stage.settle()

    garbage(stage.config.layout.live_catalog)
    stage.settle()

    assert stage.keeper.state == OK
    assert not list(stage.config.capture_dir.glob("*.corrupt.*"))

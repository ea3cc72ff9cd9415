# SPDX-License-Identifier: MIT
"""Results in the catalog: one row each, bounded, found by every filter, and carried over when it is made again."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from fieldcam.catalog import migrations, result_rows, schema
from fieldcam.catalog.connect import open_writer
from fieldcam.catalog.reader import LIVE_ID_BASE, CatalogReader, Cursor, ImageFilter
from fieldcam.catalog.rebuild import Rebuild, Report, move_aside
from fieldcam.catalog.result_reader import ResultFilter, ResultReader, result_query
from fieldcam.catalog.result_rescue import Rescued, moved_aside, rescue
from fieldcam.catalog.result_rows import ResultRow
from fieldcam.catalog.schema import SCHEMA_VERSION
from fieldcam.catalog.writer import CatalogWriter
from fieldcam.core.clock import rfc3339
from fieldcam.core.config import Config
from fieldcam.core.errors import CatalogError, CatalogUnavailableError
from fieldcam.core.result import Result
from fieldcam.manager.sources import Sources
from tests.frames_on_disk import FIRST_MS, FakeClock, make_config, make_sidecar, put_capture


def a_result(number: int, **changes: Any) -> Result:
    values: dict[str, Any] = {
        "service": "sky",
        "camera": "default",
        "at": rfc3339((FIRST_MS + number * 1000) * 1_000_000),
        "boot_id": "boot-1",
        "monotonic_ns": number,
        "data": {"number": number, "cloud": 0.25, "words": "größer"},
        "sequence": number,
    }
    return Result(**(values | changes))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def writer(path: Path) -> Iterator[CatalogWriter]:
    opened = CatalogWriter.open(path, "capture", FakeClock(), durable=False)
    yield opened
    opened.close()


def all_rows(path: Path, **wanted: Any) -> list[ResultRow]:
    """Return all results, walking through pages of three."""
    reader, after = ResultReader(path), None
    rows: list[ResultRow] = []
    while True:
        page = reader.page(ResultFilter(**wanted), after=after, limit=3)
        rows += page.rows
        if page.next is None:
            return rows
        after = Cursor.parse(str(page.next))


def numbers(path: Path, **wanted: Any) -> list[Any]:
    return [row.result.data["number"] for row in all_rows(path, **wanted)]


# --- one row each -----------------------------------------------------------------------------------------------------


def test_a_result_comes_back_as_it_was_recorded(writer: CatalogWriter, path: Path) -> None:
    result = a_result(1, filename="capture_20260113_103045_123.jpg")

    recorded = writer.record_results([result])

    assert all_rows(path) == [recorded[0].row] == [ResultRow(1, result)]


def test_a_result_that_is_found_again_keeps_its_row(writer: CatalogWriter, path: Path) -> None:
    first = writer.record_results([a_result(1), a_result(2)])

    again = writer.record_results([a_result(2), a_result(3), a_result(1), a_result(3)])

    assert [one.row.id for one in again] == [first[1].row.id, 3, first[0].row.id, 3]
    assert numbers(path) == [3, 2, 1]


def test_finding_only_known_results_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with closing(CatalogWriter.open(path, "capture", FakeClock())) as writer:
        writer.record_results([a_result(1)])
        before = path.read_bytes(), path.stat().st_mtime_ns

        writer.record_results([a_result(1)])

        assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_two_results_that_differ_in_anything_are_two(writer: CatalogWriter, path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {}, {"service": "cars"}, {"camera": "north"}, {"monotonic_ns": 2}, {"sequence": 2}, {"boot_id": "b"},
        {"data": {"number": 2}}, {"filename": "capture_20260113_103045_123.jpg"},
    ]  # fmt: skip

    writer.record_results([a_result(1, **change) for change in changes])

    assert len(all_rows(path)) == len(changes)


def test_the_file_itself_refuses_a_second_row_of_one_result(writer: CatalogWriter, path: Path) -> None:
    writer.record_results([a_result(1)])
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT INTO results (service, at, key) SELECT service, at, key FROM results")


def test_a_failure_in_the_middle_records_nothing(writer: CatalogWriter, path: Path) -> None:
    writer.record_results([a_result(0)])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TRIGGER t BEFORE INSERT ON results WHEN NEW.sequence = 2 BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        connection.commit()
    writer.close()
    with closing(CatalogWriter.open(path, "capture", FakeClock(), durable=False)) as again:
        with pytest.raises(CatalogError):
            again.record_results([a_result(1), a_result(2)])
        assert numbers(path) == [0]
        again.record_results([a_result(3)])

    assert numbers(path) == [3, 0]


# --- captures ---------------------------------------------------------------------------------------------------------


def test_a_result_about_a_capture_gets_its_id(writer: CatalogWriter) -> None:
    capture = make_sidecar(5)
    writer.record(capture)
    asked = [
        a_result(1, filename=capture.filename, sequence=5),
        a_result(2, filename=capture.filename, sequence=None),
        a_result(3, image_id=capture.id, sequence=None),
        a_result(4, image_id=capture.id, filename=capture.filename),
    ]

    recorded = writer.record_results(asked)

    assert [(one.row.result.image_id, one.capture) for one in recorded] == [(capture.id, capture.filename)] * 4
    assert writer.record_results(asked) == recorded


@pytest.mark.parametrize(
    ("change", "image_id"),
    [
        ({"filename": make_sidecar(5).filename, "sequence": 6}, None),  # a live frame of that name
        ({"filename": make_sidecar(6).filename}, None),
        ({"filename": make_sidecar(5).filename, "sequence": 5, "camera": "north"}, None),
        ({"image_id": 6, "camera": "north"}, None),  # another camera's
        ({"image_id": 6, "filename": make_sidecar(7).filename}, None),  # another capture's
        ({"image_id": 99}, 99),  # whose row may follow
        ({"image_id": LIVE_ID_BASE + 5}, None),
        ({}, None),
    ],
)
def test_a_result_about_anything_else_gets_none(
    writer: CatalogWriter, change: dict[str, Any], image_id: int | None
) -> None:
    writer.record(make_sidecar(5))

    recorded = writer.record_results([a_result(1, **change)])[0]

    assert (recorded.row.result.image_id, recorded.capture) == (image_id, None)


def test_a_result_found_again_keeps_the_id_it_got(writer: CatalogWriter) -> None:
    capture = make_sidecar(5)
    result = a_result(1, filename=capture.filename, sequence=5)
    early = writer.record_results([result])[0]
    writer.record(capture)

    late = writer.record_results([replace(result, image_id=capture.id)])[0]

    assert early.row == late.row
    assert early.row.result.image_id is None


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_rows, "PRUNE_ROWS", 10)
    defaults = {"max_rows": 50, "max_characters": 10_000}
    monkeypatch.setattr(result_rows.ResultRows.__init__, "__kwdefaults__", defaults)


@pytest.mark.usefixtures("small")
def test_the_newest_rows_are_kept_and_the_oldest_go_in_small_steps(path: Path) -> None:
    counts = []
    with closing(CatalogWriter.open(path, "capture", FakeClock(), durable=False)) as writer:
        for number in range(0, 300, 5):
            writer.record_results([a_result(number + one) for one in range(5)])
            counts.append(len(all_rows(path)))

    assert max(counts) <= 50 + 10 + 5
    assert max(earlier - later for earlier, later in pairwise(counts)) <= 10 - 5
    assert numbers(path) == list(range(299, 299 - counts[-1], -1))
    assert all_rows(path)[0].id == 300


@pytest.mark.usefixtures("small")
def test_large_results_are_bounded_by_their_size(path: Path) -> None:
    with closing(CatalogWriter.open(path, "capture", FakeClock(), durable=False)) as writer:
        for number in range(40):
            writer.record_results([a_result(number, data={"number": number, "text": "x" * 1000})])

    assert 1 <= len(all_rows(path)) <= 11
    assert numbers(path)[0] == 39


@pytest.mark.usefixtures("small")
def test_one_result_larger_than_the_bound_is_kept_until_the_next(path: Path) -> None:
    with closing(CatalogWriter.open(path, "capture", FakeClock(), durable=False)) as writer:
        for number in range(3):
            writer.record_results([a_result(number, data={"number": number, "text": "x" * 20_000})])

            assert numbers(path)[0] == number


@pytest.mark.usefixtures("small")
def test_what_a_failed_transaction_would_have_added_is_not_counted(path: Path) -> None:
    with closing(CatalogWriter.open(path, "capture", FakeClock(), durable=False)) as writer:
        writer.record_results([a_result(number) for number in range(40)])
        for _ in range(30):
            bad = a_result(100)
            object.__setattr__(bad, "boot_id", object())  # cannot be bound
            with pytest.raises((CatalogError, TypeError)):
                writer.record_results([a_result(number) for number in range(50, 60)] + [bad])
        writer.record_results([a_result(41)])

    assert len(all_rows(path)) == 41


# --- lists ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(writer: CatalogWriter, path: Path) -> Path:
    for number in range(12):
        writer.record_results(
            [
                a_result(
                    number // 2,  # two at every time
                    data={"number": number},
                    service=("sky", "cars")[number % 2],
                    camera=("default", "north")[number // 6],
                    image_id=77 if number % 3 == 0 else None,
                )
            ]
        )
    return path


def moment(number: int) -> str:
    return rfc3339((FIRST_MS + number * 1000) * 1_000_000)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, range(11, -1, -1)),
        ({"service": "cars"}, [11, 9, 7, 5, 3, 1]),
        ({"camera": "north"}, [11, 10, 9, 8, 7, 6]),
        ({"image_id": 77}, [9, 6, 3, 0]),
        ({"image_id": 77, "service": "sky", "camera": "north"}, [6]),
        ({"image_id": 78}, []),
        ({"since": moment(4)}, [11, 10, 9, 8]),
        ({"until": moment(2)}, [3, 2, 1, 0]),
        ({"since": moment(1), "until": moment(5), "service": "sky"}, [8, 6, 4, 2]),
        ({"service": "nobody"}, []),
    ],
)
def test_every_filter_finds_its_results_newest_first(filled: Path, wanted: dict[str, Any], expected: Any) -> None:
    assert numbers(filled, **wanted) == list(expected)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, "results_time"),
        ({"service": "sky"}, "results_once"),
        ({"camera": "north"}, "results_time"),
        ({"image_id": 7, "service": "sky"}, "results_image"),
        ({"service": "sky", "since": moment(1), "until": moment(2)}, "results_once"),
    ],
)
@pytest.mark.parametrize("after", [None, Cursor(moment(3), 5)])
def test_every_list_has_an_index(filled: Path, wanted: dict[str, Any], index: str, after: Cursor | None) -> None:
    sql, values = result_query(ResultFilter(**wanted), after, 50)
    with closing(sqlite3.connect(filled)) as connection:
        plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values))

    assert f"USING INDEX {index}" in plan


@pytest.mark.parametrize(
    "damage",
    [
        "data = '{\"number\":1}'", "data = '{'", "data = x'ff'", "data = NULL", "camera = 'x y'", "monotonic_ns = 'x'",
        "key = NULL", "sequence = 9", "boot_id = 'other'", "at = 'x'",
    ],
)  # fmt: skip
def test_a_damaged_row_is_an_error_not_an_answer(filled: Path, damage: str) -> None:
    with closing(sqlite3.connect(filled)) as connection:
        connection.execute(f"UPDATE results SET {damage} WHERE id = 4")
        connection.commit()

    with pytest.raises(CatalogError, match="damaged"):
        all_rows(filled)


# --- schema -----------------------------------------------------------------------------------------------------------


def make_old(path: Path) -> None:
    """Make a catalog as the release before this schema did."""
    with closing(open_writer(path, durable=False)) as connection:
        migrations._steps.apply(Database(connection, execute_plugins=False), stop_before="m002_results_once")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def as_old_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 1)
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", 1)


def test_an_old_catalog_is_brought_to_this_schema_and_keeps_its_images(path: Path) -> None:
    make_old(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO images (filename, captured_at, camera, kind) VALUES ('x', 'y', 'z', 'capture')")
        connection.execute("INSERT INTO results (at, data, service) VALUES ('x', '{}', 'sky')")
        connection.execute("INSERT INTO results (at, data, service) VALUES ('x', '{}', 'sky')")
        connection.commit()

    with closing(CatalogWriter.open(path, "capture", FakeClock(), durable=False)) as writer:
        writer.record_results([a_result(1)])

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM images").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM results").fetchone() == (3,)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_after_a_roll_back_the_release_before_still_reads_and_writes(
    writer: CatalogWriter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.record(make_sidecar(1))
    writer.record_results([a_result(1)])
    writer.close()

    as_old_release(monkeypatch)
    with closing(CatalogWriter.open(path, "capture", FakeClock(), durable=False)) as old:
        old.record(make_sidecar(2))
    seen = [row.filename for row in CatalogReader(path, "capture").page(ImageFilter()).rows]
    monkeypatch.undo()

    assert seen == [make_sidecar(2).filename, make_sidecar(1).filename]
    with closing(CatalogWriter.open(path, "capture", FakeClock(), durable=False)) as new:
        new.record_results([a_result(1), a_result(2)])
    assert numbers(path) == [2, 1]


def test_a_catalog_that_was_not_migrated_yet_is_unavailable_not_damaged(path: Path) -> None:
    make_old(path)

    with pytest.raises(CatalogUnavailableError, match="being made"):
        ResultReader(path).page(ResultFilter())


def test_a_missing_catalog_is_unavailable(path: Path) -> None:
    with pytest.raises(CatalogUnavailableError):
        ResultReader(path).page(ResultFilter())


# --- made again -------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_config(tmp_path)


@pytest.fixture
def kept(config: Config) -> Config:
    """An archive with 20 captures and 900 results in its catalog."""
    with closing(CatalogWriter.open(config.layout.catalog, "capture", FakeClock(), durable=False)) as writer:
        for number in range(20):
            writer.record(put_capture(config, number))
        writer.record_results([a_result(number, service=("sky", "cars")[number % 2]) for number in range(900)])
    return config


def rebuild(config: Config, processed: list[ResultRow] | None = None) -> Report:
    sources = Sources(config.layout, config.all_cameras)
    return Rebuild(
        config.layout.catalog, "capture", FakeClock(), sources.frames("capture"), processed=processed or []
    ).run()


def contents(config: Config) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(config.layout.catalog)) as connection:
        return connection.execute("SELECT * FROM results ORDER BY id").fetchall()


def test_results_of_a_catalog_that_can_be_read_are_carried_over_row_for_row(kept: Config) -> None:
    before = contents(kept)

    report = rebuild(kept)

    assert (report.results, report.recorded, report.problems) == (900, 20, [])
    assert contents(kept) == before


def test_of_a_deleted_catalog_what_is_in_processed_comes_back_with_its_ids(kept: Config) -> None:
    rows = all_rows(kept.layout.catalog)[:300]
    kept.layout.catalog.unlink()

    report = rebuild(kept, rows)

    assert report.results == 300
    assert all_rows(kept.layout.catalog) == rows


def test_what_is_in_both_is_there_once(kept: Config) -> None:
    before = contents(kept)
    rows = all_rows(kept.layout.catalog)[:300]
    new = ResultRow(rows[0].id, a_result(5000))  # claims an id that is taken

    report = rebuild(kept, [*rows, new])

    assert report.results == 901
    assert contents(kept)[:900] == before
    assert all_rows(kept.layout.catalog)[0] == ResultRow(901, new.result)


def damage_page(path: Path, number: int) -> None:
    """Overwrite the page that holds the result of that number."""
    data = bytearray(path.read_bytes())
    at = data.index(b'{"number":%d,' % number) // 4096 * 4096
    data[at : at + 4096] = b"\xa5" * 4096
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("number", [5, 450, 890])
def test_of_a_damaged_catalog_everything_that_is_whole_is_carried_over(kept: Config, number: int) -> None:
    before = {row.id: row for row in all_rows(kept.layout.catalog)}
    damage_page(kept.layout.catalog, number)

    report = rebuild(kept)

    after = {row.id: row for row in all_rows(kept.layout.catalog)}
    assert after.items() <= before.items()
    assert len(after) == report.results
    assert 850 < len(after) < 900  # a page holds 20 to 30
    assert number + 1 not in after
    assert report.recorded == 20


@pytest.mark.parametrize("how", ["garbage", "empty", "cut", "zero"])
def test_of_a_catalog_that_is_none_nothing_comes_and_nothing_fails(kept: Config, how: str) -> None:
    catalog = kept.layout.catalog
    rows = all_rows(catalog)[:10]
    size = catalog.stat().st_size
    if how == "cut":
        os.truncate(catalog, 4096)
    else:
        catalog.write_bytes({"garbage": b"no database" * 1000, "empty": b"", "zero": bytes(size)}[how])

    report = rebuild(kept, rows)

    assert (report.results, report.recorded) == (10, 20)
    assert all_rows(catalog) == rows


def test_rows_with_a_flipped_bit_are_left_out_and_told(kept: Config) -> None:
    with closing(sqlite3.connect(kept.layout.catalog)) as connection:
        connection.execute("UPDATE results SET data = replace(data, '0.25', '0.26') WHERE id IN (5, 500)")
        connection.commit()

    report = rebuild(kept)

    assert report.results == 898
    assert report.problems == ["2 results in the old catalog are damaged"]


def test_killed_between_moving_aside_and_putting_in_place_it_takes_them_from_aside(kept: Config) -> None:
    before = contents(kept)
    aside = move_aside(kept.layout.catalog, FakeClock())

    report = rebuild(kept)

    assert moved_aside(kept.layout.catalog) == aside
    assert report.results == 900
    assert contents(kept) == before


def test_a_catalog_without_results_takes_those_that_an_older_release_put_aside(kept: Config) -> None:
    before = contents(kept)
    move_aside(kept.layout.catalog, FakeClock())
    make_old(kept.layout.catalog)  # made again by the release before, after a roll-back

    rebuild(kept)

    assert contents(kept) == before


def test_a_catalog_that_somebody_has_locked_for_good_gives_its_results(kept: Config) -> None:
    before = contents(kept)
    with closing(sqlite3.connect(kept.layout.catalog, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        other.execute("DELETE FROM results WHERE id < 100")  # never committed

        report = rebuild(kept)

    assert report.results == 900
    assert contents(kept) == before


def test_reading_what_is_given_up_changes_nothing_in_it(kept: Config) -> None:
    catalog = kept.layout.catalog
    journal = catalog.with_name("catalog.db-journal")
    journal.write_bytes(b"stale")
    before = catalog.read_bytes()
    told = Rescued()

    rows = [row for batch in rescue(catalog, told) for row in batch]

    assert len(rows) == told.rows == 900
    assert (catalog.read_bytes(), journal.read_bytes()) == (before, b"stale")


def test_live_frames_have_no_results(config: Config) -> None:
    report = Rebuild(
        config.layout.live_catalog, "live", FakeClock(), [], processed=[ResultRow(1, a_result(1))], keep_old=False
    ).run()

    assert report.results == 0

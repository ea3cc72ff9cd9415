# SPDX-License-Identifier: MIT
"""The catalog's writer and reader, against real SQLite files."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fieldcam.catalog.connect import Cause, cause_of, open_reader
from fieldcam.catalog.reader import LIVE_ID_BASE, CatalogReader, Cursor, ImageFilter, is_live_id, page_query
from fieldcam.catalog.schema import SCHEMA_VERSION
from fieldcam.catalog.writer import CatalogWriter
from fieldcam.core.clock import rfc3339
from fieldcam.core.errors import CatalogError, CatalogTooNewError, CatalogUnavailableError
from tests.frames_on_disk import FIRST_MS, FakeClock, as_an_ordinary_user, make_sidecar

CONTRACT_COLUMNS = {
    *("id", "job_id", "user_id", "filename", "thumbnail_path", "captured_at"),
    *("x_position", "y_position", "z_position", "exposure_time", "gain"),
    *("file_size", "width", "height", "metadata", "camera", "kind", "sha256"),
    *("sample_no", "submission_no", "description", "backend", "simulated"),
    *("boot_id", "monotonic_ns", "sequence", "state"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def writer(path: Path) -> Iterator[CatalogWriter]:
    opened = CatalogWriter.open(path, "capture", FakeClock())
    yield opened
    opened.close()


@pytest.fixture
def reader(path: Path) -> CatalogReader:
    return CatalogReader(path, "capture")


def test_the_table_has_every_column_and_index_of_the_contract(writer: CatalogWriter, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        columns = {row[1]: row for row in connection.execute("PRAGMA table_info(images)")}
        indexes = {
            tuple(column[2] for column in connection.execute(f"PRAGMA index_info({row[1]})")): row
            for row in connection.execute("PRAGMA index_list(images)")
            if not row[4]
        }
        results = [row[1] for row in connection.execute("PRAGMA table_info(results)")]

    assert set(columns) >= CONTRACT_COLUMNS
    assert (columns["filename"][3], columns["captured_at"][3], columns["id"][5]) == (1, 1, 1)
    assert {("job_id", "captured_at"), ("user_id", "captured_at"), ("captured_at",)} <= set(indexes)
    assert indexes[("camera", "filename")][2] == 1
    assert results[:6] == ["id", "image_id", "camera", "service", "at", "data"]


def test_a_row_says_what_the_sidecar_says(writer: CatalogWriter, reader: CatalogReader) -> None:
    sidecar = make_sidecar(1, job_id=7, user_id="anna", sample_no="S-1", x_position=3, idempotency_key="k")

    row_id = writer.record(sidecar)

    row = reader.get(row_id)
    assert row is not None
    assert (row.id, row.camera, row.filename, row.state) == (2, "default", sidecar.filename, "present")
    assert (row.job_id, row.user_id, row.sample_no, row.x_position) == (7, "anna", "S-1", 3.0)
    assert (row.exposure_time, row.gain, row.simulated) == (100.0, 1.5, True)
    assert row.metadata["format"] == "JPG"
    assert row.metadata["quality"] == 95
    assert (row.metadata["cameraConnected"], row.metadata["simulatedMode"]) == (False, True)
    assert row.metadata["settings"] == {"ExposureTime": 100_000, "ColourGains": [1.5, 2.0]}
    assert row.metadata["idempotency_key"] == "k"


def test_recording_twice_gives_one_row_with_its_id(writer: CatalogWriter, reader: CatalogReader) -> None:
    first = writer.record(make_sidecar(1))

    second = writer.record(make_sidecar(1, description="another"))

    assert second == first
    assert [total.images for total in reader.totals()] == [1]


def test_another_image_with_the_same_id_is_refused_and_nothing_changes(
    writer: CatalogWriter, reader: CatalogReader
) -> None:
    writer.record(make_sidecar(1))

    with pytest.raises(CatalogError) as caught:
        writer.record_many([make_sidecar(5), make_sidecar(2, id=2)])

    assert cause_of(caught.value) is Cause.CONFLICT
    assert reader.find("default", make_sidecar(5).filename) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"filename": "../../etc/passwd"},
        {"filename": "capture_20240501_000000_000.png"},
        {"camera": "No Such"},
        {"captured_at": "yesterday"},
        {"width": "640"},
        {"width": True},
        {"file_size": 2**63},
        {"id": None},
        {"id": "7"},
        {"sha256": "xyz"},
        {"simulated": 1},
        {"gain": float("nan")},
        {"description": 5},
        {"description": "\ud800"},
        {"job_id": [1]},
    ],
)
def test_a_damaged_sidecar_gets_no_row(writer: CatalogWriter, reader: CatalogReader, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - UnicodeEncodeError is one, too
        writer.record_many([make_sidecar(1), make_sidecar(2, **wrong)])

    assert reader.totals() == []


def test_removed_images_leave_lists_and_totals_but_are_still_known(
    writer: CatalogWriter, reader: CatalogReader
) -> None:
    writer.record_many([make_sidecar(number) for number in range(3)])

    changed = writer.mark_removed("default", [make_sidecar(1).filename, "capture_unknown.jpg"])

    assert changed == 1
    assert [row.id for row in reader.page(ImageFilter()).rows] == [3, 1]
    assert [(total.images, total.bytes) for total in reader.totals()] == [(2, 22)]
    removed = reader.get(2)
    assert removed is not None
    assert removed.state == "removed"


def test_a_removed_image_that_is_found_again_comes_back(writer: CatalogWriter, reader: CatalogReader) -> None:
    writer.record(make_sidecar(1))
    writer.mark_removed("default", [make_sidecar(1).filename])

    writer.record(make_sidecar(1))

    row = reader.latest()
    assert row is not None
    assert (row.id, row.state) == (2, "present")
    assert [total.images for total in reader.totals()] == [1]


def test_live_frames_get_ids_above_those_of_captures_and_lose_their_rows(tmp_path: Path) -> None:
    path, clock = tmp_path / "live.db", FakeClock()
    with closing(CatalogWriter.open(path, "live", clock)) as writer:
        ids = writer.record_many([make_sidecar(number, kind="live", id=None) for number in range(3)])
        writer.mark_removed("default", [make_sidecar(number).filename for number in range(3)])
        after_all_went = writer.record(make_sidecar(3, kind="live", id=None))

    path.unlink()
    clock.advance(1)
    with closing(CatalogWriter.open(path, "live", clock)) as writer:
        after_rebuild = writer.record(make_sidecar(4, kind="live", id=None))

    every = [*ids, after_all_went, after_rebuild]
    assert every == sorted(set(every))
    assert all(is_live_id(each) and each < 2**53 for each in every)
    assert not is_live_id(4095 * 2**40 + 2**40 - 1)
    assert [row.id for row in CatalogReader(path, "live").page(ImageFilter()).rows] == [after_rebuild]
    assert ids[0] >= LIVE_ID_BASE


def test_pages_follow_one_another_without_gap_or_repeat_even_when_times_are_equal(
    writer: CatalogWriter, reader: CatalogReader
) -> None:
    same = {"captured_at": rfc3339(FIRST_MS * 1_000_000)}
    writer.record_many([make_sidecar(number, **(same if number % 3 else {})) for number in range(100)])
    expected = sorted(((row["captured_at"], row["id"]) for row in _all(reader)), reverse=True)

    seen, cursor = [], None
    while True:
        page = reader.page(ImageFilter(), after=cursor, limit=7)
        seen += [(row.captured_at, row.id) for row in page.rows]
        if page.next is None:
            break
        cursor = Cursor.parse(str(page.next))

    assert seen == expected
    assert len(seen) == 100


def _all(reader: CatalogReader) -> list[dict[str, Any]]:
    with closing(open_reader(reader._path)) as connection:
        cursor = connection.execute("SELECT captured_at, id FROM images")
        return [dict(zip(("captured_at", "id"), row, strict=True)) for row in cursor]


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (ImageFilter(camera="b"), lambda n: n % 2 == 1),
        (ImageFilter(sample_no="S1"), lambda n: n % 3 == 1),
        (ImageFilter(submission_no="P1"), lambda n: n % 4 == 1),
        (ImageFilter(user_id=1), lambda n: n % 5 == 1),
        (ImageFilter(user_id="1"), lambda n: n % 5 == 1),
        (ImageFilter(job_id="01"), lambda n: n % 6 == 1),
        (ImageFilter(job_id=1), lambda n: False),
        (ImageFilter(camera="default", sample_no="S1", user_id=1), lambda n: n % 2 == 0 and n % 3 == 1 and n % 5 == 1),
        (ImageFilter(kind="capture"), lambda n: True),
        (ImageFilter(kind="live"), lambda n: False),
        (
            ImageFilter(since=rfc3339((FIRST_MS + 10_000) * 10**6), until=rfc3339((FIRST_MS + 20_000) * 10**6)),
            lambda n: 10 <= n < 20,
        ),
    ],
)
def test_a_filter_gives_what_matches_and_nothing_else(
    writer: CatalogWriter, reader: CatalogReader, wanted: ImageFilter, matches: Any
) -> None:
    writer.record_many(
        [
            make_sidecar(
                n,
                camera="b" if n % 2 else "default",
                sample_no=f"S{n % 3}",
                submission_no=f"P{n % 4}",
                user_id=n % 5,
                job_id=f"0{n % 6}",
            )
            for n in range(60)
        ]
    )

    found, cursor = [], None
    while True:
        page = reader.page(wanted, after=cursor, limit=4)
        found += [row.sequence for row in page.rows]
        if (cursor := page.next) is None:
            break

    assert found == [n for n in reversed(range(60)) if matches(n)]


@pytest.mark.parametrize("column", ["", "camera", "user_id", "job_id", "sample_no", "submission_no"])
@pytest.mark.parametrize("bounds", [{}, {"since": "2024-01-01T00:00:00.000Z"}, {"until": "2025-01-01T00:00:00.000Z"}])
@pytest.mark.parametrize("after", [None, Cursor("2024-05-01T00:00:00.000Z", 5)])
def test_no_page_scans_or_sorts_the_table(
    writer: CatalogWriter, path: Path, column: str, bounds: dict[str, str], after: Cursor | None
) -> None:
    others = {"camera": "default"} if column != "camera" else {}
    wanted = ImageFilter(**({column: "x"} if column else {}), **(others if column else {}), **bounds)  # type: ignore[arg-type]

    sql, values = page_query(wanted, after, 51)
    with closing(open_reader(path)) as connection:
        plan = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]

    assert len(plan) == 1, plan
    assert "USING INDEX" in plan[0]
    assert "TEMP B-TREE" not in plan[0]
    if column or bounds or after:
        assert plan[0].startswith("SEARCH"), plan
    if column:
        assert f"({column}=?" in plan[0]


def test_the_newest_is_by_id_whatever_the_clock_said(writer: CatalogWriter, reader: CatalogReader) -> None:
    writer.record_many([make_sidecar(1), make_sidecar(2, captured_at="1970-01-01T00:00:00.000Z")])

    newest = reader.latest("default")

    assert newest is not None
    assert newest.id == 3
    assert reader.latest("other") is None


def test_a_cursor_that_is_none_is_refused() -> None:
    for text in ("", "x", "2024-05-01T00:00:00.000Z~", "2024-05-01T00:00:00.000Z~x", "~1", "2024~" + "9" * 30):
        with pytest.raises(ValueError, match="not a cursor"):
            Cursor.parse(text)


def test_a_reader_says_unavailable_when_there_is_no_catalog(path: Path) -> None:
    with pytest.raises(CatalogUnavailableError) as caught:
        CatalogReader(path, "capture").page(ImageFilter())

    assert cause_of(caught.value) is Cause.MISSING
    assert not path.exists()


def test_a_reader_says_unavailable_while_another_holds_the_lock(writer: CatalogWriter, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")

        with pytest.raises(CatalogUnavailableError) as caught:
            CatalogReader(path, "capture", busy_seconds=0.05).totals()

    assert cause_of(caught.value) is Cause.LOCKED


@pytest.fixture
def readable() -> Iterator[Path]:
    """A catalog with one row, in a folder that a reader may enter but not write."""
    base = Path(tempfile.mkdtemp(prefix="fc-"))  # tmp_path lies below a folder that only its owner may enter
    base.chmod(0o755)
    with closing(CatalogWriter.open(base / "catalog.db", "capture", FakeClock())) as writer:
        writer.record(make_sidecar(1))
    yield base / "catalog.db"
    base.chmod(0o755)
    shutil.rmtree(base)


def test_a_reader_needs_no_permission_to_write_and_no_writer(readable: Path) -> None:
    readable.chmod(0o444)
    readable.parent.chmod(0o555)

    with as_an_ordinary_user():
        rows = CatalogReader(readable, "capture").page(ImageFilter()).rows

    assert [row.id for row in rows] == [2]
    assert [path.name for path in readable.parent.iterdir()] == ["catalog.db"]


KILLED_WRITER = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
for number in range(2000):
    connection.execute("INSERT INTO results (at, data) VALUES ('now', ?)", ("x" * 1000,))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_reader_waits_for_the_writer_to_undo_what_a_kill_left_half_done(readable: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED_WRITER, str(readable)], check=False)
    assert readable.with_name("catalog.db-journal").stat().st_size > 0
    readable.parent.chmod(0o555)

    with as_an_ordinary_user(), pytest.raises(CatalogUnavailableError):
        CatalogReader(readable, "capture").page(ImageFilter())
    readable.parent.chmod(0o755)
    CatalogWriter.open(readable, "capture", FakeClock()).close()

    with as_an_ordinary_user():
        assert [row.id for row in CatalogReader(readable, "capture").page(ImageFilter()).rows] == [2]


def test_a_reader_follows_a_catalog_that_was_replaced(writer: CatalogWriter, reader: CatalogReader, path: Path) -> None:
    writer.record(make_sidecar(1))
    assert len(reader.page(ImageFilter()).rows) == 1

    writer.close()
    path.unlink()
    with closing(CatalogWriter.open(path, "capture", FakeClock())) as other:
        other.record_many([make_sidecar(2), make_sidecar(3)])

    assert [row.id for row in reader.page(ImageFilter()).rows] == [4, 3]


def test_one_reader_serves_many_threads(writer: CatalogWriter, reader: CatalogReader) -> None:
    writer.record_many([make_sidecar(number) for number in range(20)])
    counts: list[int] = []

    threads = [threading.Thread(target=lambda: counts.append(len(reader.page(ImageFilter()).rows))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counts == [20] * 8


def test_a_newer_schema_is_used_when_it_allows_this_release(writer: CatalogWriter, path: Path) -> None:
    writer.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE images ADD COLUMN colour TEXT")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 5}")
        connection.commit()

    with closing(CatalogWriter.open(path, "capture", FakeClock())) as again:
        again.record(make_sidecar(1))

    assert len(CatalogReader(path, "capture").page(ImageFilter()).rows) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 5,)


def test_a_schema_that_needs_a_newer_release_is_refused_by_both_halves(writer: CatalogWriter, path: Path) -> None:
    writer.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        connection.execute("UPDATE meta SET value = ? WHERE key = 'min_reader'", (SCHEMA_VERSION + 1,))
        connection.commit()

    with pytest.raises(CatalogTooNewError, match="schema"):
        CatalogWriter.open(path, "capture", FakeClock())
    with pytest.raises(CatalogTooNewError, match="schema"):
        CatalogReader(path, "capture").totals()


def test_a_change_by_somebody_else_is_noticed_before_the_next_write(writer: CatalogWriter, path: Path) -> None:
    writer.record(make_sidecar(1))
    assert not writer.changed_by_others()

    with closing(sqlite3.connect(path)) as other:
        other.execute("DELETE FROM images")
        other.commit()

    assert writer.changed_by_others()
    with pytest.raises(CatalogUnavailableError) as caught:
        writer.record(make_sidecar(2))
    assert cause_of(caught.value) is Cause.CHANGED


def test_a_flipped_bit_in_a_value_is_found(writer: CatalogWriter, path: Path) -> None:
    writer.record_many([make_sidecar(1, description="the needle"), make_sidecar(2)])
    writer.close()
    path.write_bytes(path.read_bytes().replace(b"the needle", b"the beedle"))

    with closing(CatalogWriter.open(path, "capture", FakeClock())) as again:
        whole = [row.whole for row in again.after(-1, 10)]

    assert whole == [False, True]


def test_the_journal_is_one_that_survives_a_power_cut(writer: CatalogWriter, path: Path) -> None:
    journal = writer._connection.execute("PRAGMA journal_mode").fetchone()[0]
    synchronous = writer._connection.execute("PRAGMA synchronous").fetchone()[0]

    assert (journal, synchronous) == ("delete", 3)  # 3 = EXTRA
    assert not list(path.parent.glob("*-wal"))

# SPDX-License-Identifier: MIT
"""Getting results out of a catalog that is given up.

Images can be made again from their sidecars; of results the catalog has more than anybody else: `processed/` holds the
newest 1000 of each consumer. So when a catalog is made again its results are carried over, as far as the old file can
still be read: from the newest backwards, and when that ends at a damaged page, from the oldest forwards. Each row
proves by its key that it is what was written.

The old file is evidence, so it is opened for reading only. Where SQLite then refuses it (a transaction was under way
when the power went, or somebody has it locked for good) it is read without locks: a row of a transaction that was never
finished is whole or fails its key, and its source is still there to be found again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from fieldcam.catalog.connect import (
    SIDE_FILES,
    WRITER_BUSY_SECONDS,
    Connection,
    catalog_errors,
    open_immutable,
    open_reader,
)
from fieldcam.catalog.result_rows import MAX_ROWS, RESULT_COLUMNS, RESULTS_SCHEMA, ResultRow, result_row
from fieldcam.catalog.schema import check_version
from fieldcam.core.errors import CatalogError, SharedVolumeError

BATCH = 200
_SELECT = f"SELECT {', '.join(RESULT_COLUMNS)} FROM results"  # noqa: S608 - names of ours
_DOWN = f"{_SELECT} WHERE id < ? ORDER BY id DESC LIMIT ?"
_UP = f"{_SELECT} WHERE id > ? AND id < ? ORDER BY id LIMIT ?"


@dataclass(slots=True)
class Rescued:
    """How it went: rows read, rows that are damaged, and whether the whole file could be read."""

    rows: int = 0
    damaged: int = 0
    whole: bool = False


def rescue(path: Path, told: Rescued) -> Iterator[list[ResultRow]]:
    """Yield the results of a catalog in batches, newest first; what cannot be read is left out. Raises nothing.

    Args:
        path: the file; nothing in it is changed.
        told: filled while reading.
    """
    for look in (_open, open_immutable):
        with suppress(CatalogError, SharedVolumeError):
            connection = look(path)
            with closing(connection):
                if check_version(connection, path) < RESULTS_SCHEMA:
                    told.whole = True  # of a release that kept none
                    return
                yield from _rows(connection, path, told)
                return


def moved_aside(path: Path) -> Path | None:
    """Return the newest catalog that was moved aside, or None."""
    aside = [entry for entry in path.parent.glob(f"{path.name}.corrupt.*") if not entry.name.endswith(SIDE_FILES)]
    return max(aside, key=lambda entry: entry.name, default=None)


def _open(path: Path) -> Connection:
    return open_reader(path, busy_seconds=WRITER_BUSY_SECONDS)


def _rows(connection: Connection, path: Path, told: Rescued) -> Iterator[list[ResultRow]]:
    lowest = 2**63 - 1
    try:
        while batch := _read(connection, path, _DOWN, (lowest, BATCH)):
            lowest = _lowest(batch, lowest)
            yield _whole(batch, told)
            if told.rows + told.damaged >= MAX_ROWS:
                break
    except CatalogError:
        highest = -(2**63)
        with suppress(CatalogError):
            while batch := _read(connection, path, _UP, (highest, lowest, BATCH)):
                highest = _highest(batch, highest)
                yield _whole(batch, told)
        return
    told.whole = True


def _read(connection: Connection, path: Path, sql: str, values: tuple[int, ...]) -> list[tuple[object, ...]]:
    with catalog_errors(path):
        return connection.execute(sql, values).fetchall()


def _highest(batch: list[tuple[object, ...]], before: int) -> int:
    last = batch[-1][0]
    if not isinstance(last, int) or last <= before:
        raise CatalogError("the ids do not rise", cause="damaged")
    return last


def _lowest(batch: list[tuple[object, ...]], before: int) -> int:
    last = batch[-1][0]
    if not isinstance(last, int) or last >= before:
        raise CatalogError("the ids do not fall", cause="damaged")  # or this would never end
    return last


def _whole(batch: list[tuple[object, ...]], told: Rescued) -> list[ResultRow]:
    rows = []
    for values in batch:
        try:
            rows.append(result_row(values))
        except CatalogError:
            told.damaged += 1
    told.rows += len(rows)
    return rows

# SPDX-License-Identifier: MIT
"""The bare input and output of a capture: the same bytes, flushed as often, with none of the appliance's code.

What a disk costs is no overhead of ours, and it differs from machine to machine by a factor of a hundred.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

PAGE = 4096
PAGES = 10  # of the table and its indexes that one row changes
JOURNAL_BYTES = 512 + PAGES * (PAGE + 8)
# Of a capture, counted with strace: two files and their two names; for the row the journal twice, the table once, and
# the name of the journal when it comes and when it goes.
FLUSHES = 9


def write_like_a_capture(folder: Path, stem: str, image: bytes, sidecar: bytes) -> float:
    """Write an image and its sidecar durably, and what a row of a SQLite table costs; return the seconds."""
    table = folder / "table"
    if not table.exists():
        table.write_bytes(bytes(4 * PAGES * PAGE))
    started = time.perf_counter()
    for name, data in ((f"{stem}.json", sidecar), (f"{stem}.jpg", image)):
        _write(folder / f".{name}.tmp", data, os.O_CREAT | os.O_EXCL)
    for name in (f"{stem}.json", f"{stem}.jpg"):
        (folder / f".{name}.tmp").replace(folder / name)
        _flush(folder)
    # A rollback journal with synchronous EXTRA: the old pages, their number, the new pages, the end of the journal.
    journal = folder / "table-journal"
    _write(journal, bytes(JOURNAL_BYTES), os.O_CREAT)
    _flush(folder)
    _write(journal, bytes(12), 0)
    _write(table, bytes(PAGES * PAGE), 0)
    journal.unlink()
    _flush(folder)
    return time.perf_counter() - started


def _write(path: Path, data: bytes, flags: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

# SPDX-License-Identifier: MIT
"""`processed/<service>/` of each camera: the newest results of every consumer as files, for whoever reads files.

`result_<id>_<beginning of the key>.json`: ids rise, so names tell the order, and one result has one name however often
it is put there. From these files the catalog gets back what it has lost.
"""

from __future__ import annotations

import json
import os
import re
from bisect import insort
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from fieldcam.catalog.result_rows import ResultRow
from fieldcam.core.durable import make_folder, publish, remove_leftovers
from fieldcam.core.errors import NameTakenError
from fieldcam.core.layout import Layout
from fieldcam.core.names import SERVICE_NAME
from fieldcam.core.plain_file import read_plain_file
from fieldcam.core.result import MAX_KEPT_BYTES, Result

KEEP = 1000
_NAME = re.compile(r"result_(\d{16})_[0-9a-f]{12}\.json", re.ASCII)


class Processed:
    """Puts results into `processed/` and takes the oldest out.

    Args:
        layout: where everything is.
        durable: whether files survive a power cut; pointless in RAM.
        keep: how many of each consumer and camera stay.
    """

    def __init__(self, layout: Layout, *, durable: bool, keep: int = KEEP) -> None:
        self._layout = layout
        self._durable = durable
        self._keep = keep
        self._names: dict[Path, list[str]] = {}

    def put(self, camera: str, row: ResultRow) -> Path:
        """Make a result visible, once; return its file.

        Raises:
            StorageFullError, StorageUnavailableError, SharedVolumeError: it is not there.
        """
        folder = self._layout.camera(camera).processed / row.result.service
        names = self._names_in(folder)
        path = folder / processed_name(row)
        try:
            publish([(path, as_json(row))], durable=self._durable)
        except NameTakenError:
            return path  # before the manager was killed
        except BaseException:
            self._names.pop(folder, None)  # somebody may have removed the folder
            raise
        insort(names, path.name)
        while len(names) > self._keep:
            with suppress(FileNotFoundError):
                (folder / names[0]).unlink()
            del names[0]
        return path

    def forget(self) -> None:
        """Look at the folders anew: the place was away."""
        self._names.clear()

    def _names_in(self, folder: Path) -> list[str]:
        known = self._names.get(folder)
        if known is None:
            make_folder(folder)
            remove_leftovers(folder)
            known = self._names[folder] = _results_in(folder)
        return known


def processed_name(row: ResultRow) -> str:
    """Return the name of a result's file."""
    return f"result_{row.id:016d}_{row.result.key[:12]}.json"


def as_json(row: ResultRow) -> bytes:
    """Return what is in the file: the result with its id."""
    text = json.dumps({"id": row.id, **row.result.to_dict()}, ensure_ascii=False, separators=(",", ":"))
    return text.encode() + b"\n"


def iter_processed(layout: Layout, cameras: Iterable[str]) -> Iterator[ResultRow]:
    """Yield every result in `processed/`; what cannot be read is passed over."""
    for camera in cameras:
        root = layout.camera(camera).processed
        for service in _services_in(root):
            for name in _results_in(root / service):
                with suppress(OSError, ValueError):
                    yield _read(root / service / name)


def _read(path: Path) -> ResultRow:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ValueError("not a name of ours")
    text = read_plain_file(path, MAX_KEPT_BYTES)
    row = ResultRow(int(match[1]), Result.from_json(text, MAX_KEPT_BYTES))
    if processed_name(row) != path.name or row.result.camera is None:
        raise ValueError("it is not what was written")
    return row


def _services_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if SERVICE_NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            )
    except OSError:
        return []


def _results_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if _NAME.fullmatch(entry.name))
    except OSError:
        return []

# SPDX-License-Identifier: MIT
"""A manager's sweeper with everything it needs, in this process and with time moved by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldcam.catalog.result_reader import ResultFilter, ResultReader
from fieldcam.catalog.result_rows import ResultRow
from fieldcam.core.config import Config
from fieldcam.core.result import Result
from fieldcam.manager.keeper import Catalog, Keeper
from fieldcam.manager.processed import iter_processed
from fieldcam.manager.results import SWEEP_SECONDS, ResultSweeper
from fieldcam.manager.sources import Sources
from tests.frames_on_disk import FakeClock, make_config

CAMERAS: Mapping[str, Mapping[str, Any]] = {
    "default": {"backend": "simulated"},
    "north": {"backend": "simulated", "number": 1},
}


def results_config(base: Path, **changes: Any) -> Config:
    """Return a configuration with two cameras and a folder for results."""
    (base / "results").mkdir(exist_ok=True)
    return make_config(base, None, **{"results_dir": base / "results", "cameras": CAMERAS} | changes)


class Stage:
    """Keepers of both catalogs and a sweeper; `restart` begins anew, as the next process does."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clock = FakeClock()
        self.restart()

    def restart(self) -> None:
        """Make everything anew."""
        layout = self.config.layout
        self.sources = Sources(layout, self.config.all_cameras)
        self.captures = self._keeper(Catalog("capture", layout.catalog, layout.archive_dir, "archive"))
        self.live = self._keeper(Catalog("live", layout.live_catalog, layout.capture_dir, "handoff"))
        self.sweeper = ResultSweeper(self.config, self.sources, self.clock, captures=self.captures, live=self.live)

    def pass_time(self, seconds: float = SWEEP_SECONDS + 1) -> None:
        """Let time pass as the manager's loop does."""
        passed = 0.0
        while passed <= seconds:
            for keeper in (self.captures, self.live):
                keeper.tick()
                while keeper.busy:
                    keeper.work()
            self.sweeper.tick()
            while self.sweeper.busy:
                self.sweeper.work()
            self.clock.advance(1)
            passed += 1

    def close(self) -> None:
        """Close everything."""
        self.sweeper.close()
        self.captures.close()
        self.live.close()

    def folder(self, service: str) -> Path:
        """Return the folder of a consumer; it is made when missing."""
        folder = self.config.layout.results(service)
        folder.mkdir(exist_ok=True)
        return folder

    def put(self, folder: str, number: int, **changes: Any) -> Path:
        """Put a result into a consumer's folder, as a program in any language may."""
        service = folder
        path = self.folder(folder) / f"result_{number:020d}.json"
        path.write_text(json.dumps(values_of(service, number) | changes))
        return path

    def rows(self, **wanted: Any) -> list[ResultRow]:
        """Return the rows, oldest first."""
        return sorted(
            ResultReader(self.config.layout.catalog).page(ResultFilter(**wanted), limit=1000).rows,
            key=lambda row: row.id,
        )

    def numbers(self, **wanted: Any) -> list[Any]:
        """Return what `put` numbered, in the order of the rows."""
        return [row.result.data["number"] for row in self.rows(**wanted)]

    def processed(self) -> list[ResultRow]:
        """Return what is in `processed/` of all cameras, in the order of ids."""
        return sorted(iter_processed(self.config.layout, self.config.all_cameras), key=lambda row: row.id)

    def waiting(self, service: str) -> list[str]:
        """Return what is in the folder of a consumer."""
        return sorted(path.name for path in self.folder(service).iterdir())

    def _keeper(self, catalog: Catalog) -> Keeper:
        return Keeper(
            catalog,
            self.sources,
            self.clock,
            want_thumbnail=lambda _camera, _filename: True,
            note=lambda _cause, _details: None,
        )


def values_of(service: str, number: int) -> dict[str, Any]:
    """Return the least that a result says."""
    return {
        "service": service,
        "at": f"2026-01-13T10:{number // 60 % 60:02d}:{number % 60:02d}.000Z",
        "boot_id": "boot-1",
        "monotonic_ns": number,
        "data": {"number": number},
    }


def as_result(service: str, number: int, camera: str = "default", **changes: Any) -> Result:
    """Return what becomes of it."""
    return Result(**({"camera": camera} | values_of(service, number) | changes))

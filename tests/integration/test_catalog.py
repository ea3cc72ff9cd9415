# SPDX-License-Identifier: MIT
"""`fieldcam catalog …` on real folders."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fieldcam.catalog.schema import SCHEMA_VERSION
from fieldcam.catalog.writer import CatalogWriter
from fieldcam.cli.catalog import catalog
from fieldcam.core.config import Config
from fieldcam.core.layout import MARKER
from fieldcam.core.ownership import owned
from tests.frames_on_disk import FakeClock, make_config, make_sidecar, put_capture

MEGABYTE = 1_000_000


class Appliance:
    def __init__(self, base: Path) -> None:
        self.config: Config = make_config(base)
        self.file = base / "fieldcam.toml"
        keys = ("capture_dir", "archive_dir", "state_dir", "run_dir")
        lines = [f'{key} = "{getattr(self.config, key)}"' for key in keys]
        self.file.write_text("\n".join([*lines, "[cameras.default]", 'backend = "simulated"']))

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(catalog, [arguments[0], "--config", str(self.file), *arguments[1:]])

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)


@pytest.fixture
def appliance() -> Iterator[Appliance]:
    base = Path(tempfile.mkdtemp(prefix="fc-"))
    yield Appliance(base)
    shutil.rmtree(base)


def test_rebuild_makes_a_catalog_that_verify_finds_good(appliance: Appliance) -> None:
    for number in range(10):
        put_capture(appliance.config, number)

    rebuilt = appliance.json("rebuild")
    verified = appliance.run("verify", "--deep", "--json")

    assert rebuilt == {
        "recorded": 10, "without_sidecar": 0, "damaged": 0, "problems": [], "results": 0, "moved_aside": None,
    }  # fmt: skip
    assert verified.exit_code == 0
    facts = json.loads(verified.stdout)
    assert (facts["ok"], facts["rows"], facts["files"], facts["structure"]) == (True, 10, 10, "ok")


def test_verify_ends_with_1_and_says_what_differs(appliance: Appliance) -> None:
    put_capture(appliance.config, 1)
    appliance.run("rebuild")
    put_capture(appliance.config, 2)

    verified = appliance.run("verify")

    assert verified.exit_code == 1
    assert "files_without_row: 1" in verified.stdout
    assert f"{make_sidecar(2).filename} has no row" in verified.stdout


def test_verify_of_nothing_says_what_is_missing(appliance: Appliance) -> None:
    verified = appliance.run("verify")

    assert verified.exit_code == 75
    assert "CATALOG_UNAVAILABLE: catalog.db is missing" in verified.stderr


def test_rebuild_is_refused_while_a_manager_runs(appliance: Appliance) -> None:
    with owned(appliance.config.layout.manager_lock, "the catalog"):
        refused = appliance.run("rebuild")

    assert refused.exit_code == 75
    assert "supervisorctl stop image-sync-manager" in refused.stderr
    assert not appliance.config.layout.catalog.exists()


def test_rebuild_is_refused_where_the_place_is_missing(appliance: Appliance) -> None:
    (appliance.config.archive_dir / MARKER).unlink()

    refused = appliance.run("rebuild")

    assert refused.exit_code == 74
    assert "no marker" in refused.stderr


def test_migrate_brings_an_empty_file_to_this_schema_and_a_second_run_does_nothing(appliance: Appliance) -> None:
    with closing(sqlite3.connect(appliance.config.layout.catalog)) as connection:
        connection.execute("VACUUM")

    first, second = appliance.json("migrate"), appliance.json("migrate")

    steps = ["m001_images_and_results", "m002_results_once"]
    assert first["files"]["catalog.db"] == {"exists": True, "steps": steps, "schema": SCHEMA_VERSION}
    assert first["files"]["live.db"] == {"exists": False, "steps": [], "schema": None}
    assert second["files"]["catalog.db"]["steps"] == []
    assert not appliance.config.layout.live_catalog.exists()


def test_migrate_refuses_a_catalog_that_needs_a_newer_release(appliance: Appliance) -> None:
    path = appliance.config.layout.catalog
    CatalogWriter.open(path, "capture", FakeClock()).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
        connection.execute("UPDATE meta SET value = '7' WHERE key = 'min_reader'")
        connection.commit()

    refused = appliance.run("migrate")

    assert refused.exit_code == 1
    assert "CATALOG_TOO_NEW" in refused.stderr


def test_a_migration_that_fails_changes_nothing(appliance: Appliance) -> None:
    path = appliance.config.layout.catalog
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE meta (something TEXT)")  # in the way of the last tables of the step
        connection.commit()

    failed = appliance.run("migrate")

    with closing(sqlite3.connect(path)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master")]
    assert failed.exit_code != 0
    assert tables == ["meta"]


REBUILD = """
import re, sys
from pathlib import Path
from fieldcam.cli.catalog import catalog
catalog(["rebuild", "--json", "--config", sys.argv[1]], standalone_mode=False)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""


def test_ten_thousand_sidecars_are_rebuilt_in_bounded_memory(appliance: Appliance) -> None:
    for number in range(10_000):
        put_capture(appliance.config, number)

    done = subprocess.run(
        [sys.executable, "-c", REBUILD, str(appliance.file)], capture_output=True, text=True, check=True, cwd="/"
    )

    peak_bytes = int(done.stderr.split()[-1]) * 1024  # of this process alone; its parent counts all its children
    assert json.loads(done.stdout)["recorded"] == 10_000
    assert peak_bytes <= 120 * MEGABYTE

# SPDX-License-Identifier: MIT
"""`fieldcam catalog migrate|rebuild|verify`: the catalog by hand. The manager does all of this by itself, too."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any

import click

from fieldcam.catalog.connect import open_writer
from fieldcam.catalog.migrations import migrate as migrate_file
from fieldcam.catalog.rebuild import Rebuild
from fieldcam.catalog.schema import SCHEMA_VERSION, check_version
from fieldcam.catalog.verify import verify as verify_file
from fieldcam.cli.step_down import step_down
from fieldcam.core.clock import SystemClock
from fieldcam.core.config import Config
from fieldcam.core.config_sources import load
from fieldcam.core.errors import CameraInUseError, FieldcamError
from fieldcam.core.ownership import owned
from fieldcam.manager.sources import Sources
from fieldcam.store.volume import Volume

_PROGRESS_STEP = 100


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options all of them have, and one line for an error."""

    @click.option("--config", "config_file", type=click.Path(path_type=Path), help="TOML file of the appliance.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @wraps(function)
    def wrapped(config_file: Path | None, **options: Any) -> None:
        try:
            config = load(config_file)
            step_down(config.layout.events.parent)
            function(config, **options)
        except FieldcamError as error:
            click.echo(f"error: {error.code}: {error.message}", err=True)
            raise SystemExit(error.exit_code) from None

    return wrapped


@click.group()
def catalog() -> None:
    """Migrate, rebuild or verify the catalog of images."""


@catalog.command()
@_command
def migrate(config: Config, *, as_json: bool) -> None:
    """Bring catalog.db and live.db to this release's schema.

    Steps are additive and run beside a manager. A file that is not there yet is left for the manager to make.
    """
    done: dict[str, Any] = {}
    for path in (config.layout.catalog, config.layout.live_catalog):
        if not path.exists():
            done[path.name] = {"exists": False, "steps": [], "schema": None}
            continue
        with closing(open_writer(path, durable=True)) as connection:
            steps = migrate_file(connection, path)
            done[path.name] = {"exists": True, "steps": steps, "schema": check_version(connection, path)}
    if as_json:
        click.echo(json.dumps({"known_schema": SCHEMA_VERSION, "files": done}, indent=2))
        return
    for name, facts in done.items():
        words = f"schema {facts['schema']}, {len(facts['steps'])} steps taken" if facts["exists"] else "not there yet"
        click.echo(f"{name}: {words}")


@catalog.command()
@_command
def rebuild(config: Config, *, as_json: bool) -> None:
    """Make catalog.db again from the sidecars. The old one is moved aside. The manager must be stopped."""
    layout = config.layout
    Volume.open(config.archive_dir, "archive")
    sources = Sources(layout, config.all_cameras)
    try:
        with owned(layout.manager_lock, "the catalog"):
            job = Rebuild(
                layout.catalog,
                "capture",
                SystemClock(),
                sources.frames("capture"),
                sources.thumbnail_of,
                processed=sources.results(),
            )
            report = _with_progress(job.run, sources, as_json=as_json)
    except CameraInUseError as error:
        raise CameraInUseError(
            f"{error.message}: stop it first (supervisorctl stop image-sync-manager); while it runs it rebuilds "
            "a damaged or missing catalog by itself",
            **error.details,
        ) from None
    facts = {**asdict(report), "moved_aside": str(report.moved_aside) if report.moved_aside else None}
    _print(facts, as_json=as_json)


@catalog.command()
@click.option("--deep", is_flag=True, help="Read every image and compare its SHA-256.")
@_command
def verify(config: Config, *, as_json: bool, deep: bool) -> None:
    """Compare catalog.db with the captures, both ways. Ends with 1 when they differ. Changes nothing."""
    sources = Sources(config.layout, config.all_cameras)

    def run(progress: Callable[[int], None]) -> Any:
        return verify_file(
            config.layout.catalog,
            sources.frames("capture"),
            lambda camera, filename: sources.image(camera, filename, "capture"),
            deep=deep,
            progress=progress,
        )

    verdict = _with_progress(run, sources, as_json=as_json)
    _print({"ok": verdict.ok, **asdict(verdict)}, as_json=as_json)
    if not verdict.ok:
        raise SystemExit(1)


def _with_progress(run: Callable[[Callable[[int], None]], Any], sources: Sources, *, as_json: bool) -> Any:
    if as_json or not sys.stderr.isatty():
        return run(lambda _done: None)
    total = sum(1 for _ in sources.frames("capture"))
    with click.progressbar(length=total, label="captures", file=sys.stderr) as bar:
        return run(lambda done: bar.update(done - bar.pos) if done % _PROGRESS_STEP == 0 or done == total else None)


def _print(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    problems = facts.pop("problems")
    for key, value in facts.items():
        click.echo(f"{key}: {value}")
    for problem in problems:
        click.echo(f"  {problem}")

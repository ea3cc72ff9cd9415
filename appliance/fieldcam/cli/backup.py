# SPDX-License-Identifier: MIT
"""`fieldcam backup`: what cannot be made again, in one file, and back."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from fieldcam.backup.archive import digest_file, read_archive, write_archive
from fieldcam.backup.contents import contents
from fieldcam.backup.restore import restore as put_back
from fieldcam.cli.options import config_option, json_option
from fieldcam.core.clock import SystemClock, rfc3339
from fieldcam.core.config_sources import load
from fieldcam.core.errors import StorageUnavailableError
from fieldcam.store.volume import Volume

_FILE = click.argument("file", type=click.Path(path_type=Path))
_CONFIG_DIR = click.option(
    "--config-dir", type=click.Path(path_type=Path), help="Folder with secrets/ and gateway/, which are kept too."
)


@click.group()
def backup() -> None:
    """Keep users, tokens, events, settings, counters and the catalog, and put them back.

    The file holds secrets: it is readable by its owner only, and should stay so.
    """


@backup.command()
@_FILE
@click.option("--captures", "with_captures", is_flag=True, help="Keep the pictures that were asked for, too.")
@_CONFIG_DIR
@config_option
@json_option
def create(
    file: Path, config_dir: Path | None, config_file: Path | None, *, with_captures: bool, as_json: bool
) -> None:
    """Write a backup to FILE, and its digest beside it. The appliance goes on meanwhile."""
    config = load(config_file)
    try:
        archive_id = Volume.open(config.archive_dir, "archive").id
    except StorageUnavailableError:
        archive_id = None  # the disk is away; what is elsewhere is kept all the same
    facts = {
        "made_at": rfc3339(SystemClock().wall_ns()),
        "host": socket.gethostname(),
        "version": metadata.version("fieldcam"),
        "archive_id": archive_id,
    }
    items = contents(config, config_dir, with_captures=with_captures)
    manifest = write_archive(file, items, facts, with_captures=with_captures)
    told: dict[str, Any] = {
        "file": str(file),
        "digest_file": str(digest_file(file)),
        "bytes": file.stat().st_size,
        "files": len(manifest.files),
        **facts,
    }
    click.echo(
        json.dumps(told, indent=2) if as_json else f"{file}: {told['files']} files, {told['bytes']} bytes compressed"
    )


@backup.command()
@_FILE
@json_option
def verify(file: Path, *, as_json: bool) -> None:
    """Check all of FILE, every database in it too. Changes nothing. Exit code 65 when it is not sound."""
    manifest = read_archive(file)
    if as_json:
        click.echo(json.dumps(asdict(manifest), indent=2))
        return
    click.echo(f"sound: {manifest.host}, {manifest.made_at}, fieldcam {manifest.version}, {len(manifest.files)} files")


@backup.command()
@_FILE
@click.option("--captures", "with_captures", is_flag=True, help="Put back pictures that are missing, too.")
@click.option("--into-other-archive", is_flag=True, help="The disk of the captures is another one, and that is meant.")
@_CONFIG_DIR
@config_option
@json_option
def restore(
    file: Path,
    config_dir: Path | None,
    config_file: Path | None,
    *,
    with_captures: bool,
    into_other_archive: bool,
    as_json: bool,
) -> None:
    """Put FILE back into a deployed, stopped appliance. All of it is checked before anything is touched.

    Pictures that are there, a sound catalog and higher counters of ids stay; databases that are replaced are set aside.
    """
    config = load(config_file)
    done = put_back(
        file,
        config,
        config_dir,
        SystemClock(),
        with_captures=with_captures,
        into_other_archive=into_other_archive,
    )
    if as_json:
        click.echo(json.dumps([asdict(one) for one in done], indent=2))
        return
    click.echo(tabulate([[one.name, one.done, one.why] for one in done], headers=["what", "done", "why"]))

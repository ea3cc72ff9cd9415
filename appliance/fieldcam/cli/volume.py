# SPDX-License-Identifier: MIT
"""`fieldcam volume`: marking a place by hand, where deployment has not done it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fieldcam.cli.options import json_option
from fieldcam.core.errors import StorageUnavailableError
from fieldcam.store.volume import VolumeKind, init_volume


@click.group()
def volume() -> None:
    """Look after the two places."""


@volume.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(["handoff", "archive"]), required=True, help="Which of the two places.")
@json_option
def init(path: Path, kind: VolumeKind, *, as_json: bool) -> None:
    """Mark PATH as a place of this appliance; a marker that is there stays.

    Mount the disk first: without its marker nothing is written, so that a missing disk never fills the root disk.
    """
    if not path.is_dir():
        raise StorageUnavailableError(f"{path} is no folder; mount the disk or make the folder first", path=str(path))
    made = init_volume(path.resolve(), kind)
    facts = {"root": str(made.root), "kind": made.kind, "id": made.id}
    click.echo(json.dumps(facts, indent=2) if as_json else f"{made.root} is the {kind} place {made.id}")

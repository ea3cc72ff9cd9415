# SPDX-License-Identifier: MIT
"""`fieldcam config`: whether the configuration is right, and what is in force."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from fieldcam.cli.options import config_option, json_option
from fieldcam.core.config_sources import load, load_with_sources


@click.group()
def config() -> None:
    """Look at the configuration."""


@config.command()
@config_option
def check(config_file: Path | None) -> None:
    """Say whether the configuration is right; one line per error, and exit code 78."""
    found = load(config_file)
    click.echo(f"configuration is right; cameras: {', '.join(sorted(found.all_cameras))}")


@config.command()
@config_option
@json_option
def show(config_file: Path | None, *, as_json: bool) -> None:
    """Print every setting in force and where it comes from."""
    found, source = load_with_sources(config_file)
    values = found.model_dump(mode="json")
    values.pop("cameras")  # comes last again: in TOML a table ends only where another begins
    values["cameras"] = {name: camera.model_dump(mode="json") for name, camera in found.all_cameras.items()}
    flat = dict(_flat(values))
    if as_json:
        answer = {key: {"value": value, "source": source(key)} for key, value in flat.items()}
        click.echo(json.dumps(answer, indent=2))
        return
    table = ""
    for key, value in flat.items():
        above, _, leaf = key.rpartition(".")
        if above != table:
            table = above
            click.echo(f"\n[{table}]")
        click.echo(_line(leaf, value, source(key)))


def _flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _line(key: str, value: Any, source: str) -> str:
    """Return a line of TOML; its scalars and lists are written as in JSON, and it has no null."""
    if value is None:
        return f"# {key} is unset  # {source}"
    return f"{key} = {json.dumps(value, ensure_ascii=False)}  # {source}"

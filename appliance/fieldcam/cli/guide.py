# SPDX-License-Identifier: MIT
"""`fieldcam guide`: where a running appliance is, and what to type next. `make up` ends with it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click

from fieldcam.core.config import CameraConfig, Config
from fieldcam.core.config_sources import load
from fieldcam.core.errors import ConfigError

WHAT_IT_IS = {
    "simulated": "simulated: every picture says so",
    "replay": "replayed from {media}",
    "rpicam": "real, through {rpicam_still}",
}


@click.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="TOML file of the appliance.")
@click.option("--token-file", type=click.Path(path_type=Path), help="File with the token made by the deployment.")
@click.option("--stop", default="make down", show_default=True, help="Command that stops the appliance.")
def guide(config_file: Path | None, token_file: Path | None, stop: str) -> None:
    """Print address, camera, token, folders and five commands to go on with."""
    config = load(config_file)
    folder = config_file.parent if config_file else Path("/etc/fieldcam")
    click.echo("\n".join(lines(config, folder, token_file, _token_in(token_file), stop)))


def lines(config: Config, config_dir: Path, token_file: Path | None, token: str | None, stop: str) -> list[str]:
    """Return the guide line by line.

    Args:
        config: of the appliance.
        config_dir: where its supervisord.conf is.
        token_file: where the token of the deployment is kept.
        token: that token; None = there is none.
        stop: command that stops the appliance.
    """
    layout = config.layout
    guarded = f"http://{_host(config.host)}:{config.port}"
    address = f"http://localhost:{config.local_port}" if config.local_listener else guarded
    told = ["", f"  fieldcam is running at {address}", ""]
    told += [f"  {'camera':<10}{name}: {_describe(camera)}" for name, camera in config.all_cameras.items()]
    told += [
        f"  {'pictures':<10}{_short(layout.camera(config.default_camera).captures)}  (those that were asked for)",
        f"  {'':<10}{_short(layout.camera(config.default_camera).live)}  (the newest {config.max_images})",
    ]
    if token is not None:
        told += [
            f"  {'token':<10}{token}",
            f"  {'':<10}for {guarded}; kept in {_short(token_file) if token_file else 'no file'}",
        ]
    supervisorctl = _environment() / "bin" / "supervisorctl"
    control = shlex.join([_short(supervisorctl), "-c", _short(config_dir / "supervisord.conf")])
    told += ["", "  Next:"]
    if config.local_listener:
        body = '{"exposure": 100, "gain": 1.5}'
        told += [
            f"    curl -s {address}/health",
            f"    curl -s -X POST {address}/capture -H 'Content-Type: application/json' -d '{body}'",
            f"    open {address}/video/feed in a browser",
        ]
    else:
        header = f'-H "Authorization: Bearer $(cat {shlex.quote(_short(token_file))})"' if token_file else ""
        told += [
            f"    curl -s {guarded}/api/v1/capture/health",
            f"    curl -s {header} {guarded}/api/v1/images/latest",
            f"    curl -s {header} {guarded}/api/v1/system/status",
        ]
    return [*told, f"    {control} status", f"    {stop}", ""]


def _environment() -> Path:
    """Return this virtual environment by the name that also holds after the next release, when it has one."""
    here = Path(sys.prefix)
    current = here.parents[2] / "current" / here.name if len(here.parents) > 2 else here
    return current if current.exists() and current.samefile(here) else here


def _describe(camera: CameraConfig) -> str:
    return WHAT_IT_IS[camera.backend].format(media=camera.media, rpicam_still=camera.rpicam_still)


def _token_in(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"token file {file} cannot be read: {error.strerror}", key="token-file") from None


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _short(path: Path) -> str:
    """Return the path from here when that is below here, so that it can be read and typed."""
    here = Path.cwd()
    return os.fspath(path.relative_to(here)) if path.is_relative_to(here) else os.fspath(path)

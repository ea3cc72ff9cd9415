# SPDX-License-Identifier: MIT
"""`image-sync-manager`: the daemon that records and cleans up, and questions to it (contract section 3)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

from fieldcam.cli.run_command import run_command
from fieldcam.cli.step_down import step_down
from fieldcam.core.config_sources import load
from fieldcam.manager.main import run
from fieldcam.manager.service import ImageSyncManager


@click.command(
    name="image-sync-manager",
    epilog="Exit codes: 0 done, 75 another manager runs; docs/errors.md has one for every error.",
)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="TOML file of the appliance.")
@click.option("--check-interval", type=float, help="Seconds between health checks.")
@click.option("--max-image-age", type=float, help="Seconds after which the newest frame is too old.")
@click.option("--cleanup-interval", type=float, help="Seconds between cleanups.")
@click.option("--status", is_flag=True, help="Print the state of the system and end.")
@click.option("--cleanup", is_flag=True, help="Clean up once and end.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(config_file: Path | None, *, status: bool, cleanup: bool, as_json: bool, **flags: Any) -> None:
    """Record images, monitor capture and disks, and clean up, until stopped."""
    config = load(config_file, flags)
    step_down(config.layout.events.parent)
    manager = ImageSyncManager(config=config)
    if cleanup:
        _print(manager.trigger_cleanup(), as_json=as_json)
    if status:
        facts = manager.get_system_status()
        if (beat := manager.daemon()) is not None:
            facts |= {"catalog": beat.catalog, "archive": beat.archive, "handoff": beat.handoff, "pid": beat.pid}
        _print(facts, as_json=as_json)
    if not (cleanup or status):
        run(config)


def _print(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        # JSON has no infinity: an age is null when there is no frame.
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in facts.items()}
        click.echo(json.dumps(finite, indent=2))
        return
    for key, value in facts.items():
        if isinstance(value, list):
            click.echo(f"{key}: {len(value) or 'none'}")
            for line in value:
                click.echo(f"  {line}")
        else:
            click.echo(f"{key}: {value}")


def main() -> None:
    """Run the command."""
    run_command(command)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""`fieldcam`: every command of the appliance. Parts load on use, so `fieldcam token` needs no image library."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

import click

from fieldcam.cli.run_command import run_command

EX_SOFTWARE = 70

COMMANDS: Mapping[str, str] = {
    "capture": "fieldcam.cli.host_camera_capture:command",
    "backup": "fieldcam.cli.backup:backup",
    "bench": "fieldcam.cli.bench:bench",
    "catalog": "fieldcam.cli.catalog:catalog",
    "config": "fieldcam.cli.config:config",
    "doctor": "fieldcam.cli.doctor:doctor",
    "guide": "fieldcam.cli.guide:guide",
    "status": "fieldcam.cli.status:status",
    "sync": "fieldcam.cli.image_sync_manager:command",
    "token": "fieldcam.cli.token:token",
    "volume": "fieldcam.cli.volume:volume",
}

EXIT_CODES = """Exit codes:

\b
   0  all is well
   1  something is wrong; the message says what (doctor: a check failed)
   2  an option or its value is not allowed
  65  a backup is damaged, or belongs elsewhere
  69  a process or the camera does not answer, or there is no fresh frame
  70  a mistake in fieldcam itself; --traceback shows where
  74  a file cannot be read or written
  75  try again later: it is in use, locked or full
  77  not permitted
  78  the configuration is wrong
"""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands that are installed."""
        return sorted({*super().list_commands(ctx), *(name for name in COMMANDS if _is_there(name))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None when there is none of that name."""
        if cmd_name not in COMMANDS or not _is_there(cmd_name):
            return super().get_command(ctx, cmd_name)
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


def _is_there(name: str) -> bool:
    return find_spec(COMMANDS[name].partition(":")[0]) is not None


@click.group(name="fieldcam", cls=LazyGroup, epilog=EXIT_CODES)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="TOML file of the appliance.")
@click.option("--traceback", is_flag=True, help="Show where in the program an unexpected error happened.")
@click.version_option(metadata.version("fieldcam"), prog_name="fieldcam")
def command(config_file: Path | None, *, traceback: bool) -> None:  # noqa: ARG001 - main() looks at it
    """Look after a camera appliance."""
    if config_file is not None:
        # So that it holds for every command below, however that reads its configuration.
        os.environ["FIELDCAM_CONFIG"] = str(config_file)


def main() -> None:
    """Run the command; an error is one line per cause, never a traceback unless it was asked for."""
    try:
        run_command(command)
    except Exception as error:
        if "--traceback" in sys.argv:
            raise
        click.echo(f"error: INTERNAL_ERROR: {type(error).__name__}: {error} (--traceback shows where)", err=True)
        raise SystemExit(EX_SOFTWARE) from None


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""How every command ends when something is wrong: one line per cause, an exit code of its own, no traceback."""

from __future__ import annotations

import click

from fieldcam.core.errors import FieldcamError


def run_command(command: click.Command) -> None:
    """Run a command. Only errors that fieldcam knows by name are put into words here."""
    try:
        command(standalone_mode=True)
    except FieldcamError as error:
        for line in error.message.splitlines() or [""]:
            click.echo(f"error: {error.code}: {line}", err=True)
        raise SystemExit(error.exit_code) from None

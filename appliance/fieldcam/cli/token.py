# SPDX-License-Identifier: MIT
"""`fieldcam token`: who may use the token listener."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from tabulate import tabulate

from fieldcam.api.auth_store import ROLES, AuthStore, Role, Token
from fieldcam.cli.options import config_option, json_option
from fieldcam.core.clock import SystemClock, rfc3339
from fieldcam.core.config_sources import load

SECONDS_A_DAY = 86_400


@click.group()
def token() -> None:
    """Issue, list and revoke device tokens."""


@token.command()
@click.option("--name", default="device", show_default=True, help="Whose it is, in words.")
@click.option("--role", type=click.Choice(ROLES), default="viewer", show_default=True, help="What it may do.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True, max=36_500), help="How long it holds; for ever.")
@config_option
@json_option
def issue(name: str, role: Role, days: float | None, config_file: Path | None, *, as_json: bool) -> None:
    """Make a token and print it: once, it is kept nowhere."""
    issued = _store(config_file).issue(name, role, lifetime_seconds=None if days is None else days * SECONDS_A_DAY)
    if as_json:
        click.echo(json.dumps({"token": issued.text, **asdict(issued.token)}, indent=2))
        return
    click.echo(issued.text)
    until = issued.token.expires_at or f"`fieldcam token revoke {issued.token.id}`"
    click.echo(f"role {role}, id {issued.token.id}, holds until {until}; it is not shown again", err=True)


@token.command(name="list")
@config_option
@json_option
def list_tokens(config_file: Path | None, *, as_json: bool) -> None:
    """Show all tokens, never their secrets."""
    found = _store(config_file).tokens()
    now = rfc3339(SystemClock().wall_ns())
    if as_json:
        click.echo(json.dumps([{**asdict(one), "state": _state(one, now)} for one in found], indent=2))
        return
    rows = [[one.id, one.name, one.role, _state(one, now), one.created_at, one.expires_at or "-"] for one in found]
    click.echo(tabulate(rows, headers=["id", "name", "role", "state", "created", "expires"], disable_numparse=True))


@token.command()
@click.argument("token_id", metavar="ID")
@config_option
@json_option
def revoke(token_id: str, config_file: Path | None, *, as_json: bool) -> None:
    """Refuse the token with this ID from the next request on."""
    revoked = _store(config_file).revoke(token_id)
    click.echo(json.dumps(asdict(revoked), indent=2) if as_json else f"token {revoked.id} ({revoked.name}) is revoked")


def _store(config_file: Path | None) -> AuthStore:
    return AuthStore(load(config_file).layout.auth, SystemClock())


def _state(one: Token, now: str) -> str:
    if one.revoked_at is not None:
        return "revoked"
    return "expired" if one.expires_at is not None and one.expires_at <= now else "valid"

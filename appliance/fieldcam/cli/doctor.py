# SPDX-License-Identifier: MIT
"""`fieldcam doctor`: looks at everything that usually is the reason, and says what to do."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click
from tabulate import tabulate

from fieldcam.api.auth_store import AuthStore
from fieldcam.api.survey import read_manager, take_survey
from fieldcam.catalog.reader import CatalogReader
from fieldcam.cli.options import config_option, json_option
from fieldcam.cli.status import api_answers, health_url
from fieldcam.core.clock import Clock, Instant, SystemClock, is_clock_synchronized
from fieldcam.core.config import Config
from fieldcam.core.config_sources import load
from fieldcam.core.errors import ConfigError, FieldcamError
from fieldcam.core.heartbeat import MAX_BEAT_AGE_SECONDS, read_heartbeat
from fieldcam.store.space import disk_usage
from fieldcam.store.volume import Volume, VolumeKind

State = Literal["ok", "warning", "failed"]
MEGABYTE = 1_000_000
_NO_FRAMES = {"FRAMES_STALE", "CAMERA_FROZEN", "CAMERA_NOT_DELIVERING"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    state: State
    message: str


@click.command()
@config_option
@json_option
def doctor(config_file: Path | None, *, as_json: bool) -> None:
    """Check configuration, places, processes, frames, disks, clock and ports. Exit code 1 when something failed."""
    findings = list(examine(config_file, SystemClock()))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        rows = [[finding.check, finding.state, finding.message] for finding in findings]
        click.echo(tabulate(rows, headers=["check", "state", "message"], maxcolwidths=[None, None, 90]))
    if any(finding.state == "failed" for finding in findings):
        raise SystemExit(1)


def examine(config_file: Path | None, clock: Clock) -> Iterator[Finding]:
    """Yield what each check finds; without a configuration there is nothing else to check."""
    try:
        config = load(config_file)
    except ConfigError as error:
        for line in error.message.splitlines():
            yield Finding("configuration", "failed", line)
        return
    yield Finding("configuration", "ok", f"cameras: {', '.join(sorted(config.all_cameras))}")
    checks: tuple[Callable[[Config, Clock], Iterator[Finding]], ...] = (
        _places,
        _processes,
        _frames,
        _rings,
        _catalog,
        _clock,
        _listeners,
        _tokens,
    )
    for check in checks:
        yield from check(config, clock)


def _places(config: Config, _clock: Clock) -> Iterator[Finding]:
    places: tuple[tuple[VolumeKind, Path], ...] = (("handoff", config.capture_dir), ("archive", config.archive_dir))
    for kind, root in places:
        name = "hand-off area" if kind == "handoff" else "archive"
        try:
            Volume.open(root, kind)
            usage = disk_usage(root)
        except FieldcamError as error:
            yield Finding(name, "failed", error.message)
            continue
        free = f"{root}: {usage.free_bytes // MEGABYTE} MB free, {usage.percent} % used"
        if usage.free_bytes < config.min_free_bytes:
            yield Finding(name, "warning", f"{free}; run `image-sync-manager --cleanup` or give it a larger disk")
        else:
            yield Finding(name, "ok", free)


def _processes(config: Config, clock: Clock) -> Iterator[Finding]:
    now = Instant.now(clock)
    for camera in config.all_cameras:
        beat = read_heartbeat(config.layout.camera(camera).heartbeat)
        name = f"capture process ({camera})"
        if beat is None or beat.state == "stopped" or beat.age_seconds(now) > MAX_BEAT_AGE_SECONDS:
            yield Finding(name, "failed", "does not run or hangs: look at `supervisorctl status` and its log")
        else:
            yield Finding(name, "ok", f"{beat.state}, pid {beat.pid}, {beat.backend} {beat.model}".rstrip())
    if read_manager(config, now) is None:
        yield Finding("manager", "failed", "does not run or hangs: look at `supervisorctl status` and its log")
    else:
        yield Finding("manager", "ok", "runs")


def _frames(config: Config, clock: Clock) -> Iterator[Finding]:
    survey = take_survey(config, clock)
    # Other checks tell of these.
    told = {"CAPTURE_NOT_RUNNING", "MANAGER_NOT_RUNNING", "DISK_LOW", "CLOCK_UNTRUSTED", "RING_UNAVAILABLE"}
    for reason in survey.health.reasons:
        if reason.code in told:
            continue
        state: State = "failed" if reason.code in _NO_FRAMES else "warning"
        yield Finding(f"frames ({reason.camera or 'all'})", state, f"{reason.code}: {reason.message}")
    for camera, beat in survey.heartbeats.items():
        concerned = any(r.camera == camera and r.code != "RING_UNAVAILABLE" for r in survey.health.reasons)
        if beat is not None and not concerned:
            words = "simulated" if beat.simulated else "from a real camera"
            yield Finding(f"frames ({camera})", "ok", f"{beat.frame_age_seconds(survey.now):.1f} s old, {words}")


def _rings(config: Config, clock: Clock) -> Iterator[Finding]:
    now = Instant.now(clock)
    for camera in config.all_cameras:
        beat = read_heartbeat(config.layout.camera(camera).heartbeat)
        if beat is None or beat.age_seconds(now) > MAX_BEAT_AGE_SECONDS:
            continue  # told as a process that does not run
        name, counters = f"ring ({camera})", beat.ring_counters
        if beat.ring == "ok":
            held = f"{counters.get('slots', 0)} slots, {counters.get('bytes', 0) // MEGABYTE} MB"
            gone = f"{counters.get('published', 0)} frames handed off, {counters.get('dropped', 0)} dropped"
            yield Finding(name, "ok", f"{held}; {gone}")
        elif beat.ring.startswith("off: "):
            yield Finding(name, "ok", f"{beat.ring}; containers read the files")
        else:
            yield Finding(name, "warning", f"{beat.ring}; containers read the files meanwhile")


def _catalog(config: Config, _clock: Clock) -> Iterator[Finding]:
    readers = (
        ("catalog of captures", CatalogReader(config.layout.catalog, "capture")),
        ("catalog of live frames", CatalogReader(config.layout.live_catalog, "live")),
    )
    for name, reader in readers:
        try:
            images = sum(total.images for total in reader.totals())
        except FieldcamError as error:
            yield Finding(name, "failed", f"{error.message}; the manager makes it anew from the sidecars")
        else:
            yield Finding(name, "ok", f"{images} images")


def _clock(config: Config, _clock: Clock) -> Iterator[Finding]:
    if config.clock_trust == "assume":
        yield Finding("clock", "ok", "taken as right (clock_trust = assume)")
    elif is_clock_synchronized():
        yield Finding("clock", "ok", "synchronised")
    else:
        yield Finding("clock", "warning", "not synchronised: start chrony or systemd-timesyncd")


def _listeners(config: Config, _clock: Clock) -> Iterator[Finding]:
    wanted = [("local listener", "127.0.0.1", config.local_port)] if config.local_listener else []
    for name, host, port in [*wanted, ("token listener", config.host, config.port)]:
        try:
            socket.create_connection((host, port), timeout=2).close()
        except OSError as error:
            yield Finding(name, "failed", f"{host}:{port}: {error.strerror or error}; is capture-api up?")
        else:
            yield Finding(name, "ok", f"{host}:{port}")
    if config.gateway_socket:
        path = config.layout.gateway_socket
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(str(path))
        except OSError as error:
            yield Finding("gateway socket", "failed", f"{path}: {error.strerror or error}; is capture-api up?")
        else:
            yield Finding("gateway socket", "ok", str(path))
    if api_answers(config):
        yield Finding("health", "ok", health_url(config))
    else:
        yield Finding("health", "failed", f"{health_url(config)} does not say that frames are served")


def _tokens(config: Config, clock: Clock) -> Iterator[Finding]:
    try:
        valid = [one for one in AuthStore(config.layout.auth, clock).tokens() if one.revoked_at is None]
    except FieldcamError as error:
        yield Finding("tokens", "failed", error.message)
        return
    words = f"{len(valid)} not revoked" if valid else "none; `fieldcam token issue` makes one"
    yield Finding("tokens", "ok", words)

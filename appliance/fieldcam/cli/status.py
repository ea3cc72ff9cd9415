# SPDX-License-Identifier: MIT
"""`fieldcam status`: how the appliance is, in a few lines."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from fieldcam.api.present import camera_answer, finite
from fieldcam.api.survey import Survey, take_survey
from fieldcam.cli.options import config_option, json_option
from fieldcam.core.clock import SystemClock, rfc3339
from fieldcam.core.config import Config
from fieldcam.core.config_sources import load
from fieldcam.core.heartbeat import Heartbeat

EX_UNAVAILABLE = 69
LOOK_EVERY_SECONDS = 0.2
HTTP_SECONDS = 3.0


@click.command()
@click.option("--wait-fresh", type=click.FloatRange(0, 3600), help="Wait so many seconds for a served, fresh frame.")
@config_option
@json_option
def status(wait_fresh: float | None, config_file: Path | None, *, as_json: bool) -> None:
    """Print health, cameras and frame ages. Exit code 69 while there is no fresh frame, or the API does not answer."""
    config = load(config_file)
    clock = SystemClock()
    deadline_ns = clock.boottime_ns() + int((wait_fresh or 0) * 1e9)
    pause = threading.Event()
    while True:
        survey = take_survey(config, clock)
        is_served = survey.health.status != "unhealthy" and api_answers(config)
        if wait_fresh is not None:
            is_served = is_served and any(comes_from_running_process(beat) for beat in survey.heartbeats.values())
        if is_served or clock.boottime_ns() >= deadline_ns:
            break
        pause.wait(LOOK_EVERY_SECONDS)
    _print(survey, is_served=is_served, as_json=as_json)
    if not is_served:
        raise SystemExit(EX_UNAVAILABLE)


def comes_from_running_process(beat: Heartbeat | None) -> bool:
    """Return whether the newest frame was taken by a process that runs now.

    After a restart the frame of the process before is fresh for some seconds still, and proves nothing.
    """
    if beat is None or beat.last_frame is None or not Path(f"/proc/{beat.pid}").exists():
        return False
    return beat.last_frame.boottime_ns >= beat.started_boottime_ns


def health_url(config: Config) -> str:
    """Return an address of the API that needs no token."""
    if config.local_listener:
        return f"http://127.0.0.1:{config.local_port}/health"
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(config.host, config.host)  # noqa: S104 - compared, not bound
    return f"http://{host}:{config.port}/api/v1/capture/health"


def api_answers(config: Config) -> bool:
    """Return whether the API says that frames are served."""
    try:
        with urllib.request.urlopen(health_url(config), timeout=HTTP_SECONDS) as answer:  # noqa: S310 - made above
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _print(survey: Survey, *, is_served: bool, as_json: bool) -> None:
    health = survey.health
    if as_json:
        facts: dict[str, Any] = {
            "status": health.status,
            "api": is_served,
            "camera_connected": health.camera_connected,
            "simulated": health.simulated,
            "latest_image_age": finite(health.latest_image_age),
            "timestamp": rfc3339(survey.now.wall_ns),
            "reasons": [{"code": r.code, "message": r.message, "camera": r.camera} for r in health.reasons],
            "cameras": [camera_answer(name, beat, survey.now) for name, beat in survey.heartbeats.items()],
        }
        click.echo(json.dumps(facts, indent=2))
        return
    click.echo(f"{health.status}{' (simulated camera)' if health.simulated else ''}")
    for reason in health.reasons:
        click.echo(f"  {reason.code}{f' ({reason.camera})' if reason.camera else ''}: {reason.message}")
    if health.status != "unhealthy" and not is_served:
        click.echo("  API_NOT_ANSWERING: capture-api does not answer, or sees no fresh frame")
    rows = []
    for name, beat in survey.heartbeats.items():
        age = finite(beat.frame_age_seconds(survey.now)) if beat is not None else None
        state, backend, ring = (beat.state, beat.backend, beat.ring) if beat is not None else ("unknown", "-", "-")
        rows.append([name, backend, state, "-" if age is None else f"{age:.1f} s", ring])
    headers = ["camera", "backend", "state", "newest frame", "ring"]
    click.echo(tabulate(rows, headers=headers, disable_numparse=True, maxcolwidths=[None, None, None, None, 60]))

# SPDX-License-Identifier: MIT
"""`host-camera-capture`: the capture daemon of one camera, and questions to it (contract section 3)."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any, NoReturn

import click

from fieldcam.capture.service import HostCameraCaptureService, camera_flags
from fieldcam.cli.run_command import run_command
from fieldcam.cli.step_down import step_down
from fieldcam.core import logs
from fieldcam.core.config_sources import load

# supervisord waits 10 s after TERM before it kills.
STOP_SECONDS = 6.0


@click.command(name="host-camera-capture", epilog="Exit codes: docs/errors.md has one for every error.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="TOML file of the appliance.")
@click.option("--camera", help="Name of the camera; the default one when left out.")
@click.option("--capture-dir", type=click.Path(path_type=Path), help="Hand-off area.")
@click.option("--interval", type=float, help="Seconds between live frames.")
@click.option("--width", type=int, help="Pixels; give --height too.")
@click.option("--height", type=int, help="Pixels; give --width too.")
@click.option("--quality", type=int, help="JPEG quality, 1 to 100.")
@click.option("--max-images", type=int, help="How many frames live/ holds.")
@click.option("--test-only", is_flag=True, help="Take, decode and check a new frame without storing it.")
@click.option("--status", is_flag=True, help="Print what the capture process says of itself.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    config_file: Path | None, camera: str | None, *, test_only: bool, status: bool, as_json: bool, **flags: Any
) -> None:
    """Capture images of one camera until stopped."""
    config = load(config_file, camera_flags(flags, camera))
    step_down(config.layout.camera(config.camera(camera)[0]).state)
    service = HostCameraCaptureService(camera=camera, config=config)
    if test_only:
        _print(service.test_capture(), as_json=as_json)
    elif status:
        _print(service.get_capture_status(), as_json=as_json)
    else:
        logs.set_up("host-camera-capture", config.log_level, config.log_file or None)
        os.umask(0o002)
        _stop_on_signals(service)
        service.start_capture()


def _stop_on_signals(service: HostCameraCaptureService) -> None:
    """End after the capture under way; when the camera hangs, break it off before supervisord's patience ends."""

    def stop(*_: object) -> None:
        service.stop_capture()
        signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS)

    def break_off(*_: object) -> NoReturn:
        raise SystemExit(0)  # raised in the main thread, wherever it waits for the camera; what it started is ended

    signal.signal(signal.SIGALRM, break_off)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _print(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        click.echo(f"{key}: {value}")


def main() -> None:
    """Run the command."""
    run_command(command)


if __name__ == "__main__":
    main()

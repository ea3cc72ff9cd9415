# SPDX-License-Identifier: MIT
"""P14, from nothing: `make up` in a copy of a checkout, then starts of what it deployed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from fieldcam.bench.p14_cold_start import start_row, time_noop_start, time_start
from fieldcam.bench.row import NotMeasuredError, Plan, Progress, Row, judge
from fieldcam.bench.samples import summarize
from fieldcam.bench.tree import STOP_SECONDS, free_ports
from fieldcam.bench.waiting import pause
from fieldcam.bench.web import first_frame
from fieldcam.core.config_sources import load
from fieldcam.core.heartbeat import Heartbeat, read_heartbeat

BAR_SECONDS = 90.0
GIVE_UP_SECONDS = 300.0
_LOOK_SECONDS = 0.1
_SLOWEST = 4
_END_LINES = 15
# Not part of a clone: environments, results and what tools leave behind.
_NOT_COPIED = shutil.ignore_patterns(".git", ".venv*", "var", "build", "dist", "*.egg-info", "__pycache__", ".*_cache")
# A make that was started by make would take the words of the first for its own.
_OF_MAKE = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "VAR", "CAMERA", "MEDIA", "PORT", "LOCAL_PORT"}


def measure(plan: Plan, progress: Progress) -> list[Row]:
    """Deploy a copy of the checkout, and start what was deployed.

    Raises:
        NotMeasuredError: there is no checkout, or `make up` failed.
    """
    if plan.checkout is None or not (plan.checkout / "site.yml").is_file():
        raise NotMeasuredError("there is no checkout here to run `make up` in a copy of; start it with `make bench`")
    with tempfile.TemporaryDirectory(prefix="fc-", ignore_cleanup_errors=True) as name:
        copy = Path(name) / "c"
        shutil.copytree(plan.checkout, copy, ignore=_NOT_COPIED, symlinks=True)
        port, local_port = free_ports(2)
        with progress("P14 make up", 2 + plan.starts) as step:
            try:
                up = _Up(copy, port, local_port)
                served = up.run()
                step()
                _make(copy, "down")
                bare = _time_bare_installation(copy, Path(name) / "bare")
                step()
                starts, noops = [], []
                deployed = _Deployed(copy / "var")
                for _ in range(plan.starts):
                    starts.append(time_start(deployed.running, local_port, deployed.beat, lambda: ""))
                    noops.append(time_noop_start())
                    step()
            finally:
                _make(copy, "down")
    return [_row(served, up, bare), start_row("as deployed by make up", starts, summarize(noops))]


def _row(served: float, up: _Up, bare: float) -> Row:
    return Row(
        row="P14",
        what="make up in a fresh copy to first frame served",
        ours=f"{served:.1f} s",
        baseline=f"{bare:.1f} s (venv and pip install of the same packages)",
        ratio=served / bare,
        bar="≤ 90 s",
        verdict=judge(holds=served <= BAR_SECONDS),
        notes=(
            f"make up itself ended after {up.ended_seconds:.1f} s; package caches as they were found; slowest steps: "
            + "; ".join(f"{seconds:.1f} s {line}" for seconds, line in up.slowest()),
        ),
        figures={"frame_served_seconds": served, "make_up_seconds": up.ended_seconds, "bare_install_seconds": bare},
    )


class _Up:
    """One `make up`, with the time of every line it prints."""

    def __init__(self, copy: Path, port: int, local_port: int) -> None:
        self._copy = copy
        self._port = local_port
        self._command = ["make", "up", f"PORT={port}", f"LOCAL_PORT={local_port}"]
        self._lines: list[tuple[float, str]] = []
        self._began = 0.0
        self.ended_seconds = 0.0

    def run(self) -> float:
        """Run it; return the seconds to the first frame served.

        Raises:
            NotMeasuredError: it failed; the message has the end of what it printed.
        """
        self._began = time.monotonic()
        served: float | None = None
        with subprocess.Popen(
            self._command,
            cwd=self._copy,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            reader = threading.Thread(target=self._read, args=(process,), daemon=True)
            reader.start()
            while process.poll() is None and self._elapsed() < GIVE_UP_SECONDS:
                if served is None and first_frame(self._port) is not None:
                    served = self._elapsed()
                pause(_LOOK_SECONDS)
            if process.poll() is None:
                process.terminate()
            status = process.wait()
            reader.join()
        self.ended_seconds = self._elapsed()
        if served is None and status == 0 and first_frame(self._port) is not None:
            served = self._elapsed()
        if status or served is None:
            end = "\n".join(line for _, line in self._lines[-_END_LINES:])
            raise NotMeasuredError(f"make up ended with {status} after {self.ended_seconds:.0f} s:\n{end}")
        return served

    def slowest(self) -> list[tuple[float, str]]:
        """Return the steps that took longest, with their seconds.

        Ansible prints the name of a task before its result, or both at the end of the task; either way the name is
        next to the pause.
        """
        spans = [
            (after - before, (following if following.startswith("TASK") else line)[:70])
            for (before, line), (after, following) in pairwise(self._lines)
        ]
        return sorted(spans, reverse=True)[:_SLOWEST]

    def _read(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            if words := line.strip(" *\n"):
                self._lines.append((self._elapsed(), words))

    def _elapsed(self) -> float:
        return time.monotonic() - self._began


class _Deployed:
    """What `make up` left, started as the role starts it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._file = home / "etc" / "fieldcam.toml"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run its supervisord; stop it at the end."""
        python = self._home / "opt" / "current" / "venv" / "bin" / "python"
        command = [str(python), "-m", "supervisor.supervisord", "--nodaemon", "-c"]
        command.append(str(self._home / "etc" / "supervisord.conf"))
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._home / "lib"),
            "LANG": "C.UTF-8",
            "FIELDCAM_CONFIG": str(self._file),
            "APPLIANCE_REVISION": "bench",  # `make down` knows by it what belongs to the deployment
        }
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(3 * STOP_SECONDS)

    def beat(self) -> Heartbeat | None:
        """Return what its capture process last said."""
        config = load(self._file, environ={})
        return read_heartbeat(config.layout.camera(config.default_camera).heartbeat)


def _time_bare_installation(copy: Path, folder: Path) -> float:
    """Make an environment and install the appliance's packages, with nothing of ours; return the seconds."""
    began = time.monotonic()
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(copy / "locks" / "host.txt")]
    for command in ([sys.executable, "-m", "venv", str(folder)], pip):
        subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - began


def _make(copy: Path, target: str) -> None:
    """Run a target whose failure is not what is measured."""
    subprocess.run(["make", target], cwd=copy, env=_environment(), check=False, capture_output=True)


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in _OF_MAKE}

# SPDX-License-Identifier: MIT
"""An appliance of the benchmark's own: the programs that are deployed, under a supervisord, in temporary folders.

Programs, their order and their environment are those of the role `appliance`; only the paths, the ports and the camera
are the benchmark's.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fieldcam.bench import counters
from fieldcam.bench.row import NotMeasuredError
from fieldcam.bench.waiting import pause
from fieldcam.core.config import Config
from fieldcam.core.config_sources import load
from fieldcam.core.heartbeat import Heartbeat, read_heartbeat
from fieldcam.store.volume import init_volume

T = TypeVar("T")
Settings = Mapping[str, str | int | float]
RAM = Path("/dev/shm")  # noqa: S108 - the one tmpfs every Linux has; folders in it get names of their own
START_SECONDS = 60.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.02
LOG_END_CHARACTERS = 1500

_SUPERVISORD = """\
[unix_http_server]
file={run}/supervisor.sock
chmod=0700

[supervisord]
identifier=fieldcam-bench
pidfile={run}/supervisord.pid
logfile={log}/supervisord.log
nocleanup=true
directory=/

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{run}/supervisor.sock
"""
_PROGRAM = """
[program:{name}]
priority={priority}
command={command}
redirect_stderr=true
stdout_logfile={log}/{name}.log
stdout_logfile_maxbytes=1MB
stdout_logfile_backups=2
directory={state}
umask=002
autorestart=true
startsecs=1
startretries=1000000
stopsignal=TERM
stopwaitsecs=10
killasgroup=true
"""
_WATCHDOG = """
[eventlistener:appliance-watchdog]
priority=50
events=TICK_5
buffer_size=10
command={command}
stderr_logfile={log}/appliance-watchdog.log
directory={state}
autorestart=true
startsecs=1
startretries=1000000
"""


@dataclass(frozen=True, slots=True)
class Tree:
    """A deployed tree.

    Attributes:
        disk: everything that is on a disk is below it.
        run: run_dir.
        file: the configuration file; its supervisord.conf lies beside it.
        port: port of the local listener.
    """

    disk: Path
    run: Path
    file: Path
    port: int

    @property
    def config(self) -> Config:
        """The configuration as the programs read it."""
        return load(self.file, environ={})

    def beat(self) -> Heartbeat | None:
        """Return what the capture process last said."""
        config = self.config
        return read_heartbeat(config.layout.camera(config.default_camera).heartbeat)

    def logs(self) -> str:
        """Return the end of every log."""
        ends = []
        for file in sorted((self.disk / "log").glob("*.log")):
            text = file.read_text(encoding="utf-8", errors="replace")
            ends.append(f"--- {file.name}\n{text[-LOG_END_CHARACTERS:]}")
        return "\n".join(ends)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run supervisord with all programs; they are stopped at the end, whatever happens."""
        command = [
            sys.executable,
            "-m",
            "supervisor.supervisord",
            "--nodaemon",
            "-c",
            str(self.disk / "supervisord.conf"),
        ]
        with (self.disk / "log" / "supervisord.out").open("ab") as out:
            process = subprocess.Popen(command, env=self.environment(), stdout=out, stderr=out, cwd="/")
        try:
            yield process
        finally:
            _stop(process)

    def environment(self) -> dict[str, str]:
        """Return what deployed programs start with, and nothing of the caller's."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.disk / "state"),
            "LANG": "C.UTF-8",
            "FIELDCAM_CONFIG": str(self.file),
        }


@contextmanager
def deployed_tree(camera: Settings, *, handoff_in_ram: bool = False, **settings: str | float) -> Iterator[Tree]:
    """Make a tree in temporary folders with short names: paths of Unix sockets may have 107 bytes only.

    Args:
        camera: keys of the default camera.
        handoff_in_ram: put the hand-off area and run_dir on a tmpfs, as on a Pi.
        settings: further keys of the configuration.

    Raises:
        NotMeasuredError: there is no tmpfs to write to.
    """
    with ExitStack() as stack:
        disk = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fc-", ignore_cleanup_errors=True)))
        fast = disk
        if handoff_in_ram:
            if not (RAM.is_dir() and os.access(RAM, os.W_OK)):
                raise NotMeasuredError(f"{RAM} is no folder that can be written: there is no RAM for the hand-off area")
            fast = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fc-", dir=RAM)))
        folders = {"capture_dir": fast / "handoff", "archive_dir": disk / "archive"}
        folders |= {"run_dir": fast / "run", "state_dir": disk / "state"}
        # Never those of an appliance that runs here.
        folders |= {"ring_dir": fast / "ring", "results_dir": disk / "results"}
        for folder in (*folders.values(), disk / "log"):
            folder.mkdir()
        init_volume(folders["capture_dir"], "handoff")
        init_volume(folders["archive_dir"], "archive")
        port, local_port = free_ports(2)
        values: dict[str, str | float] = {key: str(folder) for key, folder in folders.items()}
        values |= {"port": port, "local_port": local_port, "clock_trust": "assume"}
        # Nobody reads decoded frames here.
        values |= {"live_backing": "tmpfs" if handoff_in_ram else "storage", "ring": "off"} | settings
        file = disk / "fieldcam.toml"
        lines = [_assign(key, value) for key, value in values.items()]
        lines += ["[cameras.default]", *(_assign(key, value) for key, value in camera.items())]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        tree = Tree(disk, folders["run_dir"], file, local_port)
        (disk / "supervisord.conf").write_text(_supervisord_conf(tree), encoding="utf-8")
        yield tree


def wait_until(condition: Callable[[], T | None], what: str, tree: Tree, seconds: float = START_SECONDS) -> T:
    """Look every 20 ms until the condition gives something true, and return it.

    Raises:
        NotMeasuredError: it did not within the time; the message has the end of the logs.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        pause(LOOK_SECONDS)
    raise NotMeasuredError(f"not within {seconds:g} s: {what}\n{tree.logs()}")


def free_ports(number: int) -> list[int]:
    """Return different ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in sockets]


def stop_processes(pids: list[int]) -> None:
    """Kill processes that should have ended by themselves."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _stop(process: subprocess.Popen[bytes]) -> None:
    below = counters.descendants(process.pid)
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        stop_processes(below)


def _supervisord_conf(tree: Tree) -> str:
    log, state = tree.disk / "log", tree.disk / "state"
    python = f'"{sys.executable}"'
    programs = [
        ("image-sync-manager", 100, f'{python} -m fieldcam.cli.image_sync_manager --config "{tree.file}"'),
        ("host-camera-capture", 200, f'{python} -m fieldcam.cli.host_camera_capture --config "{tree.file}"'),
        (
            "capture-api",
            300,
            f'{python} -m gunicorn -c python:fieldcam.api.gunicorn_config "fieldcam.api.main:create()"',
        ),
    ]
    text = _SUPERVISORD.format(run=tree.run, log=log)
    for name, priority, command in programs:
        text += _PROGRAM.format(name=name, priority=priority, command=command, log=log, state=state)
    if importlib.util.find_spec("fieldcam.cli.watchdog") is not None:
        text += _WATCHDOG.format(command=f"{python} -m fieldcam.cli.watchdog", log=log, state=state)
    return text


def _assign(key: str, value: str | float) -> str:
    return f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}"

# SPDX-License-Identifier: MIT
"""The watchdog under a real supervisord: a manager that hangs is restarted, and nothing else is."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance_tree import wait_until

# Beats like the manager does until it is stopped; on TERM it ends at once.
DUMMY = """
import sys, threading
from pathlib import Path
from fieldcam.core.clock import SystemClock
from fieldcam.core.manager_heartbeat import ManagerHeartbeat, write_manager_heartbeat
clock = SystemClock()
while True:
    now = clock.boottime_ns()
    write_manager_heartbeat(Path(sys.argv[1]), ManagerHeartbeat(
        pid=1, boot_id=clock.boot_id(), boottime_ns=now, started_boottime_ns=now, state="running", capture_dir="/c",
        archive_dir="/a", catalog="ok", live_catalog="ok", archive="ok", handoff="ok"))
    threading.Event().wait(0.2)
"""


class Supervisord:
    """A real supervisord with a dummy manager, a dummy capture process and the watchdog."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        run = folder / "run"
        (run / "manager").mkdir(parents=True)
        (folder / "dummy.py").write_text(DUMMY, encoding="utf-8")
        (folder / "fieldcam.toml").write_text(
            f'capture_dir = "{folder}/c"\narchive_dir = "{folder}/a"\nrun_dir = "{run}"\nstate_dir = "{folder}/s"\n',
            encoding="utf-8",
        )
        common = "autorestart=true\nstartsecs=0\nstopwaitsecs=10\n"
        beat = f"{sys.executable} {folder}/dummy.py {run}/manager/heartbeat.json"
        # TICK_5 is the real beat of the watchdog; nothing here is sped up.
        (folder / "supervisord.conf").write_text(
            f"[unix_http_server]\nfile={folder}/s.sock\nchmod=0700\n"
            f"[supervisord]\nnodaemon=true\nlogfile={folder}/supervisord.log\npidfile={folder}/pid\nchildlogdir={folder}\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[supervisorctl]\nserverurl=unix://{folder}/s.sock\n"
            f"[program:image-sync-manager]\ncommand={beat}\n{common}"
            f"[program:host-camera-capture]\ncommand=sleep 1000\n{common}"
            f"[eventlistener:appliance-watchdog]\ncommand={sys.executable} -m fieldcam.cli.watchdog\nevents=TICK_5\n"
            f"stderr_logfile={folder}/watchdog.log\n{common}",
            encoding="utf-8",
        )
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.systemd.bind(f"{folder}/n")
        environment = {
            "NOTIFY_SOCKET": f"{folder}/n",
            "PATH": os.environ["PATH"],
            "FIELDCAM_CONFIG": str(folder / "fieldcam.toml"),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(folder / "supervisord.conf")],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def pids(self) -> dict[str, int]:
        """Return the pid of every program that runs."""
        said = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self.folder / "supervisord.conf"), "status"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        return {name: int(pid) for name, pid in re.findall(r"^(\S+)\s+RUNNING\s+pid (\d+)", said, re.MULTILINE)}

    def log(self) -> str:
        """Return what the watchdog said."""
        file = self.folder / "watchdog.log"
        return file.read_text(encoding="utf-8") if file.exists() else ""


@pytest.fixture
def supervisord() -> Iterator[Supervisord]:
    folder = Path(tempfile.mkdtemp(prefix="fc-"))
    made = Supervisord(folder)
    try:
        yield made
    finally:
        for pid in made.pids().values():
            os.kill(pid, signal.SIGCONT)
        made.systemd.close()
        made.process.terminate()
        try:
            made.process.wait(30)
        except subprocess.TimeoutExpired:
            made.process.kill()
            made.process.wait()
        shutil.rmtree(folder)


@pytest.mark.slow
def test_a_stopped_manager_is_killed_and_comes_back_while_capture_goes_on(supervisord: Supervisord) -> None:
    wait_until(lambda: len(supervisord.pids()) == 3, "all three run", 20)
    assert supervisord.systemd.recv(100) == b"READY=1\nWATCHDOG=1"
    assert supervisord.systemd.recv(100) == b"WATCHDOG=1"  # so the watchdog has seen this manager beat
    before = supervisord.pids()

    os.kill(before["image-sync-manager"], signal.SIGSTOP)
    wait_until(
        lambda: (
            supervisord.pids().get("image-sync-manager", before["image-sync-manager"]) != before["image-sync-manager"]
        ),
        "a new manager runs",
        60,
    )

    after = supervisord.pids()
    assert {name: pid for name, pid in after.items() if name != "image-sync-manager"} == {
        name: pid for name, pid in before.items() if name != "image-sync-manager"
    }
    said = supervisord.log()
    assert "MANAGER_HANGS" in said
    assert "signal=TERM" in said
    assert "signal=KILL" in said
    assert "Traceback" not in said

# SPDX-License-Identifier: MIT
"""`appliance-watchdog`: supervisord's event listener, woken every five seconds.

It tells systemd that the appliance is alive, and it restarts the manager, alone, when the manager runs but its
heartbeat has stopped. systemd would restart the whole unit and with it healthy capture (design section 4). It reads
one small file in `run_dir` and touches no disk, so a disk that hangs cannot hang it.

A hung manager is asked to end and, two rounds later, killed; supervisord starts it again by itself. Stopping it
through supervisord instead would leave it stopped for ever if this listener died between stop and start.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TextIO

from supervisor import childutils
from supervisor.xmlrpc import Faults

from fieldcam.core import logs
from fieldcam.core.clock import Clock, SystemClock
from fieldcam.core.config_sources import load
from fieldcam.core.errors import FieldcamError
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.core.manager_heartbeat import read_manager_heartbeat

MANAGER = "image-sync-manager"
SILENCE_SECONDS = 20.0
START_SECONDS = 60.0  # a Pi that boots from a slow card needs half of that to load Python
TERM_SECONDS = 8.0  # two ticks, and less than supervisord's stopwaitsecs
RPC_SECONDS = 10.0

_log = get_logger(__name__)


class Action(Enum):
    """What to do with the manager."""

    NOTHING = ""
    TERMINATE = "TERM"
    KILL = "KILL"


@dataclass(frozen=True, slots=True)
class Manager:
    """The manager's process as supervisord and this listener know it; times are CLOCK_BOOTTIME in nanoseconds.

    Attributes:
        pid: 0 when it does not run.
        seen_ns: when this listener first saw that pid.
        terminated_ns: when it was asked to end; None = never.
    """

    pid: int
    seen_ns: int
    terminated_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and how long the manager has been silent."""

    action: Action
    silent_seconds: float = 0.0


def judge(manager: Manager, beat_ns: int | None, now_ns: int) -> Verdict:
    """Decide what to do with the manager.

    A heartbeat from before this process was seen is that of the one before; then it is given time to start.

    Args:
        manager: its process.
        beat_ns: CLOCK_BOOTTIME of its last heartbeat in this boot; None = there is none. One from the future does not
            count: it would keep a dead manager alive for ever.
        now_ns: CLOCK_BOOTTIME.
    """
    if manager.pid == 0:
        return Verdict(Action.NOTHING)
    has_beaten = beat_ns is not None and manager.seen_ns < beat_ns <= now_ns
    last_ns = beat_ns if has_beaten and beat_ns is not None else manager.seen_ns
    silent = (now_ns - last_ns) / 1e9
    if silent <= (SILENCE_SECONDS if has_beaten else START_SECONDS):
        return Verdict(Action.NOTHING, silent)
    if manager.terminated_ns is None:
        return Verdict(Action.TERMINATE, silent)
    asked_ago = (now_ns - manager.terminated_ns) / 1e9
    return Verdict(Action.KILL if asked_ago >= TERM_SECONDS else Action.NOTHING, silent)


class Watchdog:
    """Looks at the manager once per tick.

    Args:
        heartbeat: file that the manager rewrites about once a second.
        supervisor: the `supervisor` namespace of supervisord's XML-RPC interface.
        clock: boottime and boot id.
    """

    def __init__(self, heartbeat: Path, supervisor: Any, clock: Clock) -> None:
        self._heartbeat = heartbeat
        self._supervisor = supervisor
        self._clock = clock
        self._manager = Manager(0, 0)
        self._reach_log = StateLog(_log, "SUPERVISOR_UNREACHABLE")

    def look(self) -> None:
        """Restart the manager when it hangs. Trouble with supervisord is logged once; the next tick tries again."""
        try:
            info = self._supervisor.getProcessInfo(MANAGER)
            now_ns = self._clock.boottime_ns()
            pid = int(info["pid"]) if info["statename"] == "RUNNING" else 0
            if pid != self._manager.pid:
                self._manager = Manager(pid, now_ns)
            verdict = judge(self._manager, self._last_beat(), now_ns)
            if verdict.action is not Action.NOTHING:
                self._end(verdict, now_ns)
        except (OSError, childutils.xmlrpclib.Error) as error:
            if getattr(error, "faultCode", None) != Faults.SHUTDOWN_STATE:  # it is being stopped, with all its programs
                self._reach_log.broken(f"supervisord does not answer: {error}")
        else:
            self._reach_log.healed("supervisord answers again")

    def _last_beat(self) -> int | None:
        beat = read_manager_heartbeat(self._heartbeat)
        return beat.boottime_ns if beat is not None and beat.boot_id == self._clock.boot_id() else None

    def _end(self, verdict: Verdict, now_ns: int) -> None:
        _log.event(
            logging.WARNING,
            "MANAGER_HANGS",
            "its heartbeat has stopped, so it is restarted",
            pid=self._manager.pid,
            silent_seconds=round(verdict.silent_seconds),
            signal=verdict.action.value,
        )
        # The time of the first request stands: a KILL is repeated at each tick until the pid is gone.
        asked_ns = self._manager.terminated_ns if self._manager.terminated_ns is not None else now_ns
        self._manager = Manager(self._manager.pid, self._manager.seen_ns, asked_ns)
        self._supervisor.signalProcess(MANAGER, verdict.action.value)


def notify(state: str, address: str) -> None:
    """Tell systemd, as sd_notify(3) does. A socket that is gone or full is not this program's trouble."""
    target = f"\0{address[1:]}" if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(state.encode(), target)
        except OSError:
            return


def listen(watchdog: Watchdog, notify_socket: str, stdin: TextIO, stdout: TextIO) -> None:
    """Answer supervisord's events until it closes the pipe."""
    state = "READY=1\nWATCHDOG=1"
    while True:
        childutils.listener.ready(stdout)
        header = stdin.readline()
        if not header:
            return
        stdin.read(int(childutils.get_headers(header)["len"]))
        if notify_socket:
            notify(state, notify_socket)
            state = "WATCHDOG=1"
        watchdog.look()
        childutils.listener.ok(stdout)


def main() -> None:
    """Wire it up; supervisord starts this with the pipe and its address in the environment."""
    try:
        config = load()
    except FieldcamError as error:
        print(f"error: {error.code}: {error.message}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    logs.set_up("appliance-watchdog", config.log_level)
    if "SUPERVISOR_SERVER_URL" not in os.environ:
        raise SystemExit("appliance-watchdog is started by supervisord, as an event listener")
    socket.setdefaulttimeout(RPC_SECONDS)  # the RPC client of supervisor has no time-out of its own
    supervisor = childutils.getRPCInterface(os.environ).supervisor
    watchdog = Watchdog(config.layout.manager_heartbeat, supervisor, SystemClock())
    listen(watchdog, os.environ.get("NOTIFY_SOCKET", ""), sys.stdin, sys.stdout)


if __name__ == "__main__":
    main()

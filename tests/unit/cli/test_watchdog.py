# SPDX-License-Identifier: MIT
"""Tests for fieldcam.cli.watchdog: when the manager is restarted, and when it is left alone."""

from __future__ import annotations

import io
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldcam.cli.watchdog import Action, Manager, Watchdog, judge, listen, notify
from fieldcam.core.manager_heartbeat import ManagerHeartbeat, write_manager_heartbeat

SECOND = 1_000_000_000
START = 1_000 * SECOND
BOOT = "11111111-1111-4111-8111-111111111111"


class StoppedClock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now_ns = START

    def boottime_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return 0  # whatever depends on wall time would fail

    def boot_id(self) -> str:
        return BOOT


class Supervisor:
    """The part of supervisord's interface that is used, as its documentation describes it."""

    def __init__(self) -> None:
        self.pid = 40
        self.statename = "RUNNING"
        self.signals: list[tuple[str, str]] = []
        self.fails = False

    def getProcessInfo(self, name: str) -> dict[str, Any]:  # noqa: N802 - their name
        if self.fails:
            raise ConnectionRefusedError("no one there")
        return {"name": name, "pid": self.pid, "statename": self.statename}

    def signalProcess(self, name: str, signal: str) -> bool:  # noqa: N802 - their name
        self.signals.append((name, signal))
        return True


class Bench:
    """A watchdog with a stopped clock, a supervisor that notes, and a heartbeat file."""

    def __init__(self, folder: Path) -> None:
        self.clock = StoppedClock()
        self.supervisor = Supervisor()
        self.file = folder / "heartbeat.json"
        self.watchdog = Watchdog(self.file, self.supervisor, self.clock)

    def beat(self, boot_id: str = BOOT) -> None:
        write_manager_heartbeat(
            self.file,
            ManagerHeartbeat(
                pid=self.supervisor.pid,
                boot_id=boot_id,
                boottime_ns=self.clock.now_ns,
                started_boottime_ns=START,
                state="running",
                capture_dir="/c",
                archive_dir="/a",
                catalog="ok",
                live_catalog="ok",
                archive="ok",
                handoff="ok",
            ),
        )

    def ticks(self, count: int, *, beating: bool = False) -> None:
        for _ in range(count):
            self.clock.now_ns += 5 * SECOND
            if beating:
                self.beat()
            self.watchdog.look()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_manager_that_beats_is_left_alone(bench: Bench) -> None:
    bench.ticks(100, beating=True)

    assert bench.supervisor.signals == []


def test_a_manager_whose_heart_stops_is_asked_to_end_within_twenty_five_seconds(bench: Bench) -> None:
    bench.ticks(3, beating=True)

    bench.ticks(4)
    before = list(bench.supervisor.signals)
    bench.ticks(1)

    assert before == []
    assert bench.supervisor.signals == [("image-sync-manager", "TERM")]


def test_one_that_does_not_go_is_killed_and_killed_again(bench: Bench) -> None:
    bench.ticks(3, beating=True)

    bench.ticks(8)

    assert [name for _, name in bench.supervisor.signals] == ["TERM", "KILL", "KILL"]


def test_the_one_that_comes_after_it_gets_time_to_start(bench: Bench) -> None:
    bench.ticks(3, beating=True)
    bench.ticks(5)
    bench.supervisor.pid = 41

    bench.ticks(12)
    within_grace = list(bench.supervisor.signals)
    bench.ticks(2)

    assert [name for _, name in within_grace] == ["TERM"]
    assert [name for _, name in bench.supervisor.signals] == ["TERM", "TERM"]


@pytest.mark.parametrize("statename", ["STOPPED", "STARTING", "STOPPING", "BACKOFF", "FATAL", "EXITED"])
def test_a_manager_that_does_not_run_is_not_the_watchdogs_business(bench: Bench, statename: str) -> None:
    bench.ticks(1, beating=True)
    bench.supervisor.statename = statename

    bench.ticks(100)

    assert bench.supervisor.signals == []


def test_a_heartbeat_of_another_boot_does_not_count(bench: Bench) -> None:
    bench.ticks(1)
    for _ in range(13):
        bench.beat(boot_id="22222222-2222-4222-8222-222222222222")
        bench.ticks(1)

    assert ("image-sync-manager", "TERM") in bench.supervisor.signals


@pytest.mark.parametrize("content", ["", "{", "[]", '{"boottime_ns": 5}', "\x00\x00"])
def test_a_heartbeat_that_is_not_whole_is_no_heartbeat(bench: Bench, content: str) -> None:
    bench.file.write_text(content, encoding="utf-8")

    bench.ticks(14)

    assert ("image-sync-manager", "TERM") in bench.supervisor.signals


def test_trouble_with_supervisord_is_told_once_and_tried_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.supervisor.fails = True
    bench.ticks(5)
    bench.supervisor.fails = False

    with caplog.at_level("INFO"):
        bench.ticks(2, beating=True)

    codes = [record.getMessage().split(":")[0] for record in caplog.records]
    assert codes == ["SUPERVISOR_UNREACHABLE", "SUPERVISOR_UNREACHABLE_OVER"]


@given(seen=st.integers(0, 500), beat=st.none() | st.integers(0, 2_000), now=st.integers(0, 1_000))
def test_whatever_the_times_a_manager_heard_of_in_the_last_twenty_seconds_lives(
    seen: int, beat: int | None, now: int
) -> None:
    now += seen
    beat_ns = None if beat is None else beat * SECOND

    verdict = judge(Manager(7, seen * SECOND), beat_ns, now * SECOND)

    heard_of = max(seen, beat) if beat is not None and beat <= now else seen
    if now - heard_of <= 20:
        assert verdict.action is Action.NOTHING
    if now - heard_of > 60:
        assert verdict.action is Action.TERMINATE


def test_a_beat_from_the_future_does_not_keep_a_dead_manager_alive() -> None:
    verdict = judge(Manager(7, START), START + 10**6 * SECOND, START + 61 * SECOND)

    assert verdict.action is Action.TERMINATE


def test_each_event_is_answered_and_systemd_hears_of_it(bench: Bench, tmp_path: Path) -> None:
    bench.beat()
    address = str(tmp_path / "n")
    event = "ver:3.0 server:fieldcam serial:1 pool:w poolserial:1 eventname:TICK_5 len:15\nwhen:1201063880"
    answers = io.StringIO()

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        listen(bench.watchdog, address, io.StringIO(event + event), answers)
        heard = [systemd.recv(100), systemd.recv(100)]

    assert answers.getvalue() == "READY\nRESULT 2\nOK" * 2 + "READY\n"
    assert heard == [b"READY=1\nWATCHDOG=1", b"WATCHDOG=1"]


def test_a_notify_socket_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    notify("WATCHDOG=1", str(tmp_path / "gone"))


def test_the_heartbeat_that_is_read_is_the_one_the_manager_writes(bench: Bench) -> None:
    bench.beat()

    assert json.loads(bench.file.read_bytes())["boot_id"] == BOOT

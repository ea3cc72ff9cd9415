# SPDX-License-Identifier: MIT
"""A camera tool may do what it likes; we go on, and it does not outlive us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fieldcam.camera import tool
from fieldcam.camera.tool import OUTPUT_KEPT_BYTES, STDERR_KEPT_BYTES, Finished, ToolRunner, find_tool
from fieldcam.core.clock import SystemClock
from fieldcam.core.errors import CameraNotAvailableError, CaptureFailedError, CaptureTimeoutError

CLOCK = SystemClock()


def is_alive(pid: int) -> bool:
    """Return whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.01)
    return True


class Workshop:
    """Makes and runs tools in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runner = ToolRunner(CLOCK)

    def make(self, script: str, name: str = "tool") -> str:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    def run(self, script: str, *args: str, seconds: float = 20) -> Finished:
        deadline_ns = CLOCK.boottime_ns() + int(seconds * 1e9)
        return self.runner.run([self.make(script), *args], cwd=self.folder, deadline_ns=deadline_ns)

    def pid(self, name: str = "pid") -> int:
        """Return the number a tool wrote down."""
        assert eventually(lambda: (self.folder / name).exists() and (self.folder / name).read_text().strip() != "")
        return int((self.folder / name).read_text())


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture(params=["setpriv", "python"])
def each_way_to_die_with_the_parent(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(tool, "_setpriv", lambda: None)


@pytest.mark.usefixtures("each_way_to_die_with_the_parent")
class TestATool:
    def test_gives_its_output_and_its_exit_status(self, workshop: Workshop) -> None:
        finished = workshop.run('echo "$1" "$2"; echo oops >&2; exit 7', "a b", "--help")

        assert finished == Finished(7, b"a b --help\n", "oops\n")

    def test_that_is_killed_gives_its_signal(self, workshop: Workshop) -> None:
        assert workshop.run("kill -SEGV $$").returncode == -signal.SIGSEGV

    def test_runs_in_its_folder_without_input_in_a_group_of_its_own(self, workshop: Workshop) -> None:
        finished = workshop.run("pwd; cat; echo $$; ps -o pgid= -p $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat")

        folder, pid, group = finished.stdout.decode().split()
        assert folder == str(workshop.folder)
        assert pid == group != str(os.getpgrp())

    def test_ends_when_its_parent_is_killed(self, workshop: Workshop, request: pytest.FixtureRequest) -> None:
        sleeper = workshop.make('echo $$ > "$PWD/pid"; exec sleep 300')
        without = "tool._setpriv = lambda: None" if "python" in request.node.name else ""
        program = (
            "from pathlib import Path\nfrom fieldcam.camera import tool\nfrom fieldcam.core.clock import SystemClock\n"
            f"{without}\n"
            f"folder = Path({str(workshop.folder)!r})\n"
            f"tool.ToolRunner(SystemClock()).run([{sleeper!r}], cwd=folder, deadline_ns=1 << 62)"
        )
        parent = subprocess.Popen([sys.executable, "-c", program])
        pid = workshop.pid()

        parent.kill()
        parent.wait()

        assert eventually(lambda: not is_alive(pid))


def test_the_end_of_stderr_is_kept_and_no_more(workshop: Workshop) -> None:
    script = f"{sys.executable} -c 'import os\nfor _ in range(1000): os.write(2, b\"x\" * 100_000)'; echo last >&2"
    started = time.monotonic()

    finished = workshop.run(script)

    assert finished.stderr.endswith("last\n")
    assert len(finished.stderr) <= 2 * STDERR_KEPT_BYTES
    assert time.monotonic() - started < 20


def test_the_beginning_of_stdout_is_kept_and_no_more(workshop: Workshop) -> None:
    finished = workshop.run("echo first; head -c 10000000 /dev/zero")

    assert finished.stdout.startswith(b"first\n")
    assert len(finished.stdout) == OUTPUT_KEPT_BYTES


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("echo $$ > pid; exec sleep 300", id="hangs"),
        pytest.param("trap '' TERM; echo $$ > pid; while :; do sleep 300; done", id="does not heed TERM"),
        pytest.param("echo $$ > pid; kill -STOP $$", id="is stopped"),
        pytest.param("echo $$ > pid; exec yes flood >&2", id="floods stderr for ever"),
        pytest.param("echo $$ > pid; exec >&- 2>&-; exec sleep 300", id="closes its outputs"),
    ],
)
def test_a_tool_is_dead_when_its_deadline_has_passed(workshop: Workshop, script: str) -> None:
    started = time.monotonic()

    with pytest.raises(CaptureTimeoutError):
        workshop.run(script, seconds=1.5)

    assert time.monotonic() - started < 1.5 + 1.0
    assert not is_alive(workshop.pid())


def test_the_last_words_of_a_tool_that_hangs_are_told(workshop: Workshop) -> None:
    with pytest.raises(CaptureTimeoutError, match="it said last: Camera frontend has timed out!"):
        workshop.run("echo 'Camera frontend has timed out!' >&2; sleep 300", seconds=0.6)


def test_what_a_tool_started_dies_with_it(workshop: Workshop) -> None:
    with pytest.raises(CaptureTimeoutError):
        workshop.run("sleep 300 & echo $! > pid; wait", seconds=0.6)

    assert eventually(lambda: not is_alive(workshop.pid()))


def test_a_grandchild_that_holds_the_pipes_is_not_waited_for_and_dies(workshop: Workshop) -> None:
    started = time.monotonic()

    finished = workshop.run("sleep 300 & echo $! > pid; echo done")

    assert finished.stdout == b"done\n"
    assert time.monotonic() - started < 5
    assert eventually(lambda: not is_alive(workshop.pid()))


def test_a_grandchild_in_a_session_of_its_own_is_not_waited_for_either(workshop: Workshop) -> None:
    started = time.monotonic()

    finished = workshop.run("setsid sh -c 'echo $$ > pid; exec yes' & while [ ! -s pid ]; do sleep 0.01; done")
    os.kill(workshop.pid(), signal.SIGKILL)

    assert finished.returncode == 0
    assert time.monotonic() - started < 5


def test_beside_a_tool_that_cannot_be_killed_no_other_is_started(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals: list[signal.Signals] = []
    monkeypatch.setattr(tool, "_signal_group", lambda _pid, number: signals.append(number))
    monkeypatch.setattr(tool, "KILL_SECONDS", 0.2)
    with pytest.raises(CaptureTimeoutError):
        workshop.run("echo $$ > pid; exec sleep 300", seconds=0.6)
    stuck = workshop.pid()

    with pytest.raises(CameraNotAvailableError) as caught:
        workshop.run("touch started")
    was_started = (workshop.folder / "started").exists()
    os.kill(stuck, signal.SIGKILL)
    eventually(lambda: not is_alive(stuck))
    after = workshop.run("touch started")

    assert signals[:2] == [signal.SIGTERM, signal.SIGKILL]
    assert f"pid {stuck}" in caught.value.message
    assert not was_started
    assert after.returncode == 0


def test_a_tool_that_is_not_there_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(
        CameraNotAvailableError, match="rpicam-still is not on the PATH: install the package rpicam-apps"
    ):
        find_tool("rpicam-still", "rpicam-apps")
    with pytest.raises(CameraNotAvailableError, match="does not exist or is not executable"):
        find_tool(str(tmp_path / "rpicam-still"), "rpicam-apps")


def test_a_tool_found_by_a_relative_path_is_found_from_any_folder(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.make("exit 0")
    monkeypatch.chdir(workshop.folder)

    assert find_tool("./tool", "a-package") == str(workshop.folder / "tool")


def test_no_room_for_another_process_is_a_failed_capture(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)

    with pytest.raises(CaptureFailedError, match="Resource temporarily unavailable"):
        workshop.run("exit 0")


def test_a_deadline_that_has_passed_starts_nothing(workshop: Workshop) -> None:
    with pytest.raises(CaptureTimeoutError):
        workshop.run("touch started", seconds=-1)

    assert not (workshop.folder / "started").exists()

# SPDX-License-Identifier: MIT
"""Runs a camera tool, and survives everything it may do instead of taking a picture.

A child has a process group of its own, its outputs are drained whatever it prints, its exit is told by a pidfd (the
wait of the subprocess module polls, up to 50 ms late), and it dies with us. At its deadline the group gets TERM and
then KILL. One that even KILL does not end hangs in the kernel, mostly in the camera's driver: it is remembered, and
nothing new is started beside it.

A child belongs to the thread that started it: the kernel ends it when that thread ends.
"""

from __future__ import annotations

import functools
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fieldcam.core.clock import Clock
from fieldcam.core.errors import CameraNotAvailableError, CaptureFailedError, CaptureTimeoutError

OUTPUT_KEPT_BYTES = 256 * 1024
STDERR_KEPT_BYTES = 16 * 1024
GRACE_SECONDS = 0.5  # between TERM and KILL
KILL_SECONDS = 1.0  # for a killed process to go; a busy machine needs some of it
LONGEST_WAIT_SECONDS = 60.0  # poll(2) takes no more than 24 days
_READ_BYTES = 64 * 1024
_LEFT_OVER_BYTES = 1024 * 1024  # read after the exit; a grandchild may go on writing for ever

# What `setpriv --pdeathsig KILL` does, for systems that lack it.
_DIE_WITH_PARENT = (
    "import ctypes,os,sys;parent=int(sys.argv[1]);ctypes.CDLL(None).prctl(1,9,0,0,0);"
    "os.getppid()==parent or os._exit(1);os.execv(sys.argv[2],sys.argv[2:])"
)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a tool ended.

    Attributes:
        returncode: exit status, or minus the number of the signal that killed it.
        stdout: the beginning of its output.
        stderr: the end of what it said.
    """

    returncode: int
    stdout: bytes
    stderr: str


def find_tool(name: str, package: str) -> str:
    """Return the absolute path of a tool.

    Raises:
        CameraNotAvailableError: it is not there or not executable; the message names the package that brings it.
    """
    found = shutil.which(name)
    if found is None:
        where = "does not exist or is not executable" if "/" in name else "is not on the PATH"
        raise CameraNotAvailableError(f"{name} {where}: install the package {package}", tool=name)
    return str(Path(found).absolute())  # not resolved: some programs look at the name they are called by


class Child:
    """A running tool. All methods are for one thread at a time.

    Args:
        argv: absolute path of the tool and its arguments.
        cwd: working folder.
        on_output: given what it writes to stdout.

    Raises:
        CaptureFailedError: the system has no room for another process.
        CameraNotAvailableError: the tool cannot be started.
    """

    def __init__(self, argv: Sequence[str], cwd: Path, on_output: Callable[[bytes], None]) -> None:
        self.name = Path(argv[0]).name
        try:
            self._process = subprocess.Popen(
                [*_prefix(), *argv],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
            )
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            raise CameraNotAvailableError(f"{argv[0]} cannot be started: {error.strerror}", tool=argv[0]) from None
        except OSError as error:
            raise CaptureFailedError(f"{argv[0]} cannot be started: {error.strerror}") from None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.pid = self._process.pid
        self.returncode: int | None = None
        self._stderr = bytearray()
        self._sinks: dict[int, Callable[[bytes], None]] = {
            self._process.stdout.fileno(): on_output,
            self._process.stderr.fileno(): self._keep_stderr,
        }
        self._poll = select.poll()
        for fd in self._sinks:
            os.set_blocking(fd, False)
            self._poll.register(fd, select.POLLIN)
        self._pidfd = os.pidfd_open(self.pid)
        self._poll.register(self._pidfd, select.POLLIN)

    @property
    def stderr(self) -> str:
        """The end of what it said so far."""
        return self._stderr.decode(errors="replace")

    def pump(self, timeout_seconds: float) -> bool:
        """Drain what it writes, for at most so long and a minute; return whether it has ended."""
        if self.returncode is not None:
            return True
        timeout_ms = round(min(max(timeout_seconds, 0.0), LONGEST_WAIT_SECONDS) * 1000)
        for fd, _ in self._poll.poll(timeout_ms):
            if fd == self._pidfd:
                self._bury()
                return True
            if not self._read(fd):
                self._poll.unregister(fd)
                del self._sinks[fd]
        return False

    def end(self, grace_seconds: float = GRACE_SECONDS) -> bool:
        """End it and what it started: TERM, then KILL. Return False when even that does not help."""
        return self._signal(signal.SIGTERM, grace_seconds) or self._signal(signal.SIGKILL, KILL_SECONDS)

    def _signal(self, number: signal.Signals, patience_seconds: float) -> bool:
        give_up = time.monotonic() + patience_seconds
        if not self.pump(0):
            _signal_group(self.pid, number)
        while not self.pump(give_up - time.monotonic()):
            if time.monotonic() >= give_up:
                return False
        return True

    def _read(self, fd: int) -> int:
        """Read once; return how much came, 0 at the end of the pipe."""
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return -1
        except OSError:
            return 0
        self._sinks[fd](data)
        return len(data)

    def _keep_stderr(self, data: bytes) -> None:
        self._stderr += data
        if len(self._stderr) > 2 * STDERR_KEPT_BYTES:
            del self._stderr[:-STDERR_KEPT_BYTES]

    def _bury(self) -> None:
        """Read the rest, end what is left of the group, and reap."""
        for fd in list(self._sinks):
            rest = _LEFT_OVER_BYTES
            while rest > 0 and (count := self._read(fd)) > 0:
                rest -= count
        # Not reaped yet, so its number cannot belong to anybody else.
        _signal_group(self.pid, signal.SIGKILL)
        self.returncode = self._process.wait()
        os.close(self._pidfd)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self._sinks.clear()


class ToolRunner:
    """Starts camera tools, one after another.

    Args:
        clock: for deadlines.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._stuck: Child | None = None

    def run(self, argv: Sequence[str], *, cwd: Path, deadline_ns: int) -> Finished:
        """Run a tool to its end.

        Args:
            argv: absolute path of the tool and its arguments.
            cwd: working folder.
            deadline_ns: CLOCK_BOOTTIME by which it must have ended; then it is killed.

        Raises:
            CaptureTimeoutError: it had to be killed.
            CaptureFailedError, CameraNotAvailableError: it cannot be started.
        """
        output = bytearray()

        def keep(data: bytes) -> None:
            output.extend(data[: OUTPUT_KEPT_BYTES - len(output)])

        started_ns = self._clock.boottime_ns()
        allowed_seconds = (deadline_ns - started_ns) / 1e9
        if allowed_seconds <= 0:
            raise CaptureTimeoutError(f"{Path(argv[0]).name} was given no time")
        # So much earlier, that it is dead by the deadline when it does not heed TERM.
        grace_seconds = min(GRACE_SECONDS, 0.2 * allowed_seconds)
        term_ns = deadline_ns - int(grace_seconds * 1e9)
        child = self.start(argv, cwd=cwd, on_output=keep)
        try:
            while not child.pump((term_ns - self._clock.boottime_ns()) / 1e9):
                if self._clock.boottime_ns() >= term_ns:
                    seconds = (self._clock.boottime_ns() - started_ns) / 1e9
                    raise CaptureTimeoutError(
                        f"{child.name} was not done after {seconds:.1f} s{_last_words(child.stderr)}"
                    )
        except BaseException:
            self.end(child, grace_seconds)
            raise
        assert child.returncode is not None
        return Finished(child.returncode, bytes(output), child.stderr)

    def start(self, argv: Sequence[str], *, cwd: Path, on_output: Callable[[bytes], None]) -> Child:
        """Start a tool; the caller pumps it, and ends it with `end`.

        Raises:
            CaptureFailedError, CameraNotAvailableError: it cannot be started.
        """
        with self._lock:
            if self._stuck is not None:
                if not self._stuck.pump(0):
                    raise CameraNotAvailableError(
                        f"{self._stuck.name} (pid {self._stuck.pid}) hangs in the kernel and cannot be killed, so no "
                        "other is started: check the camera's cable and power, then reboot",
                        pid=self._stuck.pid,
                    )
                self._stuck = None
        return Child(argv, cwd, on_output)

    def end(self, child: Child, grace_seconds: float = GRACE_SECONDS) -> bool:
        """End a child; one that cannot be killed is remembered. Return whether it has ended."""
        ended = child.end(grace_seconds)
        if not ended:
            with self._lock:
                self._stuck = child
        return ended


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _last_words(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return f"; it said last: {lines[-1][:200]}" if lines else "; it said nothing"


def _prefix() -> tuple[str, ...]:
    """Return the command in front of a tool that makes it die with the thread that started it.

    Not done in the child between fork and exec: Python code there can deadlock in a process with threads.
    """
    setpriv = _setpriv()
    if setpriv is not None:
        return (setpriv, "--pdeathsig", "KILL", "--")
    return (sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()))


@functools.cache
def _setpriv() -> str | None:
    """Return setpriv of util-linux if it is there and knows the option; BusyBox has one that does not."""
    path = shutil.which("setpriv")
    if path is None:
        return None
    try:
        tried = subprocess.run(
            [path, "--pdeathsig", "KILL", "--", path, "--version"], check=False, capture_output=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return path if tried.returncode == 0 else None

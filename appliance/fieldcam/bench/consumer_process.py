# SPDX-License-Identifier: MIT
"""The other end of `consumer.py`: starts a consumer, tells it what to do, and hears what it found."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fieldcam.bench.consumer_kinds import Taken
from fieldcam.bench.counters import PROC
from fieldcam.bench.row import NotMeasuredError

ANSWER_SECONDS = 40.0
STOP_SECONDS = 5.0
_LOG_END_BYTES = 1500


@dataclass(frozen=True, slots=True)
class Stream:
    """What a consumer did while it took one frame after the other.

    Attributes:
        cpu_seconds: processor time of the whole process, threads of the library included.
        seconds: how long it went on.
        ages: of every frame, in seconds, as the library says.
        frame_cpu_seconds: processor time from each frame to the next, waiting included.
    """

    cpu_seconds: float
    seconds: float
    ages: Sequence[float]
    frame_cpu_seconds: Sequence[float]

    @property
    def frames(self) -> int:
        """How many frames it took."""
        return len(self.ages)

    @property
    def cpu_percent(self) -> float:
        """Share of one core."""
        return 100 * self.cpu_seconds / self.seconds


class ConsumerProcess:
    """A consumer that runs; a context manager, which stops it.

    Args:
        kind: one of `consumer_kinds.KINDS`.
        arguments: of that kind.
    """

    def __init__(self, kind: str, *arguments: str | Path) -> None:
        self._kind = kind
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        command = [sys.executable, "-m", "fieldcam.bench.consumer", kind, *map(str, arguments)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0
        )
        self._text = b""

    def __enter__(self) -> Self:
        """Wait until it has opened what it reads."""
        try:
            self._hear()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            NotMeasuredError: it ended; the message says why.
        """
        if self._process.poll() is not None:
            raise NotMeasuredError(self._why("ended"))

    def expect(self, how: str) -> None:
        """Let it wait for one frame; it does when this returns."""
        self._tell(f"take {how}")
        self._hear()

    def taken(self) -> Taken:
        """Return the frame it was waiting for.

        Raises:
            NotMeasuredError: it got none.
        """
        found = self._hear()
        if not found:
            raise NotMeasuredError(f"the consumer ({self._kind}) got no frame")
        return Taken(**found)

    def start_stream(self, how: str) -> None:
        """Let it take one frame after the other."""
        self._tell(f"stream {how}")
        self._hear()

    def stop_stream(self) -> tuple[Stream, dict[str, Any]]:
        """Return what it did, and what the consumer says of itself."""
        self._tell("facts")
        found = Stream(**self._hear())
        return found, self._hear()

    def facts(self) -> dict[str, Any]:
        """Return what the consumer says of itself."""
        self._tell("facts")
        return self._hear()

    def private_bytes(self) -> int:
        """Return the memory it alone has: what is shared with others and with the page cache is not in it."""
        lines = (PROC / str(self.pid) / "smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
        sizes = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
        return 1024 * (sizes["Private_Clean"] + sizes["Private_Dirty"])

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop it as a debugger does; it goes on afterwards."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode("ascii") + b"\n")
        except BrokenPipeError:
            raise NotMeasuredError(self._why("ended")) from None

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + ANSWER_SECONDS
        while b"\n" not in self._text:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                raise NotMeasuredError(self._why(f"said nothing for {ANSWER_SECONDS:g} s"))
            piece = os.read(self._process.stdout.fileno(), 65536)
            if not piece:
                raise NotMeasuredError(self._why("ended"))
            self._text += piece
        line, _, self._text = self._text.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def _why(self, what: str) -> str:
        self._errors.seek(0)
        end = self._errors.read()[-_LOG_END_BYTES:].decode("utf-8", "replace").strip()
        return f"the consumer ({self._kind}) {what}" + (f": {end}" if end else "")

# SPDX-License-Identifier: MIT
"""P14: from the start of supervisord to the first frame that is served."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from fieldcam.bench import noop
from fieldcam.bench.row import NotMeasuredError, Plan, Progress, Row, judge
from fieldcam.bench.samples import Summary, summarize
from fieldcam.bench.tree import START_SECONDS, Settings, deployed_tree, free_ports
from fieldcam.bench.waiting import pause
from fieldcam.bench.web import first_frame, is_healthy
from fieldcam.core.heartbeat import Heartbeat

BAR_SECONDS = 3.0
_LOOK_SECONDS = 0.01

_NOOP_SUPERVISORD = """\
[supervisord]
pidfile={folder}/supervisord.pid
logfile={folder}/supervisord.log
[program:noop]
command={command}
"""


@dataclass(frozen=True, slots=True)
class Start:
    """When what happened, in seconds since supervisord was started.

    Attributes:
        capture_started: the capture process began.
        port_open: the API answered something.
        frame_served: a whole JPEG came out of /video/feed.
        healthy: /health said so, which it does when the capture process has told of a live frame.
    """

    capture_started: float
    port_open: float
    frame_served: float
    healthy: float


def measure(plan: Plan, progress: Progress) -> list[Row]:
    """Measure the start of the benchmark's own tree.

    Raises:
        NotMeasuredError: no frame was served.
    """
    camera: Settings = {"backend": "simulated", "width": plan.live_size[0], "height": plan.live_size[1]}
    starts, bare = [], []
    with deployed_tree(camera) as tree, progress("P14 start to first frame", plan.starts) as step:
        for _ in range(plan.starts):
            starts.append(time_start(tree.running, tree.port, tree.beat, tree.logs))
            bare.append(time_noop_start())
            step()
    return [start_row("this environment", starts, summarize(bare))]


def start_row(whose: str, starts: list[Start], bare: Summary) -> Row:
    """Return the line for several starts."""
    served = summarize([start.frame_served for start in starts])
    middle = sorted(starts, key=lambda start: start.frame_served)[len(starts) // 2]
    return Row(
        row="P14",
        what=f"supervisord start to first frame served, {whose}",
        ours=f"worst {served.max:.2f} s, median {served.median:.2f} s of {served.n}",
        baseline=f"median {bare.median:.2f} s (no-op server)",
        ratio=served.median / bare.median,
        bar="≤ 3 s",
        verdict=judge(holds=served.max <= BAR_SECONDS),
        notes=(
            (
                f"the start in the middle: capture process up after {middle.capture_started:.2f} s, API answers after "
                f"{middle.port_open:.2f} s, frame served after {middle.frame_served:.2f} s, healthy after "
                f"{middle.healthy:.2f} s"
            ),
            "baseline: supervisord starts gunicorn with an application of one line; all files are in the page cache",
        ),
        samples={
            "frame_served_seconds": served,
            "capture_started_seconds": summarize([start.capture_started for start in starts]),
            "healthy_seconds": summarize([start.healthy for start in starts]),
            "port_open_seconds": summarize([start.port_open for start in starts]),
            "noop_seconds": bare,
        },
    )


def time_start(
    running: Callable[[], AbstractContextManager[object]],
    port: int,
    beat: Callable[[], Heartbeat | None],
    logs: Callable[[], str],
) -> Start:
    """Start supervisord, wait for the first frame, and stop it again.

    Args:
        running: starts it, and stops it at the end.
        port: of the local listener.
        beat: reads the heartbeat of the capture process.
        logs: reads the logs, for the message when nothing comes.

    Raises:
        NotMeasuredError: no frame was served within a minute.
    """
    began_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def since(boottime_ns: int) -> float:
        return (boottime_ns - began_ns) / 1e9

    port_open: float | None = None
    with running():
        while since(now := time.clock_gettime_ns(time.CLOCK_BOOTTIME)) < START_SECONDS:
            if port_open is None and noop.answers(port):
                port_open = since(now)
            if port_open is not None and first_frame(port) is not None:
                return _the_rest(port_open, since(time.clock_gettime_ns(time.CLOCK_BOOTTIME)), since, port, beat)
            pause(_LOOK_SECONDS)
        raise NotMeasuredError(f"no frame was served within {START_SECONDS:g} s of the start\n{logs()}")


def _the_rest(
    port_open: float, served: float, since: Callable[[int], float], port: int, beat: Callable[[], Heartbeat | None]
) -> Start:
    """Wait for what comes after the first frame: the capture process says once a second how it is."""
    while (now := since(time.clock_gettime_ns(time.CLOCK_BOOTTIME))) < served + START_SECONDS:
        said = beat()
        if (
            said is not None
            and said.last_frame is not None
            and since(said.started_boottime_ns) > 0
            and is_healthy(port)
        ):
            return Start(since(said.started_boottime_ns), port_open, served, now)
        pause(_LOOK_SECONDS)
    raise NotMeasuredError(f"a frame was served, but the appliance was not healthy {START_SECONDS:g} s later")


def time_noop_start() -> float:
    """Start a supervisord with a server that does nothing; return the seconds to its first answer.

    Raises:
        NotMeasuredError: it did not answer.
    """
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="fc-") as name:
        file = Path(name) / "supervisord.conf"
        file.write_text(_NOOP_SUPERVISORD.format(folder=name, command=" ".join(noop.command(port))), encoding="utf-8")
        began = time.monotonic()
        command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(file)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=name)
        try:
            while (took := time.monotonic() - began) < START_SECONDS:
                if noop.answers(port):
                    return took
                pause(_LOOK_SECONDS)
        finally:
            process.terminate()
            process.wait()
    raise NotMeasuredError("the server that does nothing did not answer")

# SPDX-License-Identifier: MIT
"""R29-R31: no reader ever sees a torn frame, a stopped reader slows nobody, a writer that dies leaves nothing half.

The work is done by ring_harness.py, in a process of its own: it forks, and must have no threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.crash.outcome import Outcome, Progress, no_progress
from tests.crash.ring_harness import FRAMES_BETWEEN_SIZES, MEMORY

ROOT = Path(__file__).resolve().parents[2]


def steps(frames_published: int) -> int:
    """Return how often `frames` tells its progress."""
    return -(-frames_published // FRAMES_BETWEEN_SIZES)


def why_not() -> str | None:
    """Return why the ring cannot be tortured here; None when it can."""
    return None if os.access(MEMORY, os.W_OK) else f"needs {MEMORY}, a tmpfs"


def frames(
    count: int, *, mutant: str | None = None, enough: int | None = None, progress: Progress = no_progress
) -> Outcome:
    """Publish so many frames to several processes, which check each; readers are killed, sizes change."""
    return _run("frames", count, mutant, enough, progress)


def stopped_reader(count: int, *, mutant: str | None = None, progress: Progress = no_progress) -> Outcome:
    """Publish three times so many frames to eight processes; one is stopped, then killed, with a frame held."""
    return _run("stopped", count, mutant, None, progress)


def exact_kills(
    stride: int, *, mutant: str | None = None, enough: int | None = None, progress: Progress = no_progress
) -> Outcome:
    """Kill a writer before every `stride`-th line that it runs for four frames; another one takes over."""
    return _run("exact", stride, mutant, enough, progress)


def random_kills(
    tries: int, *, mutant: str | None = None, enough: int | None = None, progress: Progress = no_progress
) -> Outcome:
    """Kill a writer at random moments; another one takes over."""
    return _run("random", tries, mutant, enough, progress)


def _run(name: str, count: int, mutant: str | None, enough: int | None, progress: Progress) -> Outcome:
    command = [sys.executable, "-m", "tests.crash.ring_harness", name, str(count), mutant or "", str(enough or "")]
    outcome: Outcome | None = None
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line == ".\n":
                    progress()
                else:
                    outcome = Outcome(**json.loads(line))
        finally:
            process.kill()
    if outcome is None:
        raise RuntimeError(f"the harness of the ring ended without an outcome: {' '.join(command)}")
    return outcome

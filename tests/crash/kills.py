# SPDX-License-Identifier: MIT
"""R1 and R3: kill -9 at random moments, and before every system call of a publish. R5 and R6: every call fails once.

A kill loses no page of the kernel's cache, so these harnesses prove the order of the steps, not the flushing.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.crash import inspection
from tests.crash.inspection import Ledger
from tests.crash.outcome import Outcome, Progress, no_progress
from tests.crash.publisher import Job, started
from tests.crash.site import CLOCK_PLANS, CrashClock, Site, read_acks

KILLS_PER_ARCHIVE = 20
MAX_DELAY_SECONDS = 0.12
# The others are killed while they start.
SHARE_AFTER_FIRST_ACK = 0.75
# Everything that changes or flushes a file, and what comes between such calls.
TRACED = "%file,%desc"
# Those that may leave something else on disk. A kill before a call that only reads leaves what a kill before the next
# of these leaves.
CHANGING = frozenset(
    {"openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "renameat2", "link", "unlink", "mkdir", "ftruncate"}
    | {"close", "utimensat"}
)
FULL_CALLS = frozenset({"openat", "write", "mkdir", "rename", "renameat2"})
FAILING_CALLS = FULL_CALLS | {"fsync", "close", "unlink", "utimensat", "read", "getdents64"}
GATE_CALL = "pselect6"  # the publisher waits in it until the tracer is there
MEMORY = Path("/dev/shm")
_CALL = re.compile(r"^\d+\s+(?P<name>[a-z0-9_]+)\(")


class TracerError(Exception):
    """strace did not attach; the message is what it said."""


@dataclass
class Archive:
    """An archive that lives through several crashes.

    Attributes:
        site: where it is.
        folder: of files that are not crashed.
    """

    site: Site
    folder: Path

    def __post_init__(self) -> None:
        self.captures = Ledger()
        self.live = Ledger()

    @property
    def acks(self) -> Path:
        """File of the acknowledgements of the publisher that runs now."""
        return self.folder / "acks"

    def examine(self) -> list[str]:
        """Return what is wrong after a kill; then recover, and return what is wrong after that."""
        fresh = read_acks(self.acks)
        self.acks.unlink(missing_ok=True)
        paths = self.site.paths
        problems = inspection.visible_problems(paths.captures, paths.captures, self.captures)
        problems += inspection.visible_problems(paths.live, paths.metadata, self.live)
        problems += inspection.acknowledged_problems(self.site, self.captures, fresh)
        return problems + inspection.restart(self.site, "boot-0")

    def examine_catalog(self, *, recover: bool = True) -> list[str]:
        """Recover the catalog as the manager does, and return where it differs from the files."""
        problems = inspection.recover_catalog(self.site, CrashClock()) if recover else []
        return problems + inspection.catalog_problems(self.site)


@contextmanager
def fresh_archive(template: Path | None = None, *, below: Path | None = None) -> Iterator[Archive]:
    """Make an archive in a private folder, with an empty catalog or as the template has it."""
    folder = Path(tempfile.mkdtemp(prefix="fc-kill-", dir=below))
    try:
        archive = Archive(Site(folder / "volume", folder / "run"), folder)
        if template is not None:
            shutil.copytree(template, folder, dirs_exist_ok=True)
        else:
            archive.site.deploy()
            inspection.restart(archive.site, "boot-0")
            inspection.recover_catalog(archive.site, CrashClock())
        yield archive
    finally:
        shutil.rmtree(folder)


def random_kills(
    tries: int,
    *,
    mutant: str | None = None,
    enough: int | None = None,
    seed: int = 1,
    progress: Progress = no_progress,
) -> tuple[Outcome, Outcome]:
    """Kill a publisher at random moments; return what that says of R1 and of R3.

    Args:
        tries: how often.
        mutant: a mistake to make.
        enough: end after so many failures.
        seed: of moments and clocks.
        progress: told after every try.
    """
    chance = random.Random(seed)
    files, catalog = Outcome("R1", "kill -9 at a random moment"), Outcome("R3", "catalog after each of these kills")
    started_at = time.monotonic()
    done = 0
    while done < tries and not _enough(enough, files, catalog):
        plan = CLOCK_PLANS[done // KILLS_PER_ARCHIVE % len(CLOCK_PLANS)] if mutant != "name-reused" else "frozen"
        with fresh_archive() as archive:
            for _ in range(min(KILLS_PER_ARCHIVE, tries - done)):
                done += 1
                made = None if mutant == "no-reconcile" else mutant
                job = Job(archive.site, archive.acks, plan, seed=seed * 1_000_000 + done, mutant=made)
                with started(job) as publisher:
                    if chance.random() < SHARE_AFTER_FIRST_ACK:
                        publisher.wait_for_ack(archive.acks)
                    threading.Event().wait(chance.uniform(0.003, MAX_DELAY_SECONDS))
                    publisher.kill()
                    status = publisher.wait()
                died = [] if status == signal.SIGKILL else [f"stopped by itself: wait status {status}"]
                files.acknowledged += len(read_acks(archive.acks))
                files.tried(died + archive.examine())
                catalog.tried(archive.examine_catalog(recover=mutant != "no-reconcile"))
                progress()
                if _enough(enough, files, catalog):
                    break
    if not files.acknowledged:
        files.tried(["nothing was ever acknowledged"])
    files.seconds = catalog.seconds = time.monotonic() - started_at
    return files, catalog


@dataclass(frozen=True, slots=True)
class Frames:
    """What is published under the tracer.

    Attributes:
        count: how many captures, each followed by a live frame.
        record: whether captures are recorded in the catalog, too.
        mutant: a mistake to make.
    """

    count: int = 1
    record: bool = False
    mutant: str | None = None

    def __str__(self) -> str:
        recorded = ", recorded in the catalog" if self.record else ""
        return f"{self.count} capture{'s' * (self.count > 1)} and live frame{'s' * (self.count > 1)}{recorded}"


def exact_kills(
    frames: Frames,
    *,
    calls: frozenset[str] | None = None,
    enough: int | None = None,
    progress: Callable[[int], Progress] = lambda _points: no_progress,
) -> tuple[Outcome, Outcome]:
    """Kill a publisher before each of its system calls in turn; return what that says of R1 and of R3.

    Args:
        frames: what the calls are taken from.
        calls: only these; None = all.
        enough: end after so many failures.
        progress: told how many points there are; what it returns is called after each.

    Raises:
        TracerError: strace could not attach.
    """
    which = "changing or closing a file, " if calls == CHANGING else ""
    files = Outcome("R1", f"kill -9 before each system call {which}of a start with {frames}")
    catalog = Outcome("R3", "catalog after each of these kills")
    began = time.monotonic()
    for archive, where, status in _at_each_point(frames, "signal=KILL", calls, progress):
        missed = [] if status == signal.SIGKILL else [f"the publisher was not killed (wait status {status})"]
        files.acknowledged += len(read_acks(archive.acks))
        problems = [*missed, *archive.examine()]
        catalog.tried(f"before {where}: {text}" for text in archive.examine_catalog())
        files.tried(f"before {where}: {text}" for text in problems + _goes_on(archive))
        if _enough(enough, files):
            break
    files.seconds = catalog.seconds = time.monotonic() - began
    return files, catalog


def exact_errors(
    promise: str,
    error: str,
    calls: frozenset[str],
    *,
    mutant: str | None = None,
    enough: int | None = None,
    progress: Callable[[int], Progress] = lambda _points: no_progress,
) -> Outcome:
    """Let each system call fail in turn; return what that says of R5 (ENOSPC) or R6 (EIO).

    Args:
        promise: R5 or R6.
        error: name of the error.
        calls: which calls fail.
        mutant, enough, progress: as in `exact_kills`.

    Raises:
        TracerError: strace could not attach.
    """
    frames = Frames(mutant=mutant)
    outcome = Outcome(promise, f"{error} from each {', '.join(sorted(calls))} of a start with {frames}")
    began = time.monotonic()
    for archive, where, status in _at_each_point(frames, f"error={error}", calls, progress):
        acks = len(read_acks(archive.acks))
        outcome.acknowledged += acks
        problems = []
        if os.waitstatus_to_exitcode(status) not in {0, 1}:
            problems.append("the error has no name of ours")
        if where.startswith("fsync") and acks:
            problems.append("acknowledged, although its fsync failed")
        if not where.startswith("unlink"):
            problems += inspection.leftovers(archive.site)
        problems += archive.examine() + archive.examine_catalog() + _goes_on(archive)
        outcome.tried(f"{where}: {text}" for text in problems)
        if _enough(enough, outcome):
            break
    outcome.seconds = time.monotonic() - began
    return outcome


def why_no_tracer() -> str | None:
    """Return why strace cannot be used here, or None when it can."""
    if shutil.which("strace") is None:
        return "needs strace on PATH"
    try:
        with fresh_archive() as archive:
            _traced(archive, Frames(), None, None)
    except TracerError as error:
        return f"needs a strace that may attach: {error}"
    return None


def _enough(enough: int | None, *outcomes: Outcome) -> bool:
    return enough is not None and any(outcome.failures >= enough for outcome in outcomes)


def _goes_on(archive: Archive) -> list[str]:
    """Publish on with another process, as supervisord does; return what is wrong after that."""
    with started(Job(archive.site, archive.acks, "frozen", frames=2, seed=2)) as publisher:
        status = publisher.wait()
    problems = [] if status == 0 else [f"the next publisher ended with wait status {status}"]
    return [f"after a restart: {text}" for text in (*problems, *archive.examine())]


def _at_each_point(
    frames: Frames, fault: str, calls: frozenset[str] | None, progress: Callable[[int], Progress]
) -> Iterator[tuple[Archive, str, int]]:
    """Publish once for each system call, with that call at fault; yield the archive, the call and the wait status."""
    # A kill loses nothing of the cache, whatever the file system: the one in RAM is the fastest.
    below = MEMORY if os.access(MEMORY, os.W_OK) else None
    with fresh_archive(below=below) as origin:
        # live/ is full, so that rolling is among the calls; the clock stands still, so that every name is a tie.
        with started(Job(origin.site, origin.acks, "frozen", frames=5)) as publisher:
            if publisher.wait() != 0:
                raise AssertionError("a publisher that is not crashed ends by itself")
        origin.examine()
        origin.examine_catalog()
        with fresh_archive(origin.folder, below=below) as archive:
            trace = archive.folder / "trace"
            _traced(archive, frames, None, trace)
            points = [point for point in _points(trace) if calls is None or point[0] in calls]
        tell = progress(len(points))
        for name, nth in reversed(points):  # mutants are caught in the publish, which comes after the start
            with fresh_archive(origin.folder, below=below) as archive:
                status = _traced(archive, frames, f"inject={name}:{fault}:when={nth}", None)
                yield archive, f"{name} no. {nth}", status
            tell()


def _points(trace: Path) -> Iterator[tuple[str, int]]:
    counts: Counter[str] = Counter()
    for line in trace.read_text(encoding="utf-8", errors="replace").splitlines():
        match = _CALL.match(line)
        if match and match["name"] != GATE_CALL:
            counts[match["name"]] += 1
            yield match["name"], counts[match["name"]]


def _traced(archive: Archive, frames: Frames, inject: str | None, trace: Path | None) -> int:
    """Run a publisher under strace; return its wait status."""
    job = Job(
        archive.site,
        archive.acks,
        "frozen",
        mutant=frames.mutant,
        frames=frames.count,
        record=frames.record,
        gated=True,
    )
    with started(job) as publisher:
        publisher.wait_at_gate()
        command = ["strace", "-f", "-p", str(publisher.pid), "-e", f"trace={TRACED}", "-o", str(trace or "/dev/null")]
        command += ["-e", inject] if inject else []
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            if "attached" not in said:
                tracer.kill()
                raise TracerError(said.strip() or "it ended without a word")
            publisher.open_gate()
            status = publisher.wait()
            tracer.communicate(timeout=30)
        return status

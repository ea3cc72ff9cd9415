# SPDX-License-Identifier: MIT
"""What is done to the frame ring. Runs in a process of its own without threads: `python -m tests.crash.ring_harness`.

Lines of standard output are progress (`.`), and at the end the outcome as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from types import FrameType
from typing import Any

import numpy as np

from fieldcam.handoff import ring_reader
from fieldcam.handoff.ring_writer import RingWriter
from fieldcam.handoff.slot_file import Fill, SlotFile
from fieldcam.handoff.watch import FolderWatch
from tests.crash.outcome import Outcome, Progress
from tests.crash.ring_children import (
    END,
    SIZES,
    Child,
    Say,
    children,
    hold_one,
    make_reader,
    make_writer,
    problems_of,
    publish,
    read_all,
    sidecar,
    wait_for_reader,
)
from tests.crash.ring_mutants import applied

MEMORY = Path("/dev/shm")
READERS = 4
READERS_BESIDE = 7
FRAMES_BETWEEN_SIZES = 250
FRAMES_BETWEEN_KILLS = 2_000
# Slots of all sizes and of every reader, twice.
SLOTS = 4 * READERS
MOVIE_SIZE = (640, 480)
MOVIE_SECONDS = 0.005
ANSWER_SECONDS = 15.0
# The machine has other things to do as well; a writer that waits for a stopped reader waits for ever.
LONGEST_PUBLISH_SECONDS = 2.0
_TRACED = ("/fieldcam/handoff/", "/fieldcam/core/durable.py", "ring_harness.py")


@contextmanager
def ring_folder() -> Iterator[Path]:
    """Make a folder in RAM."""
    folder = Path(tempfile.mkdtemp(prefix="fc-torture-", dir=MEMORY))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


# --- frames ----------------------------------------------------------------------------------------------------------


def write_frames(folder: Path, count: int, say: Say) -> None:
    """Publish as fast as it goes, in sizes that change; say how far it is."""
    writer = make_writer(folder, slots=SLOTS, size=(120, 64))
    wait_for_reader(writer)
    for sequence in range(count):
        publish(writer, sequence, SIZES[sequence // FRAMES_BETWEEN_SIZES % len(SIZES)])
        if sequence % FRAMES_BETWEEN_SIZES == 0:
            say({"at": sequence})
            writer.tidy()
    (folder / END).touch()
    say(dataclasses.asdict(writer.stats))
    say.wait()  # until all readers are gone
    writer.tidy()
    say(dataclasses.asdict(writer.stats))


def frames(count: int, progress: Progress, *, enough: int | None = None, seed: int = 1) -> Outcome:
    """Let several processes read while one writes; readers are killed now and then. A try is a frame published."""
    outcome = Outcome("R29", "ring frames, readers killed, sizes changing")
    dice = random.Random(seed)
    started = time.monotonic()
    problems: list[str] = []
    with (
        ring_folder() as folder,
        children(*(_reader(folder, dice) for _ in range(READERS))) as readers,
        children(partial(write_frames, folder, count)) as (writer,),
    ):
        while (words := writer.hear(ANSWER_SECONDS)) is not None and "at" in words:
            progress()
            problems += _heard(readers, outcome)
            if problems and enough is not None:
                break
            if words["at"] % FRAMES_BETWEEN_KILLS == FRAMES_BETWEEN_KILLS - FRAMES_BETWEEN_SIZES:
                # One and the same place: the other readers are there from the first frame to the last.
                readers[0].end()
                readers[0] = Child(_reader(folder, dice))
        if words is None:
            problems.append("the writer stands still")
        elif "published" in words:
            for reader in readers:
                problems += _heard_to_the_end(reader, outcome)
            writer.go_on()
            last = writer.hear(ANSWER_SECONDS)
            if last is None or last["abandoned_bytes"]:
                problems.append(f"slots of dead readers are not free: {last}")
            outcome.how += f" ({words['published']} published, {outcome.acknowledged} checked)"
    for problem in problems[:enough]:
        outcome.tried([problem])
    if not problems:
        outcome.tries = count
    outcome.seconds = time.monotonic() - started
    return outcome


def _heard(readers: list[Child], outcome: Outcome) -> list[str]:
    """Return what readers said was wrong."""
    problems = []
    for reader in readers:
        while (said := reader.hear(0)) is not None:
            outcome.acknowledged += said["read"]
            problems += said["problems"]
    return problems


def _heard_to_the_end(reader: Child, outcome: Outcome) -> list[str]:
    problems = []
    while (said := reader.hear(ANSWER_SECONDS)) is not None:
        outcome.acknowledged += said["read"]
        problems += said["problems"]
    reader.end()
    return problems


def _reader(folder: Path, dice: random.Random) -> Callable[[Say], None]:
    seed = dice.randrange(2**32)
    return lambda say: read_all(folder, say, seed=seed)


# --- a reader that is stopped ----------------------------------------------------------------------------------------


def write_movie(folder: Path, count: int, say: Say) -> None:
    """Publish at a pace, three times `count` frames; say how long each took."""
    writer = make_writer(folder, slots=24, size=MOVIE_SIZE)
    wait_for_reader(writer)
    sequence = 0
    for _ in range(3):
        seconds = []
        for _ in range(count):
            started = time.monotonic()
            # The time to make the picture is not that of the ring.
            picture = np.full((MOVIE_SIZE[1], MOVIE_SIZE[0], 3), sequence % 251, np.uint8)
            made = time.monotonic()
            writer.publish_pixels(sidecar(sequence, *MOVIE_SIZE), picture)
            ended = time.monotonic()
            seconds.append(ended - made)
            sequence += 1
            time.sleep(max(0.0, MOVIE_SECONDS - (ended - started)))
        writer.tidy()
        say({"seconds": seconds, "last": sequence - 1, "stats": dataclasses.asdict(writer.stats)})
        say.wait()


def watch_movie(folder: Path, say: Say) -> None:
    """Read every frame there is; answer how many of which."""
    reader, watch = make_reader(folder), FolderWatch([folder])
    seen: list[int] = []
    torn: list[str] = []
    while not (folder / END).exists():
        lease = reader.newest(newer_than=seen[-1] if seen else -1)
        if lease is None:
            watch.wait(0.1)
            continue
        with lease:
            seen.append(lease.sequence)
            if not (lease.pixels == lease.sequence % 251).all():
                torn.append(f"torn: frame {lease.sequence}")
    say({"seen": seen, "problems": torn[:5]})


def stopped_reader(count: int, progress: Progress) -> Outcome:
    """Stop one of eight readers while it holds a frame, then kill it. A try is a frame published beside it."""
    outcome = Outcome("R30", "frames beside a stopped reader")
    started = time.monotonic()
    problems: list[str] = []
    phases: list[dict[str, Any]] = []
    with (
        ring_folder() as folder,
        children(*(partial(watch_movie, folder) for _ in range(READERS_BESIDE))) as others,
        children(partial(write_movie, folder, count), partial(hold_one, folder)) as (writer, holder),
    ):
        # It holds one from the beginning, so all three thirds are alike but for the stop and the kill.
        held = folder / f"main-{holder.hear(ANSWER_SECONDS):020d}.slot"
        for third in range(3):
            said = writer.hear(ANSWER_SECONDS + count * MOVIE_SECONDS * 10)
            progress()
            if said is None:
                problems.append("the writer stands still")
                break
            phases.append(said)
            if third == 0:
                holder.send(signal.SIGSTOP)
            elif third == 1:
                holder.send(signal.SIGCONT)
                holder.go_on()
                if holder.hear(ANSWER_SECONDS) is not True:
                    problems.append("the frame that is held was written over")
                holder.end()
            elif held.exists() or said["stats"]["abandoned_bytes"]:
                problems.append("the slot of a killed reader is not free")
            writer.go_on()
        (folder / END).touch()
        for number, other in enumerate(others):
            said = other.hear(ANSWER_SECONDS)
            problems += _movie_problems(number, said, phases, count)
    outcome.tries = count * max(1, len(phases) - 1)
    if len(phases) == 3:
        problems += _slower(phases)
        before, after = (_spread(phase["seconds"]) for phase in phases[:2])
        outcome.how += f" (publish p50/p99: {before} ms before, {after} ms beside it)"
    for problem in problems:
        outcome.failures += 1
        outcome.examples.append(problem)
    outcome.seconds = time.monotonic() - started
    return outcome


def _movie_problems(number: int, said: Any, phases: list[dict[str, Any]], count: int) -> list[str]:
    if said is None:
        return [f"reader {number} does not end"]
    if len(phases) < 3:
        return list(said["problems"])
    beside = sum(phases[0]["last"] < sequence <= phases[1]["last"] for sequence in said["seen"])
    slow = [f"reader {number} saw {beside} of {count} frames beside the stopped one"] if beside < count / 5 else []
    return [*said["problems"], *slow]


def _slower(phases: list[dict[str, Any]]) -> list[str]:
    before, beside = phases[0]["seconds"], phases[1]["seconds"]
    problems = []
    if median(beside) > 3 * median(before) + 0.001:
        problems.append(f"publishing took {median(beside) * 1e3:.1f} ms, {median(before) * 1e3:.1f} ms before")
    if max(beside) > LONGEST_PUBLISH_SECONDS:
        problems.append(f"publishing took {max(beside):.1f} s")
    if phases[1]["stats"]["dropped"]:
        problems.append(f"{phases[1]['stats']['dropped']} frames were left out")
    return problems


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds) * 1e3:.2f}/{quantiles(seconds, n=100)[98] * 1e3:.2f}"


# --- a writer that is killed -----------------------------------------------------------------------------------------


def fill_by_rows(_slot: SlotFile, width: int, height: int, fill: Fill) -> None:
    """Fill a slot row by row, so that a kill may come in the midst."""
    pixels = np.empty((height, width, 3), np.uint8)
    fill(pixels)
    target = _slot._bytes[-pixels.size :].reshape(pixels.shape)
    for row in range(0, height, 4):
        target[row : row + 4] = pixels[row : row + 4]


class Killer:
    """Kills this process before the n-th line of the ring's code; counts when n is None."""

    def __init__(self, line: int | None) -> None:
        self.count = 0
        self._line = line

    def __call__(self, frame: FrameType, event: str, _argument: object) -> Killer | None:
        """Be told of a call or a line."""
        if event == "call":
            return self if any(part in frame.f_code.co_filename for part in _TRACED) else None
        if event == "line":
            self.count += 1
            if self.count == self._line:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def write_until_killed(folder: Path, first: int, line: int | None, say: Say) -> None:
    """Take the ring over and publish four frames, with a look at the slots in between; say each that was published."""
    setattr(SlotFile, "fill", fill_by_rows)  # noqa: B010 - mypy knows no other way to say it
    killer = Killer(line)
    sys.settrace(killer)
    writer: RingWriter = make_writer(folder)
    for sequence in range(first, first + 4):
        published = publish(writer, sequence, SIZES[0])
        say({"sequence": sequence, "published": published})
        if sequence == first + 1:
            writer.tidy()  # the slot it makes is the next to be written
    sys.settrace(None)
    say({"lines": killer.count})


def write_on(folder: Path, first: int, say: Say) -> None:
    """Take the ring over and publish without end, large frames, as fast as it goes."""
    writer = make_writer(folder, size=MOVIE_SIZE)
    sequence = first
    while True:
        if publish(writer, sequence, MOVIE_SIZE):
            say({"sequence": sequence, "published": 1})
        sequence += 1


def inspect(folder: Path, acknowledged: int) -> list[str]:
    """Return what is wrong with a ring whose writer is dead."""
    reader = make_reader(folder)
    problems = []
    for sequence, name in reader._listing():
        try:
            with reader._lease(name, sequence) as lease:
                problems += problems_of(lease)
        except (OSError, ValueError, ring_reader._MovedOnError):
            continue
    newest = reader.newest()
    seen = -1 if newest is None else newest.sequence
    if newest is not None:
        newest.close()
    if seen < acknowledged:
        problems.append(f"lost: frame {acknowledged} was published, {seen} is the newest")
    if reader.newest_sequence() > seen:
        problems.append(f"half: {reader.newest_sequence()} has a name and is no frame")
    reader.close()
    return problems


def _go_on_after(folder: Path, first: int) -> list[str]:
    """Let a new writer take over; return what is wrong then."""
    with children(partial(write_until_killed, folder, first, None)) as (writer,):
        for _ in range(4):
            said = writer.hear(ANSWER_SECONDS)
            if said is None or not said["published"]:
                return [f"the next writer does not go on: {said}"]
        writer.hear(ANSWER_SECONDS)
    problems = inspect(folder, first + 3)
    left = sorted(path.name for path in folder.iterdir() if not path.name.startswith("readers."))
    if len(left) > 3 or any(name.startswith(".") for name in left):
        problems.append(f"left over: {left}")
    return problems


def exact_kills(stride: int, progress: Progress, *, enough: int | None = None) -> Outcome:
    """Kill a writer before every line that it runs. A try is a line.

    Args:
        stride: every how many-th line.
        progress: told of each try.
        enough: end after so many failures.
    """
    outcome = Outcome("R31", "kills before a line of the ring's writer")
    started = time.monotonic()
    with ring_folder() as folder:
        presence = _present(folder)
        sequence = 0
        with children(partial(write_until_killed, folder, sequence, None)) as (writer,):
            said = [writer.hear(ANSWER_SECONDS) for _ in range(5)]
        lines = said[-1]["lines"]
        for line in range(1, lines + 1, stride):
            sequence += 10
            presence.newest()
            with children(partial(write_until_killed, folder, sequence, line)) as (writer,):
                acknowledged = _acknowledged(writer)
            problems = inspect(folder, acknowledged)
            presence.newest()
            sequence += 10
            problems += _go_on_after(folder, sequence)
            outcome.tried(f"line {line}: {problem}" for problem in problems)
            outcome.acknowledged += acknowledged >= 0
            progress()
            if enough is not None and outcome.failures >= enough:
                break
        presence.close()
    outcome.seconds = time.monotonic() - started
    return outcome


def _present(folder: Path) -> ring_reader.RingReader:
    """Return a reader that a writer finds when it starts."""
    make_writer(folder).close()
    reader = make_reader(folder)
    reader.newest()
    return reader


def _acknowledged(writer: Child) -> int:
    """Return the last frame it says was published."""
    last = -1
    while (said := writer.hear(ANSWER_SECONDS)) is not None and "sequence" in said:
        if said["published"]:
            last = said["sequence"]
    return last


def random_kills(tries: int, progress: Progress, *, enough: int | None = None, seed: int = 1) -> Outcome:
    """Kill a writer of large frames at random moments."""
    outcome = Outcome("R31", "kills of the ring's writer at random")
    dice = random.Random(seed)
    started = time.monotonic()
    with ring_folder() as folder:
        presence = _present(folder)
        first = 0
        for _ in range(tries):
            first += 1_000_000
            presence.newest()
            with children(partial(write_on, folder, first)) as (writer,):
                writer.hear(ANSWER_SECONDS)
                time.sleep(dice.random() * 0.02)
                presence.newest()
                writer.send(signal.SIGKILL)
                acknowledged = max(first, _acknowledged(writer))
            outcome.acknowledged += acknowledged - first
            outcome.tried(inspect(folder, acknowledged))
            progress()
            if enough is not None and outcome.failures >= enough:
                break
        presence.close()
    outcome.seconds = time.monotonic() - started
    return outcome


HARNESSES: dict[str, Callable[..., Outcome]] = {
    "frames": frames,
    "stopped": stopped_reader,
    "exact": exact_kills,
    "random": random_kills,
}


def main() -> None:
    """Run one harness: its name, its number of tries, a mutant or an empty word, and how many failures are enough."""
    name, count, mutant, enough = sys.argv[1:]

    def progress() -> None:
        print(".", flush=True)

    options = {"enough": int(enough)} if enough and name != "stopped" else {}
    with applied(mutant or None):
        outcome = HARNESSES[name](int(count), progress, **options)
    print(json.dumps(dataclasses.asdict(outcome)), flush=True)


if __name__ == "__main__":
    main()

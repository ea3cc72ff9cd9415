# SPDX-License-Identifier: MIT
"""R12 and R23: names, order and ages under a clock that stands still, jumps and goes back, across restarts and boots.

The store runs for real; only time is made up, so that ten thousand frames take no longer than their files do.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
import time
from pathlib import Path

from fieldcam.core.clock import Instant
from fieldcam.core.errors import ImageNotFoundError
from fieldcam.core.frame import Kind, Sidecar
from fieldcam.store import reader
from fieldcam.store.live_roll import LiveRoll
from fieldcam.store.volume import Volume
from fieldcam.store.writer import FrameWriter
from tests.crash import mutants
from tests.crash.outcome import Outcome, Progress, no_progress
from tests.crash.site import CAMERA_NUMBER, FROZEN_NS, YEAR_NS, Site, sidecar_of, unique_jpeg

MAX_IMAGES = 20
AGE_TOLERANCE_SECONDS = 0.5
FRAMES_PER_RESTART = 37
FRAMES_PER_BOOT = 211
FRAMES_PER_CAPTURE = 5
DAY_SECONDS = 86_400
EPOCH_NS = 1_000_000_000
YEAR_2038_NS = 2_147_483_648 * 1_000_000_000
# What boards do: no clock chip, NTP at last, the end of 32 bits, a leap second, an hour to and fro.
KNOWN_JUMPS = (EPOCH_NS, FROZEN_NS + 400 * DAY_SECONDS * 10**9, FROZEN_NS - 400 * DAY_SECONDS * 10**9, YEAR_2038_NS)
SHORT_STEPS_NS = (-3_600 * 10**9, 3_600 * 10**9, -(10**9), 10**9)


class SteppedClock:
    """A clock that a test moves: boottime goes on, wall time does what it is told."""

    def __init__(self) -> None:
        self._boot = 0
        self._boottime_ns = 5_000_000_000
        self._wall_ns = FROZEN_NS
        self.frozen = False

    def boottime_ns(self) -> int:
        """Return nanoseconds of CLOCK_BOOTTIME."""
        return self._boottime_ns

    def wall_ns(self) -> int:
        """Return wall time, right or wrong."""
        return self._wall_ns

    def boot_id(self) -> str:
        """Return the name of this boot."""
        return f"boot-{self._boot}"

    def go_on(self, nanoseconds: int) -> None:
        """Let time pass."""
        self._boottime_ns += nanoseconds
        self._wall_ns += 0 if self.frozen else nanoseconds

    def jump(self, chance: random.Random) -> None:
        """Set wall time to another value."""
        kind = chance.randrange(3)
        if kind == 0:
            self._wall_ns = chance.choice(KNOWN_JUMPS)
        elif kind == 1:
            self._wall_ns = max(0, self._wall_ns + chance.choice(SHORT_STEPS_NS))
        else:
            self._wall_ns = FROZEN_NS + chance.randint(-10 * YEAR_NS, 10 * YEAR_NS)

    def reboot(self) -> None:
        """Begin another boot, with wall time as a board without a clock chip finds it: where it was, or earlier."""
        self._boot += 1
        self._boottime_ns = 5_000_000_000
        self._wall_ns -= 3_600 * 10**9


class _Camera:
    """Publishes frames under a stepped clock and remembers what must be true of them."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.clock = SteppedClock()
        self.capture_names: set[str] = set()
        self.boot_names: list[str] = []
        self.last_sequence = -1
        self.start()

    def start(self) -> None:
        """Start as a new process does."""
        layout, paths = self.site.layout, self.site.paths
        boot_id = self.clock.boot_id()
        archive = Volume.open(layout.archive_dir, "archive")
        handoff = Volume.open(layout.capture_dir, "handoff")
        self.captures = FrameWriter.for_captures(archive, paths, CAMERA_NUMBER)
        self.live = FrameWriter.for_live(handoff, paths, durable=False, boot_id=boot_id)
        self.roll = LiveRoll(paths.live, paths.metadata, max_images=MAX_IMAGES, max_bytes=None, boot_id=boot_id)
        self._sequence = self.clock.boottime_ns() // 1_000_000

    def reboot(self) -> list[str]:
        """Boot again; frames of the boot before must not be taken for new ones."""
        self.clock.reboot()
        self.boot_names, self.last_sequence = [], -1
        self.start()
        try:
            frame, _ = reader.newest_frame(*self._live_folders, boot_id=self.clock.boot_id())
        except ImageNotFoundError:
            return []
        return [f"newest: {frame.image.name} of the boot before is shown"]

    def live_frame(self, number: int) -> list[str]:
        """Publish a live frame; return what is wrong then."""
        jpeg, sidecar = self._frame("live", number)
        # As the capture process does.
        self.roll.make_room(len(jpeg))
        stored = self.live.publish(jpeg, sidecar)
        self.roll.added(stored.path, len(jpeg))
        name = stored.sidecar.filename
        problems = [f"name twice: {name}"] if name in self.boot_names else []
        self.boot_names.append(name)
        there = {path.name for path in self.site.paths.live.glob("*.jpg")}
        gone = set(self.boot_names[-MAX_IMAGES:]) - there
        problems += [
            f"deleted: {missing}, although it is among the newest {MAX_IMAGES}" for missing in sorted(gone)[:1]
        ]
        return problems + self._newest_problems(stored.sidecar)

    def capture(self, number: int) -> list[str]:
        """Publish a capture; return what is wrong then."""
        jpeg, sidecar = self._frame("capture", number)
        name = self.captures.publish(jpeg, sidecar).sidecar.filename
        problems = [f"name twice: {name}"] if name in self.capture_names else []
        self.capture_names.add(name)
        return problems

    def capture_count_problems(self) -> list[str]:
        """Return whether captures went away or were overwritten."""
        there = len(list(self.site.paths.captures.glob("*.jpg")))
        made = len(self.capture_names)
        return [] if there == made else [f"deleted: {there} captures are there, {made} names were given"]

    @property
    def _live_folders(self) -> tuple[Path, Path]:
        return self.site.paths.live, self.site.paths.metadata

    def _frame(self, kind: Kind, number: int) -> tuple[bytes, Sidecar]:
        self._sequence += 1
        jpeg = unique_jpeg(f"{kind} {number} {self.clock.boot_id()}")
        digest = hashlib.sha256(jpeg).hexdigest()
        return jpeg, sidecar_of(jpeg, digest, kind, self._sequence, Instant.now(self.clock))

    def _newest_problems(self, made: Sidecar) -> list[str]:
        frame, found = reader.newest_frame(*self._live_folders, boot_id=self.clock.boot_id())
        problems = []
        if found.sequence < self.last_sequence:
            problems.append(f"going back: {frame.image.name} is older than the frame shown before")
        elif found.filename != made.filename:
            problems.append(f"newest: {frame.image.name} is shown, {made.filename} is newer")
        self.last_sequence = max(self.last_sequence, found.sequence)
        return problems

    def age_problems(self, seconds: float, chance: random.Random) -> list[str]:
        """Let time pass, with a jump in it perhaps; return whether the age of the newest frame is the truth."""
        _, newest = reader.newest_frame(*self._live_folders, boot_id=self.clock.boot_id())
        if chance.random() < 0.5:
            self.clock.jump(chance)
        self.clock.go_on(int(seconds * 1e9))
        truth = (self.clock.boottime_ns() - newest.monotonic_ns) / 1e9
        age = Instant.now(self.clock).seconds_since(newest.exposed_at)
        wrong = abs(age - truth) > AGE_TOLERANCE_SECONDS
        return [f"age: {age:.1f} s instead of {truth:.1f} s"] if wrong else []


def clock_jumps(
    frames: int,
    *,
    jumps: int = 50,
    mutant: str | None = None,
    enough: int | None = None,
    seed: int = 1,
    progress: Progress = no_progress,
) -> Outcome:
    """Publish frames under a clock that jumps; return what that says of R12.

    Args:
        frames: how many live frames; every fifth is followed by a capture.
        jumps: about how many times the clock jumps; as often it stands still for a while.
        mutant: a mistake to make.
        enough: end after so many failures.
        seed: of jumps and restarts.
        progress: told after every frame.
    """
    chance = random.Random(seed)
    outcome = Outcome("R12", f"frame under a clock with {jumps} jumps, restarts and reboots among them")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fc-clock-") as folder, mutants.applied(mutant):
        site = Site(Path(folder) / "volume", Path(folder) / "run")
        site.deploy()
        camera = _Camera(site)
        for number in range(1, frames + 1):
            problems = []
            if chance.random() < jumps / frames:
                camera.clock.jump(chance)
            if chance.random() < 2 * jumps / frames:
                camera.clock.frozen = not camera.clock.frozen
            if number % FRAMES_PER_BOOT == 0:
                problems += camera.reboot()
            elif number % FRAMES_PER_RESTART == 0:
                camera.start()
            problems += camera.live_frame(number)
            if number % FRAMES_PER_CAPTURE == 0:
                problems += camera.capture(number)
            if number % FRAMES_PER_RESTART == 1:
                problems += camera.age_problems(chance.uniform(0.0, 20.0), chance)
            camera.clock.go_on(chance.randint(100_000, 2_000_000_000))
            outcome.tried(problems)
            progress()
            if enough is not None and outcome.failures >= enough:
                break
        else:
            if problems := camera.capture_count_problems():
                outcome.failures += 1
                outcome.examples += problems
    outcome.seconds = time.monotonic() - began
    return outcome


def frozen_clock(publishes: int, *, mutant: str | None = None, progress: Progress = no_progress) -> Outcome:
    """Publish while the clock stands still, and as often again after a reboot; return what that says of R23.

    The store has one writer per folder, so all are made by one thread, as in the capture process.
    """
    outcome = Outcome("R23", "publish while the clock stands still, before and after a reboot")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fc-clock-") as folder, mutants.applied(mutant):
        site = Site(Path(folder) / "volume", Path(folder) / "run")
        site.deploy()
        camera = _Camera(site)
        seen: set[str] = set()
        jpeg, sidecar = camera._frame("live", 0)
        for number in range(2 * publishes):
            if number == publishes:
                # Nothing is rolled out here, so not even a name of the boot before may come again.
                camera.reboot()
                jpeg, sidecar = camera._frame("live", number)
            name = camera.live.publish(jpeg, sidecar).sidecar.filename
            outcome.tried([f"name twice: {name}"] if name in seen else [])
            seen.add(name)
            progress()
        there = len(list(site.paths.live.glob("*.jpg")))
        if there != len(seen):
            outcome.failures += 1
            outcome.examples.append(f"overwritten: {there} files, {len(seen)} names")
    outcome.seconds = time.monotonic() - began
    return outcome

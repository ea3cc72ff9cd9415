# SPDX-License-Identifier: MIT
"""P6: what the appliance adds to a capture that somebody asked for.

From the request to the answer an image was exposed, encoded, made durable and got its row. The exposure (here: drawing
the pixels), the encoder and the bare disk are measured on their own, in blocks between the captures, so that neither
runs beside the other; their medians are subtracted from every capture. What is left is ours, and so is every delay
of the disk beyond its own median.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fieldcam.bench import counters
from fieldcam.bench.bare import FLUSHES, write_like_a_capture
from fieldcam.bench.documented_design import Poller, capture_by_spawning
from fieldcam.bench.row import NotMeasuredError, Plan, Progress, Row, Size, judge, milliseconds, size_words
from fieldcam.bench.samples import summarize
from fieldcam.bench.stand_in import StandIn
from fieldcam.bench.tree import Settings, Tree, deployed_tree, wait_until
from fieldcam.bench.web import Client, first_frame, is_healthy

BAR_SECONDS = 0.030
BLOCK = 20
WARM_UP = 5


@dataclass(slots=True)
class Measured:
    """Seconds of everything, for one size; `appliance_cpu` is processor time of all its processes, in all."""

    captures: list[float] = field(default_factory=list)
    draws: list[float] = field(default_factory=list)
    encodes: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    documented: list[float] = field(default_factory=list)
    stand_in_cpu: list[float] = field(default_factory=list)
    appliance_cpu: float = 0.0
    late_rows: int = 0
    image_bytes: int = 0


def measure(plan: Plan, progress: Progress) -> list[Row]:
    """Measure every size.

    Raises:
        NotMeasuredError: the appliance did not start, or a capture failed.
    """
    width, height = plan.sizes[-1]
    # No loop: a live frame under way is a camera that is busy, and that is no overhead.
    camera: Settings = {"backend": "simulated", "mode": "on_demand", "width": width, "height": height}
    rows = []
    with deployed_tree(camera, status_check_interval=3600.0) as tree, tree.running() as supervisor:
        wait_until(lambda: first_frame(tree.port), "the appliance serves a frame", tree)
        wait_until(lambda: is_healthy(tree.port), "the appliance is healthy", tree)
        processes = [supervisor.pid, *counters.descendants(supervisor.pid)]
        for size in plan.sizes:
            with progress(f"P6 {size_words(size)}", plan.captures) as step:
                rows.append(row(size, _measure(tree, processes, size, plan.captures, step)))
    return rows


def _measure(tree: Tree, processes: list[int], size: Size, captures: int, step: Callable[[], None]) -> Measured:
    done = Measured()
    # Beside the archive: on the same disk, or the bare cost would be that of another one.
    with tempfile.TemporaryDirectory(dir=tree.disk) as name, StandIn(size) as stand_in:
        with Client(tree.port) as client:
            client.must("PUT", "/settings", {"resolution": {"width": size[0], "height": size[1]}})
            for _ in range(WARM_UP):
                client.must("POST", "/capture")
        while len(done.captures) < captures:
            number = min(BLOCK, captures - len(done.captures))
            cpu_before = counters.cpu_seconds(processes)
            image = _capture_block(tree, done, number, step)
            done.appliance_cpu += counters.cpu_seconds(processes) - cpu_before
            _measure_the_rest(done, image, Path(name), stand_in, number)
    return done


def _capture_block(tree: Tree, done: Measured, number: int, step: Callable[[], None]) -> Path:
    """Capture number times; return the path of the last image."""
    answer: dict[str, object] = {}
    # A connection per block: the server closes one that nobody used for some seconds.
    with Client(tree.port) as client:
        client.must("GET", "/health")
        for _ in range(number):
            started = time.perf_counter()
            answer = client.must("POST", "/capture")
            done.captures.append(time.perf_counter() - started)
            done.late_rows += answer.get("databaseSaved") is not True
            step()
    return Path(str(answer["filepath"]))


def _measure_the_rest(done: Measured, image: Path, folder: Path, stand_in: StandIn, number: int) -> None:
    """Measure number times what is subtracted, and the documented design, with the image of a real capture."""
    data, sidecar = image.read_bytes(), image.with_suffix(".json").read_bytes()
    done.image_bytes = len(data)
    for _ in range(number):
        picture = stand_in.take()
        done.draws.append(picture.draw_seconds)
        done.encodes.append(picture.encode_seconds)
        done.stand_in_cpu.append(picture.cpu_seconds)
    for _ in range(number):
        done.bare.append(write_like_a_capture(folder, f"bare_{len(done.bare)}", data, sidecar))
    with tempfile.TemporaryDirectory(dir=folder) as documented, Poller(Path(documented)) as poller:
        for index in range(max(1, number // 2)):
            name = f"shot_{index}.jpg"
            done.documented.append(capture_by_spawning(image, Path(documented), name, poller))
    for file in folder.glob("bare_*"):
        file.unlink()


def row(size: Size, done: Measured) -> Row:
    """Return the line of one size.

    Raises:
        NotMeasuredError: the manager wrote no row in time.
    """
    samples = {
        "capture_seconds": summarize(done.captures),
        "draw_seconds": summarize(done.draws),
        "encode_seconds": summarize(done.encodes),
        "bare_disk_seconds": summarize(done.bare),
        "documented_seconds": summarize(done.documented),
    }
    given = {name: samples[name].median for name in ("draw_seconds", "encode_seconds", "bare_disk_seconds")}
    overhead = summarize([seconds - sum(given.values()) for seconds in done.captures])
    documented = summarize(done.documented)
    if done.late_rows == len(done.captures):
        raise NotMeasuredError("no capture had its row when it was answered: the manager does not record")
    notes = [
        (
            f"request to answer: median {milliseconds(samples['capture_seconds'].median)}, "
            f"p99 {milliseconds(samples['capture_seconds'].p99)} ({done.image_bytes / 1e6:.1f} MB, "
            f"{len(done.captures)} captures, no loop); subtracted medians: draw {milliseconds(given['draw_seconds'])}, "
            f"encode {milliseconds(given['encode_seconds'])}, bare disk with {FLUSHES} flushes "
            f"{milliseconds(given['bare_disk_seconds'])} (its p99: {milliseconds(samples['bare_disk_seconds'].p99)})"
        ),
        (
            "baseline: cp spawned per shot, folder polled every 0.1 s, nothing flushed, no row; a real tool takes "
            "1 to 3 s more"
        ),
    ]
    cpu = done.appliance_cpu / len(done.captures)
    stand_in_cpu = summarize(done.stand_in_cpu).median
    notes.append(
        f"processor time of all processes per capture {milliseconds(cpu)}, thumbnail included; drawing and encoding "
        f"take {milliseconds(stand_in_cpu)} of it"
    )
    if done.late_rows:
        notes.append(f"{done.late_rows} answers came before their row")
    return Row(
        row="P6",
        what=f"on-demand capture overhead, {size_words(size)}",
        ours=f"p99 {milliseconds(overhead.p99)}, median {milliseconds(overhead.median)}",
        baseline=f"p99 {milliseconds(documented.p99)}, median {milliseconds(documented.median)}",
        ratio=overhead.p99 / documented.p99,
        bar="p99 ≤ 30 ms",
        verdict=judge(holds=overhead.p99 <= BAR_SECONDS and not done.late_rows),
        notes=tuple(notes),
        samples=dict(samples, overhead_seconds=overhead),
        figures={
            "cpu_seconds_per_capture": cpu,
            "stand_in_cpu_seconds": stand_in_cpu,
            "late_rows": float(done.late_rows),
            "image_bytes": float(done.image_bytes),
        },
    )

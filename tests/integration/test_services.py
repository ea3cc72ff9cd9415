# SPDX-License-Identifier: MIT
"""The reference services as processes of their own, against a capture process that replays a video."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest

from fieldcam.core.result import Beat, Result
from tests.appliance_tree import Tree, deployed_tree, wait_until
from tests.unit.services.road import HEIGHT, WIDTH, Road, traffic

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "appliance" / "container"
FPS = 30  # three for each that is captured, so that a vehicle moves evenly
VIDEO_SECONDS = 20
TRAFFIC_SECONDS = 15


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Return a video of a road, and how many vehicles cross its middle each time it is played.

    The road is empty at both ends: where the video begins again nobody vanishes, and nobody is there at once. The first
    ones drive while the scene is learned, and some hide each other.
    """
    vehicles = traffic(10, TRAFFIC_SECONDS, speeds=(130, 200), every=1.5, starts_at=0.5)
    road = Road(vehicles, VIDEO_SECONDS, seed=10)
    assert max(vehicle.leaves_at for vehicle in vehicles) < VIDEO_SECONDS
    path = tmp_path_factory.mktemp("media") / "road.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for picture, _ in road.frames(FPS, jitter=0):
        writer.write(picture)
    writer.release()
    return path, sum(road.truth().values())


@pytest.fixture(scope="module")
def tree(video: tuple[Path, int]) -> Iterator[Tree]:
    camera = {"backend": "replay", "media": str(video[0]), "interval": 0.1}
    with deployed_tree({"default": camera}) as tree, tree.capture_process():
        yield tree


@dataclass
class Service:
    """A service that runs."""

    process: subprocess.Popen[str]
    results_dir: Path

    def results(self) -> list[Result]:
        return [Result.from_json(path.read_bytes()) for path in sorted(self.results_dir.glob("result_*.json"))]

    def beat(self) -> Beat | None:
        path = self.results_dir / "heartbeat.json"
        return Beat.from_json(path.read_bytes()) if path.exists() else None


@contextmanager
def service(tree: Tree, module: str, results_dir: Path, **environ: str) -> Iterator[Service]:
    """Run a service as its container does: the environment says where everything is."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("FIELDCAM_", "CAMERA_"))}
    given = {
        "CAMERA_CAPTURE_DIR": str(tree.root / "handoff"),
        "CAMERA_RING_DIR": str(tree.root / "ring"),
        "RESULTS_DIR": str(results_dir),
        "RESULT_SECONDS": "1",
        "SKY_STEP_SECONDS": "0.2",
    }
    with subprocess.Popen(
        [sys.executable, "-m", f"services.{module}"],
        env=clean | given | environ,
        cwd=SERVICES,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Service(process, results_dir)
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize(
    ("module", "name"), [("vehicle_counting", "vehicle-counting"), ("sky_analysis", "sky-analysis")]
)
def test_a_service_leaves_results_and_a_heartbeat_and_ends_within_two_seconds(
    tree: Tree, tmp_path: Path, module: str, name: str
) -> None:
    with service(tree, module, tmp_path) as running:
        wait_until(lambda: running.process.poll() is not None or len(running.results()) >= 2, "two results")
        beat = running.beat()
        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        _, said = running.process.communicate(timeout=10)

    assert running.process.returncode == 0, said
    assert time.monotonic() - began < 2
    assert beat is not None
    assert (beat.service, beat.pid) == (name, running.process.pid)
    results = running.results()
    assert all(result.service == name and result.camera == "default" for result in results)
    assert all(result.data["frames"] > 0 and result.data["simulated"] is False for result in results)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(("result_", "heartbeat"))] == []


def test_a_killed_service_goes_on_where_it_is_started_again(tree: Tree, tmp_path: Path) -> None:
    with service(tree, "sky_analysis", tmp_path) as running:
        wait_until(running.results, "a result")
        running.process.kill()
        running.process.wait(10)
    before = running.results()

    with service(tree, "sky_analysis", tmp_path) as running:
        wait_until(lambda: len(running.results()) > len(before), "another result")

    results = running.results()
    assert results[: len(before)] == before
    assert [result.sequence for result in results] == sorted(result.sequence or 0 for result in results)


@pytest.mark.slow
def test_vehicles_of_a_replayed_video_are_counted(video: tuple[Path, int], tree: Tree, tmp_path: Path) -> None:
    rounds = 3
    with service(tree, "vehicle_counting", tmp_path, RESULT_SECONDS="1") as running:
        wait_until(lambda: nobody_came(running), "the road is empty, after the scene was learned", 2 * VIDEO_SECONDS)
        counted_before = total(running)
        start = time.monotonic()
        wait_until(lambda: time.monotonic() - start > rounds * VIDEO_SECONDS, "the rounds", rounds * VIDEO_SECONDS + 20)
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(10)

    truth = rounds * video[1]
    # How exact it is, tests/unit/services says.
    assert abs(total(running) - counted_before - truth) <= max(3, 0.1 * truth)


def nobody_came(running: Service) -> bool:
    """Whether nothing was counted in the last three seconds, after something was."""
    counts = [sum(result.data["counts_since_start"].values()) for result in running.results()[-4:]]
    return len(counts) == 4 and counts[0] == counts[-1] > 0


def total(running: Service) -> int:
    results = running.results()
    counts: dict[str, Any] = dict(results[-1].data["counts_since_start"]) if results else {}
    return sum(counts.values())


def test_a_bad_option_ends_with_its_name_and_the_exit_code_for_configuration(tree: Tree, tmp_path: Path) -> None:
    with service(tree, "vehicle_counting", tmp_path, VEHICLE_LINE="everywhere") as running:
        _, said = running.process.communicate(timeout=20)

    assert running.process.returncode == 78
    assert "VEHICLE_LINE='everywhere'" in said
    assert "Traceback" not in said


def test_without_any_appliance_a_service_waits_and_says_why_once(tree: Tree, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    with service(
        tree, "sky_analysis", results, CAMERA_CAPTURE_DIR=str(tmp_path / "nowhere"), MAX_AGE_SECONDS="1"
    ) as running:
        wait_until(lambda: (beat := running.beat()) is not None and beat.detail["waiting_for"], "it waits")
        running.process.send_signal(signal.SIGTERM)
        _, said = running.process.communicate(timeout=10)

    assert running.process.returncode == 0
    assert said.count("WARNING") == 1
    assert "nowhere" in said
    assert running.results() == []


def test_the_services_need_nothing_but_the_library_numpy_and_opencv(tmp_path: Path) -> None:
    """The image of a consumer has no pydantic, Flask, ZeroMQ or SQLite to import."""
    program = (
        "import sys, json, services.sky_analysis, services.vehicle_counting\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )

    loaded = subprocess.run([sys.executable, "-c", program], cwd=SERVICES, check=True, capture_output=True, text=True)

    assert set(json.loads(loaded.stdout)) & {"pydantic", "flask", "zmq", "click", "sqlite3", "sqlite_utils"} == set()

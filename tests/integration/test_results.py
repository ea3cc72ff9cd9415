# SPDX-License-Identifier: MIT
"""Results from end to end: two consumers, two cameras, a real capture process, a real manager, a real API."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fieldcam import ImageSyncManager
from fieldcam.catalog.result_reader import ResultFilter, ResultReader
from fieldcam.catalog.result_rows import ResultRow
from fieldcam.control import protocol
from fieldcam.control.client import ask
from fieldcam.core.clock import SystemClock
from fieldcam.core.errors import CatalogError
from fieldcam.core.frame import Sidecar
from fieldcam.core.layout import MARKER
from fieldcam.core.manager_heartbeat import read_manager_heartbeat
from fieldcam.manager.processed import iter_processed
from fieldcam.manager.results import MAX_PER_SWEEP, SWEEP_SECONDS
from fieldcam.provider.results import ResultWriter
from fieldcam.store.reader import newest_frame
from fieldcam.store.volume import init_volume
from tests.api_process import Api, api_process, api_tree
from tests.appliance_tree import Tree, deployed_tree, wait_until
from tests.frames_on_disk import as_announcement, put_capture
from tests.requirements import require

MANAGER = "fieldcam.cli.image_sync_manager"
SERVICES = ("sky-analysis", "vehicle-counting")


def folders(tree: Tree) -> None:
    for service in SERVICES:
        tree.config.layout.results(service).mkdir(parents=True, exist_ok=True)


def writer(tree: Tree, service: str, **options: Any) -> ResultWriter:
    return ResultWriter(service, tree.config.layout.results(service), **options)


def rows(tree: Tree) -> list[ResultRow]:
    try:
        found = ResultReader(tree.config.layout.catalog).page(ResultFilter(), limit=1000).rows
    except CatalogError:
        return []
    return sorted(found, key=lambda row: row.id)


def sources(tree: Tree) -> list[Path]:
    return [path for service in SERVICES for path in tree.config.layout.results(service).glob("result_*.json")]


def live_metadata(tree: Tree, camera: str = "default") -> dict[str, Any]:
    paths = tree.paths(camera)
    return newest_frame(paths.live, paths.metadata, boot_id=SystemClock().boot_id())[1].to_dict()


@pytest.fixture(scope="module")
def whole() -> Iterator[Api]:
    """Return an appliance with everything, whose two consumers have said something about both cameras."""
    with ExitStack() as running:
        tree = running.enter_context(api_tree(consumers=",".join(SERVICES), consumer_max_silence=3))
        folders(tree)
        for camera in ("default", "north"):
            running.enter_context(tree.capture_process(camera))
        for service in SERVICES:
            for camera in ("default", "north"):
                for number in range(3):
                    writer(tree, service).write({"number": number}, metadata=live_metadata(tree, camera))
        running.enter_context(tree.process(MANAGER))
        api = running.enter_context(api_process(tree))
        wait_until(lambda: len(rows(tree)) == 12 and not sources(tree), "the results are taken")
        yield api


@pytest.fixture(scope="module")
def token(whole: Api) -> dict[str, str]:
    return whole.bearer()


def listed(api: Api, token: dict[str, str], **query: Any) -> list[dict[str, Any]]:
    """Return all results, page by page."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        answer = api.tokened.get("/api/v1/results", params={"limit": 5, **query, **cursor}, headers=token)
        assert answer.status_code == 200, answer.text
        found += answer.json()["results"]
        if answer.json()["next"] is None:
            return found
        cursor = {"cursor": answer.json()["next"]}


# --- the API ----------------------------------------------------------------------------------------------------------


def test_a_result_about_a_live_frame_is_listed_with_the_documented_fields(whole: Api, token: dict[str, str]) -> None:
    newest = listed(whole, token)[0]

    assert set(newest) == {
        "id", "image_id", "camera", "service", "at", "data", "sequence", "filename", "boot_id", "monotonic_ns",
    }  # fmt: skip
    assert newest["image_id"] is None
    assert newest["data"]["number"] in range(3)
    assert newest["boot_id"] == SystemClock().boot_id()
    assert newest["sequence"] > 0
    assert newest["filename"].endswith(".jpg")


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ({}, 12),
        ({"service": "sky-analysis"}, 6),
        ({"camera": "north"}, 6),
        ({"service": "vehicle-counting", "camera": "default"}, 3),
        ({"service": "nobody"}, 0),
        ({"image_id": 5}, 0),
        ({"until": "2026-01-01T00:00:00Z"}, 0),
        ({"since": "2026-01-01T00:00:00+01:00"}, 12),
    ],
)
def test_filters_and_pages(whole: Api, token: dict[str, str], query: dict[str, Any], number: int) -> None:
    found = listed(whole, token, **query)

    of_the_fixture = [result for result in found if "number" in result["data"]]
    assert len(of_the_fixture) == len({result["id"] for result in of_the_fixture}) == number
    assert [result["at"] for result in found] == sorted((result["at"] for result in found), reverse=True)
    for name, value in query.items():
        if name in {"service", "camera", "image_id"}:
            assert {result[name] for result in found} <= {value}


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"service": "Sky"}, "service"), ({"camera": "nowhere"}, "camera"), ({"image_id": "x"}, "image_id"),
        ({"image_id": 0}, "image_id"), ({"image_id": 2**63}, "image_id"), ({"since": "yesterday"}, "since"),
        ({"until": "2026-01-01T00:00:00"}, "until"), ({"cursor": "x"}, "cursor"), ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"), ({"colour": "red"}, "colour: unknown field"),
    ],
)  # fmt: skip
def test_a_bad_query_is_refused(whole: Api, token: dict[str, str], query: dict[str, Any], says: str) -> None:
    answer = whole.tokened.get("/api/v1/results", params=query, headers=token)

    assert answer.status_code == 422
    assert set(answer.json()) == {"statusCode", "message", "error", "code"}
    assert says in answer.json()["message"]


def test_a_result_about_a_capture_has_its_id_and_acknowledges_it(whole: Api, token: dict[str, str]) -> None:
    tree = whole.tree
    said = whole.local.post("/capture").json()
    sidecar = Sidecar.from_json(Path(said["filepath"]).with_suffix(".json").read_bytes())
    before = ImageSyncManager(config=tree.config).get_system_status()["images_in_queue"]

    writer(tree, "sky-analysis").write({"about": "a capture"}, metadata=sidecar.to_dict())

    found = wait_until(lambda: listed(whole, token, image_id=said["imageId"]), "the result is listed")
    assert [result["data"] for result in found] == [{"about": "a capture"}]
    marker = Path(said["filepath"]).with_suffix(".ack")
    wait_until(marker.exists, "the capture is acknowledged")
    after = ImageSyncManager(config=tree.config).get_system_status()["images_in_queue"]
    assert (before - after, before) == (1, before)


def test_files_in_processed_are_what_is_listed(whole: Api, token: dict[str, str]) -> None:
    tree = whole.tree
    wait_until(lambda: not sources(tree), "everything is taken")

    kept = list(iter_processed(tree.config.layout, tree.config.all_cameras))

    assert {row.id: row.result.to_dict()["data"] for row in kept} == {
        result["id"]: result["data"] for result in listed(whole, token)
    }


def test_consumers_that_are_silent_degrade_the_health_by_name_until_they_speak(
    whole: Api, token: dict[str, str]
) -> None:
    def reasons() -> set[str]:
        told = whole.local.get("/health").json()["reasons"]
        return {reason["message"].split()[0] for reason in told if reason["code"] == "CONSUMER_SILENT"}

    def status() -> dict[str, Any]:
        answer: dict[str, Any] = whole.tokened.get("/api/v1/system/status", headers=token).json()
        return answer

    wait_until(lambda: reasons() == set(SERVICES), "both are silent")
    silent = status()
    writers = [writer(whole.tree, service) for service in SERVICES]
    for one in writers:
        one.beat(force=True)

    wait_until(lambda: reasons() == set(), "both have spoken")
    assert status()["container_accessible"] is True

    def only_the_first_speaks() -> bool:
        writers[0].beat(force=True)
        return reasons() == {"vehicle-counting"}

    wait_until(only_the_first_speaks, "one is silent again")

    assert silent["container_accessible"] is False
    assert silent["health"]["status"] == "degraded"
    assert status()["container_accessible"] is False


def test_without_expected_consumers_containers_are_accessible() -> None:
    with deployed_tree() as tree:
        assert ImageSyncManager(config=tree.config).get_system_status()["container_accessible"] is True


# --- what may happen --------------------------------------------------------------------------------------------------


def test_while_the_archive_is_away_results_wait_and_the_api_says_so() -> None:
    with api_tree() as tree:
        folders(tree)
        marker = tree.config.archive_dir / MARKER
        marker.rename(tree.root / "marker")
        with tree.process(MANAGER), api_process(tree) as api:
            token = api.bearer()
            wait_until(lambda: _manager_says(tree, "archive", "no marker"), "the manager misses the archive")
            for number in range(5):
                writer(tree, "sky-analysis").write({"number": number})
            refused = api.tokened.get("/api/v1/results", headers=token)
            waiting = len(sources(tree))

            (tree.root / "marker").rename(marker)
            wait_until(lambda: len(rows(tree)) == 5 and not sources(tree), "the results are taken")

            assert (refused.status_code, refused.json()["code"], waiting) == (503, "CATALOG_UNAVAILABLE", 5)
            assert [result["data"]["number"] for result in listed(api, token)] == [4, 3, 2, 1, 0]


def _manager_says(tree: Tree, field: str, words: str) -> bool:
    beat = read_manager_heartbeat(tree.config.layout.manager_heartbeat)
    return beat is not None and words in str(getattr(beat, field))


def test_killed_again_and_again_every_result_is_kept_exactly_once() -> None:
    chance = random.Random(5)
    with deployed_tree() as tree:
        folders(tree)
        done = threading.Event()
        written: list[int] = []

        def consume() -> None:
            writers = [writer(tree, service, durable=False) for service in SERVICES]
            while not done.wait(0.05):
                writers[len(written) % 2].write({"number": len(written)})
                written.append(len(written))

        thread = threading.Thread(target=consume)
        thread.start()
        try:
            for _ in range(12):
                seen = len(rows(tree))
                with tree.process(MANAGER) as process:
                    wait_until(lambda seen=seen: len(rows(tree)) > seen, "some are taken")  # type: ignore[misc]
                    threading.Event().wait(chance.random() * 0.05)  # anywhere in the sweep
                    process.kill()
                    process.wait()
        finally:
            done.set()
            thread.join()
        with tree.process(MANAGER):
            wait_until(lambda: not sources(tree), "everything is taken", seconds=60)

        kept = rows(tree)
        assert sorted(row.result.data["number"] for row in kept) == written
        assert sorted(iter_processed(tree.config.layout, ["default"]), key=lambda row: row.id) == kept
        assert "Traceback" not in tree.log("image_sync_manager")
        assert "REJECTED" not in tree.log("image_sync_manager")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_flood_is_taken_in_portions_and_captures_are_recorded_all_the_while() -> None:
    with deployed_tree() as tree:
        folders(tree)
        flood = writer(tree, "sky-analysis", durable=False)
        for number in range(10_000):
            flood.write({"number": number})
        with tree.process(MANAGER):
            wait_until(lambda: len(rows(tree)) >= MAX_PER_SWEEP, "the first portion")
            layout, counts, waits = tree.config.layout, [], []
            deadline = time.monotonic() + 3 * SWEEP_SECONDS
            number = 0
            while time.monotonic() < deadline:
                sidecar = put_capture(tree.config, number)
                began = time.monotonic()
                answer = ask(
                    layout.manager_socket, protocol.RECORD, as_announcement(tree.config, sidecar),
                    timeout_seconds=10, who="manager",
                )  # fmt: skip
                waits.append(time.monotonic() - began)
                assert answer["recorded"]
                number += 1
                counts.append(len(sources(tree)))
                threading.Event().wait(0.05)

        taken = [earlier - later for earlier, later in pairwise(counts)]
        assert 3 * MAX_PER_SWEEP <= 10_000 - counts[-1] <= 5 * MAX_PER_SWEEP
        assert max(taken) <= MAX_PER_SWEEP
        assert max(waits) < 1.0, "a capture waits one second for its row"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_sweep_costs_the_card_no_more_than_it_is_said_to() -> None:
    """One result a minute from two consumers: bytes the manager writes to disk, with the hand-off area in RAM."""
    require(Path("/dev/shm").is_dir(), "needs /dev/shm")
    ram = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        for name in ("handoff", "run"):
            (ram / name).mkdir()
        init_volume(ram / "handoff", "handoff")
        with deployed_tree(capture_dir=str(ram / "handoff"), run_dir=str(ram / "run"), live_backing="tmpfs") as tree:
            folders(tree)
            writers = [writer(tree, service) for service in SERVICES]
            writers[0].write({"number": -1})
            with tree.process(MANAGER) as process:
                wait_until(lambda: len(rows(tree)) == 1 and not sources(tree), "the first is taken")
                # One commit writes 40 to 130 kB, as pages are split or not: few of them would prove little.
                before, sweeps = written_bytes(process), 10
                for number in range(sweeps):
                    for one in writers:
                        one.write({"cloud_cover": 0.25, "stars": 14, "verdict": "partly cloudy", "number": number})
                    wait_until(_taken(tree, 1 + 2 * (number + 1)), "both are taken", seconds=30)
                per_sweep = (written_bytes(process) - before) / sweeps
        require(per_sweep > 0, "needs a temporary folder on a disk; set TMPDIR")
        # Both in one sweep: 60 an hour. Always in different ones: 120.
        print(f"{per_sweep:.0f} bytes a sweep, {60 * per_sweep / 1e6:.1f} to {120 * per_sweep / 1e6:.1f} MB an hour")
        assert per_sweep < 120_000
    finally:
        shutil.rmtree(ram)


def _taken(tree: Tree, number: int) -> Callable[[], bool]:
    return lambda: len(rows(tree)) >= number and not sources(tree)


def written_bytes(process: subprocess.Popen[bytes]) -> int:
    facts = dict(line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
    return int(facts["write_bytes"])


def test_the_end_of_the_manager_leaves_what_is_not_taken_where_it_is() -> None:
    with deployed_tree() as tree:
        folders(tree)
        flood = writer(tree, "sky-analysis", durable=False)
        for number in range(500):
            flood.write({"number": number})
        with tree.process(MANAGER) as process:
            wait_until(lambda: len(rows(tree)) > 0, "the first portion")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0

        waiting = {int(path.name[7:27]) for path in sources(tree)}
        assert len(waiting) >= 300
        assert len(rows(tree)) == MAX_PER_SWEEP
        assert "Traceback" not in tree.log("image_sync_manager")

# SPDX-License-Identifier: MIT
"""The whole: a camera that replays footage, both shipped services in containers, and their results at the API."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import pytest

from tests.api_process import Api, api_process, free_ports
from tests.appliance_tree import wait_until
from tests.docker.conftest import Site, make_site
from tests.docker.consumers import SERVICES, SKY, VEHICLES, compose_command
from tests.requirements import require
from tests.unit.services.road import Road, traffic

pytestmark = [
    pytest.mark.docker,
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(180),
]

FPS = 8
FOOTAGE_SECONDS = 24.0
RESULT_SECONDS = 6


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of photos of a road, taken one after another."""
    folder = tmp_path_factory.mktemp("footage")
    road = Road(traffic(7, FOOTAGE_SECONDS, speeds=(90, 130)), FOOTAGE_SECONDS)
    for number, (picture, _) in enumerate(road.frames(FPS, jitter=0)):
        cv2.imwrite(str(folder / f"{number:04d}.jpg"), picture)
    return folder


@pytest.fixture(scope="module")
def whole(image: str, refused_limits: dict[str, str], footage: Path) -> Iterator[tuple[Site, Api]]:
    """Run capture, manager, API and both containers."""
    require(compose_command(), "needs docker compose, or docker-compose")
    camera = {"backend": "replay", "media": str(footage), "interval": 1 / FPS}
    local_port, port = free_ports(2)
    with (
        make_site(
            image, refused_limits, cameras={"default": camera}, local_port=local_port, port=port,
            consumers=",".join(SERVICES), check_interval=1.0,
        ) as site,
        site.tree.capture_process(),
        site.tree.process("fieldcam.cli.image_sync_manager"),
        api_process(site.tree) as api,
    ):  # fmt: skip
        site.consumers.environ = {
            **site.consumers.environ,
            "RESULT_SECONDS": str(RESULT_SECONDS),
            "SKY_STEP_SECONDS": "0.5",
        }
        site.consumers.up(*SERVICES)
        yield site, api


def results(api: Api, service: str) -> list[dict[str, Any]]:
    """Return what the API has of a service, newest first."""
    answer: httpx.Response = api.tokened.get(
        "/api/v1/results", params={"service": service}, headers=api.bearer("viewer", f"test-{service}")
    )
    assert answer.status_code == 200, answer.text
    page: list[dict[str, Any]] = answer.json()["results"]
    return page


def test_vehicles_are_counted_in_a_container_and_the_api_tells(whole: tuple[Site, Api]) -> None:
    _, api = whole

    def crossings() -> int:
        return sum(result["data"]["total"] for result in results(api, VEHICLES))

    wait_until(lambda: crossings() >= 3, "vehicles crossed", 90)

    newest = results(api, VEHICLES)[0]
    assert newest["camera"] == "default"
    assert newest["data"]["analysis"] == "vehicle_count"
    assert newest["data"]["simulated"] is False
    assert newest["data"]["frames"] >= RESULT_SECONDS * FPS / 2
    assert newest["sequence"] > 0


def test_the_sky_is_judged_in_a_container_and_the_api_tells(whole: tuple[Site, Api]) -> None:
    _, api = whole

    wait_until(lambda: results(api, SKY), "a result about the sky", 60)

    newest = results(api, SKY)[0]
    assert newest["data"]["analysis"] == "sky"
    assert newest["data"]["frames"] >= 3
    assert 0 <= newest["data"]["sky_fraction"] <= 1


def test_both_are_healthy_by_the_shipped_check_and_log_no_trouble(whole: tuple[Site, Api]) -> None:
    site, _ = whole

    for service in SERVICES:
        wait_until(
            lambda name=service: site.consumers.inspect(name)["State"]["Health"]["Status"] == "healthy",  # type: ignore[misc]
            f"{service} is healthy",
            60,
        )
        about = site.consumers.inspect(service)
        assert (about["RestartCount"], about["State"]["OOMKilled"]) == (0, False)


def test_the_appliance_misses_a_consumer_that_is_stopped_and_has_it_back(whole: tuple[Site, Api]) -> None:
    site, _ = whole

    def accessible() -> bool:
        command = [sys.executable, "-m", "fieldcam.cli.image_sync_manager", "--config", str(site.tree.file)]
        done = subprocess.run([*command, "--status", "--json"], check=False, capture_output=True, text=True)
        return bool(json.loads(done.stdout)["container_accessible"])

    wait_until(accessible, "both are there", 60)
    kept = results(whole[1], VEHICLES)
    site.consumers.compose("stop", SKY)
    (site.results(SKY) / "heartbeat.json").unlink()  # as after a minute of silence
    wait_until(lambda: not accessible(), "one is missed", 30)
    site.consumers.compose("start", SKY)
    wait_until(accessible, "both are there again", 30)

    assert {result["id"] for result in kept} <= {result["id"] for result in results(whole[1], VEHICLES)}

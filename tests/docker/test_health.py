# SPDX-License-Identifier: MIT
"""Docker's view of a consumer: its HEALTHCHECK follows the heartbeat, which stops with the work."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.appliance_tree import wait_until
from tests.docker.conftest import Site
from tests.docker.consumers import SKY, docker

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.slow]

CHECK = ("python", "-m", "fieldcam.provider.check_consumer")
# The shipped check with shorter times: a test has no two minutes to watch.
QUICK = {
    "test": ["CMD", *CHECK, "--max-silence", "3"],
    "interval": "1s",
    "timeout": "10s",
    "retries": 2,
    "start_period": "1s",
}


def health(site: Site) -> str:
    """Return what Docker thinks of the container."""
    status: str = site.consumers.inspect(SKY)["State"]["Health"]["Status"]
    return status


def worker(site: Site) -> int | None:
    """Return the process of the program, as the host numbers it: the only child of the container's init."""
    init = site.consumers.inspect(SKY)["State"]["Pid"]
    try:
        children = Path(f"/proc/{init}/task/{init}/children").read_text(encoding="ascii").split()
    except FileNotFoundError:  # between two starts
        return None
    return int(children[0]) if children else None


def test_a_program_that_hangs_is_unhealthy_and_healthy_again_when_it_goes_on(site: Site) -> None:
    site.consumers.commands = {SKY: ("python", "/programs/beat.py")}
    site.consumers.changes = {SKY: {"healthcheck": QUICK}}
    site.consumers.up(SKY)
    wait_until(lambda: health(site) == "healthy", "healthy", 30)

    process = worker(site)
    assert process
    os.kill(process, signal.SIGSTOP)
    wait_until(lambda: health(site) == "unhealthy", "unhealthy", 30)
    os.kill(process, signal.SIGCONT)
    wait_until(lambda: health(site) == "healthy", "healthy again", 30)


def test_the_image_carries_that_check_and_it_passes_while_the_program_beats(site: Site, image: str) -> None:
    shipped = json.loads(docker("image", "inspect", image))[0]["Config"]["Healthcheck"]
    site.consumers.commands = {SKY: ("python", "/programs/beat.py")}
    site.consumers.up(SKY)

    assert shipped["Test"] == ["CMD", *CHECK]
    wait_until((site.results(SKY) / "heartbeat.json").exists, "it beats", 20)
    assert "spoke" in site.consumers.execute(SKY, *CHECK)


def test_the_check_fails_when_nothing_ever_beat(site: Site) -> None:
    with pytest.raises(AssertionError, match="no heartbeat in /results yet"):
        site.consumers.run(SKY, *CHECK)


def test_a_program_that_ends_is_started_again(site: Site) -> None:
    site.consumers.commands = {SKY: ("python", "/programs/beat.py")}
    site.consumers.up(SKY)
    first = wait_until(lambda: worker(site), "it runs")

    os.kill(first, signal.SIGKILL)

    second = wait_until(lambda: worker(site) not in {None, first} and worker(site), "Docker starts it again", 30)
    assert second != first
    assert site.consumers.inspect(SKY)["RestartCount"] >= 1


def test_it_stops_at_once_when_it_is_told_to(site: Site) -> None:
    site.consumers.commands = {SKY: ("python", "/programs/beat.py")}
    site.consumers.up(SKY)
    container = site.consumers.container(SKY)

    docker("stop", "--time", "10", container)

    assert json.loads(docker("inspect", container))[0]["State"]["ExitCode"] == 128 + signal.SIGTERM

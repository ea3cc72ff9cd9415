# SPDX-License-Identifier: MIT
"""The image, built once a session, and an appliance on this machine whose frames the containers read."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.appliance_tree import CAMERAS, Tree, deployed_tree
from tests.docker.consumers import ROOT, SERVICES, USER, Consumers, compose_command, docker
from tests.requirements import require, require_commands, require_docker, require_root

BUILD_TRIES = 3  # somebody saving a file of the checkout meanwhile is told to run it again


@pytest.fixture(scope="session")
def base() -> Iterator[str]:
    """Yield a bare Debian with python3, in place of python:3.x-slim; at the end see that no container is left."""
    require_root()
    require_docker()
    require_commands("mmdebstrap")
    make = [str(ROOT / "tools" / "make_image"), "consumer"]
    yield subprocess.run(make, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    assert not docker("ps", "--all", "--quiet", "--filter", "name=^fc[0-9a-f]{8}")


@pytest.fixture(scope="session")
def build_image(base: str) -> Callable[[str, str], str]:
    """Return what builds the image of this checkout under a name, from a lock."""

    def build(tag: str, lock: str) -> str:
        command = [sys.executable, str(ROOT / "tools" / "container_image.py"), "--base", base, "--tag", tag]
        complaint = ""
        for _ in range(BUILD_TRIES):
            done = subprocess.run(
                [*command, "--lock", str(ROOT / "locks" / lock)], check=False, capture_output=True, text=True
            )
            if done.returncode == 0:
                return tag
            complaint = f"{done.stdout}\n{done.stderr}"
        raise AssertionError(f"{tag}: {complaint}")

    return build


@pytest.fixture(scope="session")
def image(build_image: Callable[[str, str], str]) -> str:
    """Return the image of the consumers."""
    return build_image("fieldcam/consumer:tests", "vision.txt")


@pytest.fixture(scope="session")
def refused_limits(base: str) -> dict[str, str]:
    """Return the limits that this kernel cannot apply, with what to set instead: it is said which, the rest holds."""
    refused = {}
    for name, option in (("mem_limit", "--memory=64m"), ("pids_limit", "--pids-limit=64")):
        done = subprocess.run(
            ["docker", "run", "--rm", "--network", "none", option, base, "true"],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode or "discarded" in done.stderr:
            refused[name] = done.stderr.strip()
    return refused


@dataclass
class Site:
    """An appliance and its consumers.

    Attributes:
        tree: the appliance.
        consumers: to start containers with.
        ring: the tmpfs of decoded frames.
    """

    tree: Tree
    ring: Path
    consumers: Consumers
    others: list[Consumers] = field(default_factory=list)

    @property
    def area(self) -> Path:
        """The hand-off area."""
        return self.tree.config.capture_dir

    def results(self, service: str) -> Path:
        """Return the folder that a service may write to."""
        return self.tree.config.layout.results(service)

    def more_consumers(self, **environ: str) -> Consumers:
        """Return further consumers of the same appliance, which see it with other variables."""
        more = Consumers(self.tree.root, {**self.consumers.environ, **environ})
        self.others.append(more)
        return more


@contextmanager
def tmpfs(folder: Path, options: str = "size=64m,mode=755") -> Iterator[Path]:
    """Mount a tmpfs for as long as the block lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "fieldcam-test", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False, stderr=subprocess.DEVNULL)


@contextmanager
def make_site(image: str, refused_limits: dict[str, str], **settings: Any) -> Iterator[Site]:
    """Deploy an appliance whose ring is on a tmpfs of its own; nothing runs yet."""
    cameras = settings.pop("cameras", {"default": CAMERAS["default"]})
    with (
        tempfile.TemporaryDirectory(prefix="fc-ring-") as scratch,
        tmpfs(Path(scratch) / "ring") as ring,
        tmpfs(Path(scratch) / "results", "size=8m,mode=755") as results,  # in RAM heartbeats come once a second
    ):
        values = {"ring": "on", "ring_dir": str(ring), "results_dir": str(results)} | settings
        with deployed_tree(cameras, **values) as tree:
            for service in SERVICES:
                folder = results / service
                folder.mkdir(parents=True)
                os.chown(folder, USER, -1)
                folder.chmod(0o2770)
            environ = {
                "CONSUMER_IMAGE": image,
                "CAMERA_CAPTURE_DIR": str(tree.config.capture_dir),
                "CAMERA_RING_DIR": str(ring),
                "CAMERA_RESULTS_DIR": str(results),
                "CONSUMER_MEMORY": "0" if "mem_limit" in refused_limits else "256m",
            }
            consumers = Consumers(tree.root, environ)
            if "pids_limit" in refused_limits:
                consumers.changes = {service: {"pids_limit": -1} for service in SERVICES}
            site = Site(tree, ring, consumers)
            try:
                yield site
            finally:
                for each in (consumers, *site.others):
                    each.down()


@pytest.fixture
def site(image: str, refused_limits: dict[str, str]) -> Iterator[Site]:
    """Deploy an appliance with one simulated camera."""
    require(compose_command(), "needs docker compose, or docker-compose")
    with make_site(image, refused_limits) as made:
        yield made

# SPDX-License-Identifier: MIT
"""Consumers in containers, started from the shipped compose file, so that its limits are what is tested."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.appliance_tree import wait_until

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "appliance" / "container" / "compose.yaml"
PROGRAMS = Path(__file__).parent / "programs"
SKY, VEHICLES = "sky-analysis", "vehicle-counting"
SERVICES = (SKY, VEHICLES)
USER = 10001


@functools.cache
def compose_command() -> tuple[str, ...] | None:
    """Return `docker compose` (v2), or `docker-compose` (1.29 on Debian 12, 2.x later), or None."""
    plugin = ("docker", "compose")
    if shutil.which("docker") and not subprocess.run([*plugin, "version"], check=False, capture_output=True).returncode:
        return plugin
    return ("docker-compose",) if shutil.which("docker-compose") else None


def docker(*arguments: str | Path, check: bool = True, timeout: float = 90) -> str:
    """Run docker and return what it printed; raise with what it complained of."""
    return _run(["docker", *map(str, arguments)], check=check, timeout=timeout)


@dataclass
class Consumers:
    """The services of the compose file, one project per object.

    Attributes:
        folder: where the override file of the test is written.
        environ: the variables of the compose file.
        commands: by service, a program of tests/docker/programs that runs instead of the service's own.
        changes: by service, other keys of the override file.
        volumes: volumes of the override file, by name.
    """

    folder: Path
    environ: Mapping[str, str]
    commands: dict[str, Sequence[str]] = field(default_factory=dict)
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    volumes: dict[str, dict[str, Any]] = field(default_factory=dict)
    project: str = field(default_factory=lambda: f"fc{uuid.uuid4().hex[:8]}")
    _containers: dict[str, str] = field(default_factory=dict)

    def up(self, *services: str) -> None:
        """Start services in the background."""
        self.compose("up", "--detach", *services)
        self._containers.clear()

    def run(self, service: str, *command: str, timeout: float = 90) -> str:
        """Run one program as a service would run, and return what it printed."""
        return self.compose("run", "-T", "--rm", "--no-deps", service, *command, timeout=timeout)

    def execute(self, service: str, *command: str) -> str:
        """Run a command in a container that runs, with its limits, and return what it printed."""
        return docker("exec", self.container(service), *command)

    def down(self) -> None:
        """Remove containers and volumes (which are mounts: nothing in them is deleted)."""
        self.compose("down", "--volumes", "--timeout", "2")

    def container(self, service: str) -> str:
        """Return the id of a service's container; compose is slow, so it is asked once."""
        if service not in self._containers:
            self._containers[service] = self.compose("ps", "--quiet", service).strip()
        return self._containers[service]

    def inspect(self, service: str) -> dict[str, Any]:
        """Return all that Docker says about a service's container."""
        answer: list[dict[str, Any]] = json.loads(docker("inspect", self.container(service)))
        return answer[0]

    def lines(self, service: str) -> list[dict[str, Any]]:
        """Return what a program printed so far, a JSON object a line."""
        printed = docker("logs", self.container(service))
        return [json.loads(line) for line in printed.splitlines() if line.startswith("{") and line.endswith("}")]

    def wait_until(
        self, service: str, condition: Callable[[list[dict[str, Any]]], object], what: str, seconds: float = 30
    ) -> None:
        """Wait until what a program has printed fits; otherwise fail with what it said besides."""
        try:
            wait_until(lambda: condition(self.lines(service)), f"{service} {what}", seconds)
        except AssertionError as error:
            command = ["docker", "logs", "--tail", "20", self.container(service)]
            said = subprocess.run(command, check=False, capture_output=True, text=True)
            raise AssertionError(f"{error}; it said:\n{said.stdout}\n{said.stderr}") from None

    def compose(self, *arguments: str, timeout: float = 90) -> str:
        """Run docker compose for this project."""
        command = compose_command()
        if command is None:
            raise AssertionError("needs docker compose")
        files = ["--file", str(COMPOSE_FILE), "--file", str(self._override())]
        environ = {**os.environ, **self.environ}
        return _run([*command, "--project-name", self.project, *files, *arguments], environ=environ, timeout=timeout)

    def _override(self) -> Path:
        services = {name: {"volumes": [f"{PROGRAMS}:/programs:ro"]} | self.changes.get(name, {}) for name in SERVICES}
        for name, command in self.commands.items():
            services[name]["command"] = list(command)
        path = self.folder / f"{self.project}.json"
        path.write_text(json.dumps({"services": services, "volumes": self.volumes}), encoding="utf-8")  # JSON is YAML
        return path


def _run(
    command: Sequence[str], *, check: bool = True, timeout: float, environ: Mapping[str, str] | None = None
) -> str:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=timeout, env=environ, stdin=subprocess.DEVNULL
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout

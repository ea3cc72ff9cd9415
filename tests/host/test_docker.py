# SPDX-License-Identifier: MIT
"""Docker, where containers are wanted."""

from __future__ import annotations

import json

import pytest

from tests.host.conftest import Machine


@pytest.fixture
def docker(machine: Machine) -> Machine:
    """A machine with Docker."""
    if not machine["docker_enabled"]:
        pytest.skip("docker_enabled is false")
    return machine


def test_the_daemon_runs_and_starts_at_boot(docker: Machine) -> None:
    assert docker.host.service("docker").is_running
    assert docker.host.service("docker").is_enabled


def test_compose_is_there_as_a_plugin_or_as_the_program_of_debian_12(docker: Machine) -> None:
    is_program = docker.host.system_info.release.startswith("12") and docker["docker_source"] == "debian"
    docker.out("docker-compose version" if is_program else "docker compose version")


def test_logs_of_containers_are_bounded(docker: Machine) -> None:
    settings = json.loads(docker.out("cat /etc/docker/daemon.json"))

    assert settings["log-opts"]["max-size"] == docker["docker_log_max_size"]
    assert str(settings["log-opts"]["max-file"]) == str(docker["docker_log_max_files"])


def test_the_daemon_has_the_settings_that_were_written(docker: Machine) -> None:
    told = json.loads(docker.out("docker info --format '{{json .}}'"))

    assert told["DockerRootDir"] == docker["docker_data_root"]
    assert told["LiveRestoreEnabled"] or not json.loads(docker.out("cat /etc/docker/daemon.json")).get("live-restore")


def test_the_daemon_is_reached_by_its_socket_alone_and_by_root_alone(docker: Machine) -> None:
    socket = docker.host.file("/run/docker.sock")

    assert (socket.user, oct(socket.mode)) in {("root", "0o660"), ("root", "0o600")}
    assert "tcp://" not in docker.out("cat /etc/docker/daemon.json")
    assert "tcp://" not in docker.out("tr '\\0' ' ' < /proc/$(pidof dockerd)/cmdline")


def test_without_docker_there_is_none(machine: Machine) -> None:
    if machine["docker_enabled"]:
        pytest.skip("docker_enabled is true")

    assert not machine.host.service("docker").is_running

# SPDX-License-Identifier: MIT
"""The shipped compose file as text: each service has every limit, and what is commented out would have them too."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from fieldcam.core.config import Config
from fieldcam.core.names import SERVICE_NAME
from tests.docker.consumers import COMPOSE_FILE, SERVICES

LIMITS = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "network_mode": "none",
    "pids_limit": 128,
    "mem_limit": "${CONSUMER_MEMORY:-512m}",
    "init": True,
    "restart": "unless-stopped",
    "logging": {"driver": "json-file", "options": {"max-size": "1m", "max-file": "3"}},
    "user": "${CONSUMER_USER:-10001:10001}",
    "group_add": ["${APPLIANCE_GID:-10001}"],
}
# Whatever else a service may say. A key that is not here has to be thought about first.
HARMLESS = {"image", "command", "environment", "volumes", "tmpfs", "stop_grace_period"}
READ_ONLY = {"bind", "ro", "nosuid", "nodev", "noexec", "private"}
DOCUMENTED = {
    "USE_SHARED_VOLUME_IMAGES": "true",
    "HOST_CAPTURE_ARCHITECTURE": "true",
    "CAMERA_CAPTURE_DIR": "/mnt/storage/camera_capture",
    "CAMERA_RING_DIR": "/mnt/storage/camera_ring",
    "RESULTS_DIR": "/results",
}
OPTION = re.compile(r"options\.\w+\(\s*\"([A-Z_]+)\"")
TEXT = COMPOSE_FILE.read_text(encoding="utf-8")
# The commented service and its volumes, as they are once somebody takes the comment signs away.
UNCOMMENTED = re.sub(r"^  # ?(?=  |my-)", "  ", TEXT, flags=re.MULTILINE)


def loaded(text: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(text)
    return content


CASES = [(TEXT, service) for service in SERVICES] + [(UNCOMMENTED, "my-program")]


@pytest.mark.parametrize(("text", "service"), CASES, ids=lambda value: value if len(value) < 50 else "")
class TestAService:
    def test_has_every_limit_and_nothing_that_weakens_one(self, text: str, service: str) -> None:
        settings = loaded(text)["services"][service]

        assert {key: settings[key] for key in LIMITS} == LIMITS
        assert set(settings) - set(LIMITS) <= HARMLESS

    def test_can_write_to_nothing_but_tmp_and_its_own_results(self, text: str, service: str) -> None:
        content = loaded(text)
        settings = content["services"][service]
        writable_tmpfs = [line for line in settings["tmpfs"] if not line.partition(":")[2].startswith("ro,")]
        options = {entry["target"]: content["volumes"][entry["source"]]["driver_opts"] for entry in settings["volumes"]}

        assert [line.partition(":")[0] for line in writable_tmpfs] == ["/tmp"]
        assert all({"noexec", "nosuid", "nodev"} <= set(re.split("[:,]", line)) for line in settings["tmpfs"])
        assert {target for target, each in options.items() if "ro" not in each["o"].split(",")} == {"/results"}
        for target in ("/mnt/storage/camera_capture", "/mnt/storage/camera_ring"):
            assert set(options[target]["o"].split(",")) == READ_ONLY
        assert set(options["/results"]["o"].split(",")) == {"bind", "private"}
        assert options["/results"]["device"].endswith(f"/{service}")
        assert all(entry["volume"] == {"nocopy": True} for entry in settings["volumes"])

    def test_has_volumes_of_its_own(self, text: str, service: str) -> None:
        services = loaded(text)["services"]
        own = {entry["source"] for entry in services[service]["volumes"]}
        others = {entry["source"] for name, each in services.items() if name != service for entry in each["volumes"]}

        assert own & others == set()

    def test_has_the_documented_environment_and_hands_its_options_on(self, text: str, service: str) -> None:
        environment = loaded(text)["services"][service]["environment"]
        options = set(environment) - set(DOCUMENTED)

        assert {name: environment[name] for name in DOCUMENTED} == DOCUMENTED
        assert all(environment[name] == f"${{{name}:-}}" for name in options)
        module = COMPOSE_FILE.parent / "services" / f"{service.replace('-', '_')}.py"
        known = OPTION.findall(module.read_text(encoding="utf-8")) if module.exists() else []
        assert options == ({*known, "RESULT_SECONDS"} if known else set())

    def test_has_a_name_that_results_are_accepted_under(self, text: str, service: str) -> None:
        assert SERVICE_NAME.fullmatch(service)


def test_places_default_to_those_of_the_configuration() -> None:
    config = Config()
    defaults = dict(re.findall(r"\$\{(CAMERA_\w+):-([^}]*)\}", TEXT))

    assert defaults == {
        "CAMERA_CAPTURE_DIR": str(config.capture_dir),
        "CAMERA_RING_DIR": str(config.ring_dir),
        "CAMERA_RESULTS_DIR": str(config.results_dir),
    }


def test_every_variable_that_is_no_option_of_a_service_is_in_the_table_of_the_readme() -> None:
    readme = COMPOSE_FILE.with_name("README.md").read_text(encoding="utf-8")
    of_services = {name for each in loaded(TEXT)["services"].values() for name in each["environment"]}
    variables = set(re.findall(r"\$\{(\w+)", TEXT))

    assert variables - (of_services - set(DOCUMENTED)) == set(re.findall(r"^\| `([A-Z_]+)` \|", readme, re.MULTILINE))

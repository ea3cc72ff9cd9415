# SPDX-License-Identifier: MIT
"""The inputs of the role `appliance` are the keys of fieldcam.toml, and no token is shown."""

from __future__ import annotations

import re
from typing import Any

import yaml

from fieldcam.core.config import Config
from tests.ansible.role_files import role

APPLIANCE = role("appliance")


def config_keys() -> set[str]:
    """Return the keys of fieldcam.toml as inputs."""
    return {f"appliance_{name}" for name in Config.model_fields}


def test_every_key_of_the_configuration_is_an_input() -> None:
    assert config_keys() - set(APPLIANCE.inputs) == set()


def test_the_role_renders_every_key_of_the_configuration() -> None:
    rendered = {f"appliance_{key}" for key in APPLIANCE.internals["__appliance_config_keys"]}

    assert rendered == config_keys() - {"appliance_cameras"}


def test_choices_are_those_of_the_configuration() -> None:
    schema = Config.model_json_schema()["properties"]

    for name, spec in APPLIANCE.specs.items():
        key = name.removeprefix("appliance_")
        if "choices" in spec and key in schema:
            assert spec["choices"] == schema[key]["enum"], name


def test_nothing_that_holds_a_token_is_shown() -> None:
    secret = re.compile(r"__appliance_token(_content)?\b|Bearer|'token', 'issue'")

    def walk(tasks: list[dict[str, Any]], hidden: object) -> list[str]:
        shown = []
        for task in tasks:
            here = task.get("no_log", hidden)
            nested = [*task.get("block", []), *task.get("rescue", [])]
            shown += walk(nested, here)
            if not nested and secret.search(str(task)) and here != "{{ appliance_secure_logging }}":
                shown.append(task["name"])
        return shown

    for file in APPLIANCE.files("tasks"):
        assert walk(yaml.safe_load(file.read_text(encoding="utf-8")), hidden=False) == [], file

# SPDX-License-Identifier: MIT
"""The inputs of the role: defaults, specifications, README, use, and the configuration they fill, all say the same."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from fieldcam.core.config import Config

CHECKOUT = Path(__file__).resolve().parents[2]
ROLE = CHECKOUT / "roles" / "appliance"
INPUT = re.compile(r"\bappliance_[a-z_]+\b")


def defaults() -> dict[str, bool]:
    """Return every input, and whether it has a default (one that has none is commented out)."""
    lines = (ROLE / "defaults" / "main.yml").read_text(encoding="utf-8").splitlines()
    found = [re.match(r"(# )?(appliance_[a-z_]+):", line) for line in lines]
    return {match[2]: match[1] is None for match in found if match}


def specs() -> dict[str, Any]:
    text = (ROLE / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    options: dict[str, Any] = yaml.safe_load(text)["argument_specs"]["main"]["options"]
    return options


def config_keys() -> set[str]:
    """Return the keys of fieldcam.toml as inputs."""
    return {f"appliance_{name}" for name in Config.model_fields}


def test_defaults_and_specifications_have_the_same_inputs() -> None:
    assert set(defaults()) == set(specs())


def test_the_table_of_the_readme_has_the_same_inputs_in_the_same_order() -> None:
    text = (ROLE / "README.md").read_text(encoding="utf-8")
    table = text.partition("<!-- variables: begin -->")[2].partition("<!-- variables: end -->")[0]

    rows = re.findall(r"^\| `(appliance_[a-z_]+)` \| (\w+) \|", table, re.MULTILINE)

    assert [name for name, _ in rows] == list(defaults())
    assert dict(rows) == {name: spec["type"] for name, spec in specs().items()}


def test_every_key_of_the_configuration_is_an_input() -> None:
    assert config_keys() - set(defaults()) == set()


def test_the_role_renders_every_key_of_the_configuration() -> None:
    internals = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))

    rendered = {f"appliance_{key}" for key in internals["__appliance_config_keys"]}

    assert rendered == config_keys() - {"appliance_cameras"}


def test_every_input_is_used_and_nothing_else_is() -> None:
    used = set(config_keys())
    for folder in ("tasks", "templates", "vars"):
        for file in (ROLE / folder).rglob("*"):
            if file.is_file():
                used |= set(INPUT.findall(re.sub(r"__appliance_\w+", "", file.read_text(encoding="utf-8"))))

    assert used == set(defaults())


def test_no_default_stands_in_the_specifications() -> None:
    assert [name for name, spec in specs().items() if "default" in spec] == []


def test_every_input_is_explained_by_a_comment_above_it() -> None:
    lines = (ROLE / "defaults" / "main.yml").read_text(encoding="utf-8").splitlines()

    bare = [
        line for above, line in pairwise(lines)
        if re.match(r"(# )?appliance_", line) and not re.match(r"# [A-Zn0-9]", above)
    ]  # fmt: skip

    assert bare == []


def test_choices_are_those_of_the_configuration() -> None:
    schema = Config.model_json_schema()["properties"]

    for name, spec in specs().items():
        if "choices" in spec:
            assert spec["choices"] == schema[name.removeprefix("appliance_")]["enum"], name


@pytest.mark.parametrize("inventory", ["local", "example"])
def test_inventories_set_only_inputs_that_exist(inventory: str) -> None:
    known = set(defaults())

    for file in (CHECKOUT / "inventory" / inventory).rglob("*.yml"):
        assert set(INPUT.findall(file.read_text(encoding="utf-8"))) <= known, file


def test_playbooks_have_nothing_but_roles_and_imports() -> None:
    for file in [CHECKOUT / "site.yml", *(CHECKOUT / "playbooks").glob("*.yml")]:
        for play in yaml.safe_load(file.read_text(encoding="utf-8")):
            assert not {"pre_tasks", "post_tasks", "handlers", "vars"} & set(play), file
            assert all("ansible.builtin.import_role" in task for task in play.get("tasks", [])), file


def test_tasks_use_only_modules_that_come_with_ansible_core() -> None:
    words = (
        "name when block rescue loop loop_control register vars tags become no_log changed_when failed_when check_mode"
    )
    allowed = {*words.split(), "delegate_to", "until", "retries", "delay"}

    def modules(tasks: list[dict[str, Any]]) -> set[str]:
        found: set[str] = set()
        for task in tasks:
            found |= set(task) - allowed
            for nested in ("block", "rescue"):
                found |= modules(task.get(nested, []))
        return found

    for file in (ROLE / "tasks").glob("*.yml"):
        used = modules(yaml.safe_load(file.read_text(encoding="utf-8")))
        assert {name for name in used if not name.startswith("ansible.builtin.")} == set(), file


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

    for file in (ROLE / "tasks").glob("*.yml"):
        assert walk(yaml.safe_load(file.read_text(encoding="utf-8")), hidden=False) == [], file

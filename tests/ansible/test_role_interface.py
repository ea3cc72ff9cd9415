# SPDX-License-Identifier: MIT
"""What every role promises: defaults, specifications, README and use agree, and all are written in one manner."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from fieldcam.core.config import Config
from tests.ansible.role_files import (
    CHECKOUT,
    COMMANDS,
    Input,
    Role,
    fallbacks_in_text,
    names_in_text,
    names_in_yaml,
    role,
    role_names,
)

ORDER = ("host", "users", "storage", "camera", "docker", "appliance", "gateway", "consumers")
SECTIONS = [
    "What it guarantees",
    "What it replaces",
    "Requirements",
    "Variables",
    "Tags",
    "Check mode",
    "Example",
    "How it is verified",
    "How to remove it",
]
STAND_FOR_OTHERS = {"", "ansible.builtin.import_tasks", "ansible.builtin.include_tasks"}  # "": a block
PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "path": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "list": (list,),
    "dict": (dict,),
}
# What Ansible itself puts into every host's variables, as far as roles may rely on it.
MAGIC = {
    "ansible_facts", "ansible_check_mode", "ansible_diff_mode", "ansible_playbook_python", "ansible_managed",
    "ansible_loop", "ansible_failed_task", "ansible_failed_result", "ansible_play_hosts",
    "ansible_play_hosts_all", "ansible_play_batch", "ansible_connection", "ansible_host", "ansible_port",
    "ansible_inventory_sources",
    "ansible_user", "ansible_run_tags", "ansible_skip_tags", "ansible_version", "inventory_hostname",
    "inventory_dir", "inventory_file", "groups", "group_names", "hostvars", "role_path", "role_name",
    "playbook_dir", "item", "omit", "lookup", "query", "q", "now", "undef", "range", "dict", "namespace", "loop",
    "varargs", "kwargs", "caller",
}  # fmt: skip

# What a task may set for its own connection.
CONNECTION = {"ansible_ssh_args", "ansible_ssh_retries"}

every_role = pytest.mark.parametrize("it", [role(name) for name in role_names()], ids=role_names())


def config_keys() -> set[str]:
    """Return the keys of fieldcam.toml as inputs."""
    return {f"appliance_{name}" for name in Config.model_fields}


# Inputs that a template reaches by a name it puts together.
REACHED_BY_NAME = {"appliance": config_keys()}


def test_all_roles_are_there() -> None:
    assert set(role_names()) == {*ORDER, "fleet"}


@every_role
def test_defaults_specifications_and_readme_have_the_same_inputs_in_the_same_order(it: Role) -> None:
    assert list(it.specs) == list(it.inputs)
    assert [row[0] for row in it.table] == list(it.inputs)


@every_role
def test_every_input_has_the_prefix_of_its_role(it: Role) -> None:
    assert set(yaml.safe_load(it.text("defaults/main.yml")) or {}) == {
        one.name for one in it.inputs.values() if one.is_set
    }


@every_role
def test_the_readme_has_the_types_of_the_specifications(it: Role) -> None:
    assert {name: kind for name, kind, _, _ in it.table} == {name: spec["type"] for name, spec in it.specs.items()}


def says_the_default(said: str, one: Input) -> bool:
    """Return whether a cell of the README says what the default is; of an expression any words will do."""
    value = one.value
    if isinstance(value, str) and "{{" in value:
        return said != ""
    if value is None:
        return said == "unset"
    if value in ("", [], {}):
        return said == "empty" or (said == "unset" and not one.is_set)
    if isinstance(value, list | dict) and said == "see defaults/main.yml":
        return True
    return re.fullmatch("`.*`", said) is not None and bool(
        yaml.safe_load(said.strip("`")) == yaml.safe_load(str(value))
    )


@every_role
def test_the_readme_has_the_defaults(it: Role) -> None:
    wrong = {name: (said, it.inputs[name].value) for name, _, said, _ in it.table
             if not says_the_default(said, it.inputs[name])}  # fmt: skip

    assert wrong == {}


@every_role
def test_the_readme_and_the_specifications_explain_each_input(it: Role) -> None:
    assert [name for name, _, _, meaning in it.table if len(meaning) < 10] == []
    assert [name for name, spec in it.specs.items() if len(str(spec.get("description", ""))) < 10] == []


@every_role
def test_every_default_has_the_type_of_its_specification(it: Role) -> None:
    wrong = {
        one.name: (one.value, it.specs[one.name]["type"])
        for one in it.inputs.values()
        if one.value is not None
        and not (isinstance(one.value, str) and "{{" in one.value)
        and not isinstance(one.value, PYTHON_TYPES[it.specs[one.name]["type"]])
    }

    assert wrong == {}


@every_role
def test_no_default_stands_in_the_specifications(it: Role) -> None:
    def places(options: dict[str, Any], path: str) -> list[str]:
        found = [path + name for name, spec in options.items() if "default" in spec]
        for name, spec in options.items():
            found += places(spec.get("options", {}), f"{path}{name}.")
        return found

    assert places(it.specs, "") == []


@every_role
def test_every_input_is_explained_by_a_comment_above_it(it: Role) -> None:
    # A word with a colon is a value: "ntp: …".
    bare = [one.name for one in it.inputs.values() if not re.match(r"[A-Z0-9]|[a-z]+: ", one.comment)]

    assert bare == []


@every_role
def test_every_input_is_used(it: Role) -> None:
    used = set(it.names_used)
    for one in it.inputs.values():
        used |= names_in_yaml(one.value)

    assert set(it.inputs) - used - REACHED_BY_NAME.get(it.name, set()) == set()


@every_role
def test_every_name_is_an_input_an_internal_or_ansibles_own(it: Role) -> None:
    known = set(it.inputs) | it.names_made | MAGIC | CONNECTION

    assert it.names_used - known == set()


@every_role
def test_internals_have_the_prefix_of_the_role_and_two_underscores(it: Role) -> None:
    made = {name for name in it.names_made if not name.startswith(f"__{it.name}_")}

    assert made - {"item"} - CONNECTION == set()


@every_role
def test_a_value_of_another_role_is_an_input_here_that_falls_back_to_the_default_there(it: Role) -> None:
    for one in it.inputs.values():
        foreign = {name for name in names_in_yaml(one.value) if name not in it.inputs and name not in MAGIC}
        if not foreign:
            continue
        assert isinstance(one.value, str), one.name
        fallbacks = dict(fallbacks_in_text(one.value))
        for name in foreign:
            owner = next((other for other in role_names() if name in role(other).inputs), None)
            assert owner is not None, f"{one.name}: {name} is an input of no role"
            assert name in fallbacks, f"{one.name}: {name} needs | default(…): the other role may not be deployed"
            assert fallbacks[name] == role(owner).inputs[name].value, f"{one.name}: not the default of {name}"


@every_role
def test_tasks_use_only_modules_that_come_with_ansible_core(it: Role) -> None:
    modules = {task.module for task in [*it.tasks, *it.handlers]} - {""}

    assert {name for name in modules if not name.startswith("ansible.builtin.")} == set()


@every_role
def test_tasks_say_which_file_they_stand_in(it: Role) -> None:
    wrong = [
        f"{task.file.name}:{task.line} {task.name}" for task in it.tasks
        # What stands for other tasks does not show in the log.
        if task.file.name != "main.yml" and task.module not in STAND_FOR_OTHERS
        and not task.name.startswith(f"{task.file.stem} | ")
    ]  # fmt: skip

    assert wrong == []


@every_role
def test_a_command_has_its_reason_above_it(it: Role) -> None:
    def has_reason_for_all(task: Any) -> bool:
        above = task.file.read_text(encoding="utf-8").splitlines()[: task.line]
        return any(re.match(r"\s*# Commands\b", line) for line in above)

    wrong = [
        f"{task.file.name}:{task.line} {task.name}" for task in it.tasks
        if task.module in COMMANDS and not task.comment_above and not has_reason_for_all(task)
    ]  # fmt: skip

    assert wrong == []


@every_role
def test_no_error_is_passed_over_and_nothing_depends_on_the_day(it: Role) -> None:
    for task in [*it.tasks, *it.handlers]:
        where = f"{task.file}:{task.line}"
        assert not {"ignore_errors", "local_action", "action"} & set(task.keys), where
        if "ignore_unreachable" in task.keys:  # only where being reachable is what is asked, and judged
            judged = [str(one.keys[one.module]) for one in it.tasks if one.module == "ansible.builtin.assert"]
            assert task.module == "ansible.builtin.ping", where
            assert any(f"{task.keys['register']}.ping is defined" in that for that in judged), where
        assert not [key for key in task.keys if key.startswith("with_")], where
        arguments = task.keys.get(task.module)
        assert not (isinstance(arguments, dict) and arguments.get("state") == "latest"), where


@every_role
def test_only_the_secure_logging_of_the_role_hides_output(it: Role) -> None:
    for task in [*it.tasks, *it.handlers]:
        if "no_log" in task.keys:
            assert task.keys["no_log"] == f"{{{{ {it.name}_secure_logging }}}}", f"{task.file}:{task.line}"


@every_role
def test_what_is_notified_is_a_handler_of_the_same_role_and_every_handler_is_notified(it: Role) -> None:
    def as_list(value: Any) -> list[str]:
        return value if isinstance(value, list) else [value]

    notified = {name for task in it.tasks for name in as_list(task.keys.get("notify", []))}
    notified |= {name for task in it.handlers for name in as_list(task.keys.get("notify", []))}
    heard = {name for task in it.handlers for name in [task.name, *as_list(task.keys.get("listen", []))]}

    assert notified <= heard
    assert [
        task.name for task in it.handlers
        if not {task.name, *as_list(task.keys.get("listen", []))} & notified
    ] == []  # fmt: skip


@every_role
def test_main_is_one_block_as_root_with_the_tag_of_the_role_and_a_tag_for_each_phase(it: Role) -> None:
    tasks = yaml.safe_load(it.text("tasks/main.yml"))
    assert len(tasks) == 1
    block = tasks[0]

    if it.name == "fleet":  # on its own it runs on the controller, where nobody is root
        assert block["become"] is False
    else:
        assert block["become"] is True or block["become"] == f"{{{{ {it.name}_become }}}}"
    assert block["tags"] == [it.name]
    assert all("ansible.builtin.import_tasks" in task for task in block["block"])
    assert [task["name"] for task in block["block"] if not task.get("tags")] == []


@every_role
def test_every_tag_is_in_the_readme(it: Role) -> None:
    tags = {tag for task in it.tasks for tag in _listed(task.keys.get("tags", []))} - {"always"}
    section = _section(it, "Tags")

    assert {tag for tag in tags if f"`{tag}`" not in section} == set()
    if it.name != "appliance":  # the first role, whose phases are plain words that people type
        assert {tag for tag in tags if tag != it.name and not tag.startswith(f"{it.name}_")} == set()


@every_role
def test_the_readme_has_the_sections_of_all_roles(it: Role) -> None:
    found = re.findall(r"^## (.+)$", it.text("README.md"), re.MULTILINE)

    assert [title for title in found if title in SECTIONS] == SECTIONS
    assert it.text("README.md").startswith(f"# {it.name}\n")


@every_role
def test_the_example_in_the_readme_uses_inputs_that_exist(it: Role) -> None:
    example = re.search(r"```yaml\n(.*?)```", _section(it, "Example"), re.DOTALL)
    assert example is not None, "there is no yaml in the section Example"
    known = {name for other in role_names() for name in role(other).inputs}

    text = example[1]
    plays = yaml.safe_load(text)

    words = set(re.findall(rf"\b{it.name}_[a-z0-9_]+\b(?=:)", text))
    assert words <= known
    assert isinstance(plays, list | dict)


@every_role
def test_templates_stand_where_they_land_and_say_that_they_are_managed(it: Role) -> None:
    for file in it.files("templates"):
        path = file.relative_to(it.folder / "templates")
        assert path.parts[0] in {"etc", "usr", "var", "opt", "boot", "srv", "run"}, file
        # JSON has no comments; what begins with an underscore is a part of another template.
        if not file.name.endswith(".json.j2") and not file.name.startswith("_"):
            assert "{{ ansible_managed | comment" in file.read_text(encoding="utf-8"), file


@every_role
def test_the_role_has_its_metadata_and_every_file_its_licence(it: Role) -> None:
    meta = yaml.safe_load(it.text("meta/main.yml"))

    assert (meta["galaxy_info"]["role_name"], meta["galaxy_info"]["license"]) == (it.name, "MIT")
    assert meta["dependencies"] == []
    for file in it.files("tasks", "handlers", "defaults", "vars", "meta", "files"):
        if file.suffix in {".yml", ".py", ".sh"}:
            start = file.read_text(encoding="utf-8").splitlines()[:3]
            assert "SPDX-License-Identifier: MIT" in "".join(start), file


def test_an_input_belongs_to_one_role() -> None:
    names = [name for one in role_names() for name in role(one).inputs]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("inventory", ["local", "example"])
def test_inventories_set_only_inputs_that_exist(inventory: str) -> None:
    known = {name for one in role_names() for name in role(one).inputs}
    prefixes = tuple(f"{one}_" for one in role_names())

    for file in (CHECKOUT / "inventory" / inventory).rglob("*.yml"):
        text = file.read_text(encoding="utf-8")
        named = set(re.findall(r"^(?:# )?([a-z][a-z0-9_]+):", text, re.MULTILINE)) | names_in_text(text)
        assert {name for name in named if name.startswith(prefixes)} <= known, file


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _section(it: Role, title: str) -> str:
    return it.text("README.md").partition(f"\n## {title}\n")[2].partition("\n## ")[0]

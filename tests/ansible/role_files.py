# SPDX-License-Identifier: MIT
"""A role as its files say it is: inputs, specifications, tasks, and the names its expressions use."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jinja2
import yaml
from jinja2 import nodes

CHECKOUT = Path(__file__).resolve().parents[2]
ROLES = CHECKOUT / "roles"

# Keys whose strings are expressions without braces.
CONDITIONS = {"when", "that", "until", "changed_when", "failed_when", "break_when"}
NESTED = ("block", "rescue", "always")
KEYWORDS = {
    *NESTED, *CONDITIONS,
    "name", "loop", "loop_control", "register", "vars", "tags", "become", "become_user", "no_log", "check_mode",
    "diff", "notify", "listen", "delegate_to", "delegate_facts", "run_once", "retries", "delay", "environment",
    "throttle", "timeout", "ignore_unreachable",
}  # fmt: skip
COMMANDS = {"ansible.builtin.command", "ansible.builtin.shell", "ansible.builtin.raw", "ansible.builtin.script"}
_JINJA = jinja2.Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"], autoescape=False)


@dataclass(frozen=True, slots=True)
class Input:
    """One input as defaults/main.yml has it.

    Attributes:
        comment: the lines above it, without their signs.
        is_set: whether it has a default of the role's own; False: commented out, `value` is what then holds.
        value: None when the line ends with the colon.
    """

    name: str
    comment: str
    is_set: bool
    value: Any


@dataclass(frozen=True, slots=True)
class Task:
    """A task or handler; `comment_above` is whether a comment stands right above it or a block around it."""

    file: Path
    keys: dict[str, Any]
    line: int
    comment_above: bool

    @property
    def name(self) -> str:
        """Return what it is called."""
        return str(self.keys.get("name", ""))

    @property
    def module(self) -> str:
        """Return the module it runs; empty for a block."""
        return next((key for key in self.keys if key not in KEYWORDS), "")


class Role:
    """A folder below roles/."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = ROLES / name

    def text(self, name: str) -> str:
        """Return a file of the role; empty when it is not there."""
        file = self.folder / name
        return file.read_text(encoding="utf-8") if file.exists() else ""

    @cached_property
    def inputs(self) -> dict[str, Input]:
        """Return all inputs in the order of defaults/main.yml."""
        text = self.text("defaults/main.yml")
        values = yaml.safe_load(text) or {}
        found: dict[str, Input] = {}
        lines = text.splitlines()
        for number, line in enumerate(lines):
            match = re.match(rf"(# )?({self.name}_[a-z0-9_]+):", line)
            if match:
                name, is_set = match[2], match[1] is None
                value = values.get(name) if is_set else _commented_value(lines[number:])
                found[name] = Input(name, _comment_above(lines, number), is_set, value)
        return found

    @cached_property
    def specs(self) -> dict[str, Any]:
        """Return the options of all entry points; one that several have is the same in each."""
        loaded = yaml.safe_load(self.text("meta/argument_specs.yml")) or {}
        options: dict[str, Any] = {}
        for entry in loaded.get("argument_specs", {}).values():
            for name, spec in entry.get("options", {}).items():
                assert options.setdefault(name, spec) == spec, name
        return options

    @cached_property
    def internals(self) -> dict[str, Any]:
        """Return vars/main.yml."""
        loaded: dict[str, Any] = yaml.safe_load(self.text("vars/main.yml")) or {}
        return loaded

    @cached_property
    def table(self) -> list[tuple[str, str, str, str]]:
        """Return the rows of the README's table: name, type, default, meaning."""
        text = self.text("README.md").partition("<!-- variables: begin -->")[2].partition("<!-- variables: end -->")[0]
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("| `")]
        return [(row[0].strip(" `"), row[1].strip(), row[2].strip(), "|".join(row[3:]).strip()) for row in rows]

    def files(self, *folders: str) -> list[Path]:
        """Return the files below some folders of the role."""
        return sorted(
            file for folder in folders for file in (self.folder / folder).rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        )  # fmt: skip

    @cached_property
    def tasks(self) -> list[Task]:
        """Return every task and block, those within blocks too."""
        return [task for file in self.files("tasks") for task in _tasks_of(file)]

    @cached_property
    def handlers(self) -> list[Task]:
        """Return every handler."""
        return [task for file in self.files("handlers") for task in _tasks_of(file)]

    @cached_property
    def names_used(self) -> set[str]:
        """Return every variable that an expression in tasks, handlers, templates or vars reads."""
        used: set[str] = set()
        for file in self.files("tasks", "handlers", "vars"):
            used |= names_in_yaml(yaml.safe_load(file.read_text(encoding="utf-8")))
        set_by_templates: set[str] = set()
        for file in self.files("templates"):
            text = file.read_text(encoding="utf-8")
            used |= names_in_text(text)
            set_by_templates |= _names_set(_parse(text))  # holds in what that template includes, too
        return used - set_by_templates

    @cached_property
    def names_made(self) -> set[str]:
        """Return every variable that the role itself makes: internals, registers, facts, variables of tasks."""
        made = set(self.internals)
        for task in [*self.tasks, *self.handlers]:
            if task.module not in {"ansible.builtin.include_role", "ansible.builtin.import_role"}:
                made |= set(task.keys.get("vars", {}))  # else: inputs of that role
            if "register" in task.keys:
                made.add(task.keys["register"])
            if task.module == "ansible.builtin.set_fact":
                made |= set(task.keys[task.module]) - {"cacheable"}
            control = task.keys.get("loop_control", {})
            made |= {control[key] for key in ("loop_var", "index_var") if key in control}
        return made


@cache
def role(name: str) -> Role:
    """Return a role, read once."""
    return Role(name)


def role_names() -> list[str]:
    """Return the roles that are there."""
    return sorted(folder.name for folder in ROLES.iterdir() if (folder / "tasks" / "main.yml").exists())


def names_in_yaml(value: Any, *, is_condition: bool = False) -> set[str]:
    """Return the variables read by the expressions in some YAML."""
    if isinstance(value, str):
        return names_in_text("{{ (" + value + ") }}" if is_condition and "{{" not in value else value)
    if isinstance(value, list):
        return set().union(*(names_in_yaml(item, is_condition=is_condition) for item in value))
    if isinstance(value, dict):
        return set().union(
            *(names_in_yaml(item, is_condition=key in CONDITIONS) for key, item in value.items()),
            *(names_in_yaml(key) for key in value),
        )
    return set()


def names_in_text(text: str) -> set[str]:
    """Return the variables read by a template, without those it sets itself."""
    if "{{" not in text and "{%" not in text:
        return set()
    tree = _parse(text)
    return {name.name for name in tree.find_all(nodes.Name) if name.ctx == "load"} - _names_set(tree)


def _names_set(tree: nodes.Template) -> set[str]:
    names = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    names |= {macro.name for macro in tree.find_all(nodes.Macro)}
    for node in tree.find_all(nodes.FromImport):
        names |= {alias if isinstance(alias, str) else alias[1] for alias in node.names}
    return names


def _parse(text: str) -> nodes.Template:
    with warnings.catch_warnings():
        # Jinja reads the \s of a regular expression as Python does, which warns and leaves it as it is.
        warnings.simplefilter("ignore", DeprecationWarning)
        return _JINJA.parse(text)


def fallbacks_in_text(text: str) -> Iterator[tuple[str, Any]]:
    """Yield `name | default(literal)` pairs."""
    for node in _parse(text).find_all(nodes.Filter):
        if node.name == "default" and isinstance(node.node, nodes.Name) and node.args:
            try:
                yield node.node.name, node.args[0].as_const()
            except nodes.Impossible:
                yield node.node.name, NotImplemented


def _commented_value(lines: list[str]) -> Any:
    """Return the value of a commented-out input whose lines begin here."""
    mine = [lines[0].removeprefix("# ")]
    for line in lines[1:]:
        if not re.match(r"#\s{2,}\S|# - ", line):
            break
        mine.append(line.removeprefix("# "))
    return next(iter(yaml.safe_load("\n".join(mine)).values()))


def _comment_above(lines: list[str], number: int) -> str:
    block: list[str] = []
    while number > 0 and lines[number - 1].startswith("#"):
        number -= 1
        block.insert(0, lines[number].lstrip("#").strip())
    return " ".join(block)


def _tasks_of(file: Path) -> Iterator[Task]:
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    tree = yaml.compose(text, Loader=yaml.SafeLoader)
    loaded = yaml.safe_load(text)
    if tree is None:
        return
    assert isinstance(tree, yaml.SequenceNode), f"{file} is no list of tasks"
    yield from _walk(file, lines, tree, loaded, above=False)


def _walk(
    file: Path, lines: list[str], tree: yaml.SequenceNode, loaded: list[dict[str, Any]], *, above: bool
) -> Iterator[Task]:
    for node, keys in zip(tree.value, loaded, strict=True):
        line = node.start_mark.line
        commented = above or (line > 0 and lines[line - 1].strip().startswith("#"))
        yield Task(file, keys, line + 1, commented)
        for key, value in node.value:
            if key.value in NESTED:
                yield from _walk(file, lines, value, keys[key.value], above=commented)

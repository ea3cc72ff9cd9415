# SPDX-License-Identifier: MIT
"""What the source says of itself: codes it logs, kinds of events it keeps, reasons of health, make targets, routes."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "appliance" / "fieldcam"
CODE = re.compile(r"[A-Z][A-Z0-9]{2,}(?:_[A-Z0-9]+)*")
KIND = re.compile(r"[a-z]+(?:_[a-z]+)*")


@cache
def _modules() -> tuple[ast.Module, ...]:
    return tuple(ast.parse(file.read_text(encoding="utf-8")) for file in sorted(PACKAGE.rglob("*.py")))


def _calls(modules: Iterable[ast.AST]) -> Iterator[ast.Call]:
    for module in modules:
        yield from (node for node in ast.walk(module) if isinstance(node, ast.Call))


def _name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _constants(node: ast.expr) -> Iterator[str]:
    """Yield the texts an expression may be: a constant, or both sides of `a if condition else b`."""
    for part in (node.body, node.orelse) if isinstance(node, ast.IfExp) else (node,):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def _texts(call: ast.Call, position: int, names: Mapping[str, Collection[str]] = MappingProxyType({})) -> Iterator[str]:
    """Yield the texts an argument may be; a name, also at the start of `f"{prefix}_LOST"`, is one of its `names`."""
    if position >= len(call.args):
        return
    argument = call.args[position]
    yield from _constants(argument)
    if isinstance(argument, ast.Name):
        yield from names.get(argument.id, ())
    if isinstance(argument, ast.JoinedStr):
        prefixes = {text for texts in names.values() for text in texts}
        yield from (prefix + end for prefix in prefixes for end in _constants(argument.values[-1]))


def _names_in(module: ast.Module) -> dict[str, set[str]]:
    """Return the words in capitals that the module assigns, by the name they are assigned to."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Name):
            found.setdefault(target.id, set()).update(text for text in _constants(node.value) if CODE.fullmatch(text))
    return found


def log_codes() -> set[str]:
    """Return every code that `.event(level, "CODE", …)` logs, and both codes of every `StateLog`."""
    codes: set[str] = set()
    for module in _modules():
        names = _names_in(module)
        for call in _calls([module]):
            if _name_of(call) == "event":
                codes.update(text for text in _texts(call, 1, names) if CODE.fullmatch(text))
            elif _name_of(call) == "_failed":
                codes.update(text for text in _texts(call, 0) if CODE.fullmatch(text))
            elif _name_of(call) == "StateLog":
                for code in _texts(call, 1, names):
                    codes |= {code, f"{code}_OVER"}
    return codes


def event_kinds() -> set[str]:
    """Return every kind of event that is announced or kept: `.event("kind", cause, …)`, `_note_event("kind", …)`."""
    return {
        text
        for call in _calls(_modules())
        if _name_of(call) in {"event", "_note_event"}
        for text in _texts(call, 0)
        if KIND.fullmatch(text)
    }


def health_reasons() -> set[str]:
    """Return every code of `Reason("CODE", …)`, and of loops over tuples that begin with the code of a `Reason`."""
    written_out = {text for call in _calls(_modules()) if _name_of(call) == "Reason" for text in _texts(call, 0)}
    loops = [node for module in _modules() for node in ast.walk(module) if isinstance(node, ast.For)]
    return written_out | {
        node.value
        for loop in loops
        if any(_name_of(call) == "Reason" and isinstance(call.args[0], ast.Name) for call in _calls(loop.body))
        for node in ast.walk(loop.iter)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value)
    }


@cache
def make_targets() -> dict[str, str]:
    """Return the targets `make help` lists, with their words."""
    printed = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {match[1]: match[2] for match in re.finditer(r"^  make (\S+) +(.*)$", printed, re.MULTILINE)}


def documents() -> list[Path]:
    """Return every document people read."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def text_of_all_documents() -> str:
    """Return all of them in one."""
    return "\n".join(file.read_text(encoding="utf-8") for file in documents())


def first_column(document: Path, heading: str) -> set[str]:
    """Return the names in backticks in the first column of the tables below a heading, up to the next of its rank."""
    text = document.read_text(encoding="utf-8")
    rank = heading.split(" ", 1)[0]
    _, found, after = text.partition(f"\n{heading}\n")
    assert found, f"{document.name} has no heading {heading!r}"
    section = re.split(rf"^{rank} ", after, maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\|([^|]*)\|", section, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}

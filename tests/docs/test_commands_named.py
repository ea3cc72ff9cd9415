# SPDX-License-Identifier: MIT
from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.docs.source_scan import PACKAGE, ROOT, documents
from tools import generate_docs

COMMANDS = generate_docs.commands()
OURS = "|".join(map(re.escape, COMMANDS))
WORD = re.compile(r"[a-z][a-z-]*")
TEXTS = [*documents(), PACKAGE / "core" / "errors.py"]


def _named(text: str) -> Iterator[list[str]]:
    """Yield every command of ours that stands in backticks, in words; `a|b` and `a`, `b` are left to their first."""
    for words in re.findall(rf"`((?:{OURS})(?: [^`]*)?)`", text):
        yield words.split()


def _complaint(words: list[str]) -> str | None:
    command = COMMANDS[words[0]]
    if command is None:
        return None
    for word in words[1:]:
        if isinstance(command, click.Group) and WORD.fullmatch(word.partition("|")[0]):
            below = command.get_command(click.Context(command), word.partition("|")[0])
            if below is None:
                return f"{' '.join(words)}: there is no {word}"
            command = below
        elif word.startswith("--"):
            options = {option for param in command.params for option in param.opts}
            if word.rstrip(",") not in options:
                return f"{' '.join(words)}: {command.name} has no {word}"
    return None


@pytest.mark.parametrize("file", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_is_named_exists_with_its_options(file: Path) -> None:
    complaints = [found for words in _named(file.read_text(encoding="utf-8")) if (found := _complaint(words))]

    assert complaints == []


def test_an_option_that_is_not_there_is_noticed() -> None:
    complaint = _complaint(["host-camera-capture", "--test-only", "--no-such-option"])

    assert complaint is not None
    assert "--no-such-option" in complaint

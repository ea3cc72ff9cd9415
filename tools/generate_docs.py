# SPDX-License-Identifier: MIT
"""Writes the documents that are made from the code: docs/errors.md, docs/configuration.md, docs/commands.md.

`make docs` runs it; tests/docs/test_generated.py fails while one of them is not what this would write.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from fieldcam.core import config as configuration
from fieldcam.core import config_sources as sources
from fieldcam.core.errors import FieldcamError, all_errors

ROOT = Path(__file__).resolve().parent.parent
MADE_BY = "<!-- Made from the code by `make docs`; edit {source}, not this file. -->"
TO_DO = "What to do:"
TARGET = re.compile(r"([a-zA-Z0-9_-]+):.*? ## (.*)")


def render_errors() -> str:
    """Return docs/errors.md."""
    rows = [
        f"| [{error.code}](#{error.code.lower()}) | `{error.__name__}` | {error.http_status} | {error.exit_code} |"
        for error in all_errors()
    ]
    lines = [
        "# Errors",
        "",
        MADE_BY.format(source="appliance/fieldcam/core/errors.py"),
        "",
        "Each error has a code that never changes. The API answers with its HTTP status; a command prints one line,",
        "`error: CODE: message`, and ends with its exit code. Besides, commands end with 0 when all is well, with 2",
        "when an option is unknown or missing, and with 70 (`INTERNAL_ERROR`) at a mistake in fieldcam itself.",
        "",
        "Log lines have codes of their own: [log-events.md](log-events.md).",
        "",
        "| code | class | HTTP status | exit code |",
        "|---|---|---|---|",
        *rows,
    ]
    for error in all_errors():
        when, to_do = _when_and_what_to_do(error)
        lines += ["", f"## {error.code}", "", f"Class `{error.__name__}`, a kind of {_parent_of(error)}.", ""]
        lines += [f"**When:** {when}", "", f"**{TO_DO}** {to_do}"]
    return "\n".join(lines) + "\n"


def render_configuration() -> str:
    """Return docs/configuration.md."""
    schema = configuration.Config.model_json_schema()
    formats = " or ".join(f"`{name}`" for name in sorted(sources.IMAGE_FORMATS))
    names: dict[str, list[str]] = {}
    for name, key in sources.REFERENCE_NAMES.items():
        names.setdefault(key, []).append(f"`{name}`")
    backends = [
        f"| `{backend}` | {_size_words(backend)} | {_exposure_words(backend)} |"
        for backend in configuration.NATIVE_SIZE
    ]
    return "\n".join(
        [
            "# Configuration",
            "",
            MADE_BY.format(source="appliance/fieldcam/core/config.py"),
            "",
            "One TOML file, the same for every process. `fieldcam config check` says whether it is right,",
            "`fieldcam config show` what is in force and where each value comes from.",
            "",
            "## Layers, strongest first",
            "",
            "1. Flags of a command, such as `--interval`.",
            f"2. Environment variables `{sources.ENV_PREFIX}<KEY>`. A key of a camera is",
            f"   `{sources.ENV_PREFIX}CAMERAS__<NAME>__<KEY>`, dashes of the name as underscores.",
            "3. The names of the reference documents (last column below). Those that speak of a camera mean the",
            "   default camera.",
            f"4. The file: `--config`, else `{sources.ENV_PREFIX}CONFIG`, else `{sources.DEFAULT_FILE}`. A",
            "   file that is named must exist.",
            "5. Defaults.",
            "",
            "An empty variable counts as not set. An unknown key or variable, or a value that is not allowed, is",
            "[CONFIG_INVALID](errors.md#config_invalid); the message has key, value and the layer it came from.",
            "",
            f"`IMAGE_FORMAT` may be {formats}, in any case, and nothing else: images are JPEG.",
            "",
            "## Keys of the appliance",
            "",
            *_table(configuration.Config, schema, names, prefix=""),
            "",
            "## Keys of a camera: `[cameras.<name>]`",
            "",
            "A camera name has 1 to 32 of a-z, 0-9 and -, and starts with a letter or digit. Without any such table",
            "there is one camera with these defaults, named as `default_camera` says.",
            "",
            *_table(configuration.CameraConfig, schema["$defs"]["CameraConfig"], names, prefix="cameras.*."),
            "",
            "## What a backend does when nothing is set",
            "",
            "| backend | width × height | exposure and gain |",
            "|---|---|---|",
            *backends,
            "",
        ]
    )


def render_commands() -> str:
    """Return docs/commands.md. A command whose module is not written yet is said to be so."""
    lines = [
        "# Commands",
        "",
        MADE_BY.format(source="the Makefile or appliance/fieldcam/cli"),
        "",
        "## make",
        "",
        "Typed in the checkout.",
        *_target_lines(),
        "",
        "## Installed commands",
        "",
        "They are in `/opt/fieldcam/current/venv/bin` of a deployed host, locally in `var/opt/current/venv/bin`. Exit",
        "codes are in [errors.md](errors.md), configuration keys in [configuration.md](configuration.md).",
    ]
    for name, command in commands().items():
        if command is None:
            lines += ["", f"### {name}", "", "Not written yet."]
        else:
            lines += _command_lines(command, name, depth=3)
    return "\n".join(lines) + "\n"


DOCUMENTS: Mapping[str, Callable[[], str]] = {
    "docs/errors.md": render_errors,
    "docs/configuration.md": render_configuration,
    "docs/commands.md": render_commands,
}


def commands() -> dict[str, click.Command | None]:
    """Return every command the package installs, None for one whose module is not there."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        scripts: dict[str, str] = tomllib.load(stream)["project"]["scripts"]
    return {name: _command_of(name, target.partition(":")[0]) for name, target in scripts.items()}


def _target_lines() -> Iterator[str]:
    """Yield a table of targets per section, as `make help` has them."""
    sections: dict[str, list[str]] = {}
    section = ""
    for file in (ROOT / "Makefile", *sorted((ROOT / "make").glob("*.mk"))):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("##@ "):
                section = line.removeprefix("##@ ")
            elif match := TARGET.match(line):
                sections.setdefault(section, []).append(f"| `make {match[1]}` | {_cell(match[2])} |")
    for name, rows in sections.items():
        yield from ["", f"### {name}", "", "| target | does |", "|---|---|", *rows]


def _command_of(name: str, module_name: str) -> click.Command | None:
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name == module_name:
            return None
        raise
    found = [value for value in vars(module).values() if isinstance(value, click.Command) and value.name == name]
    if not found:
        raise LookupError(f"{module_name} has no click command named {name!r}")
    return found[0]


def _command_lines(command: click.Command, path: str, *, depth: int) -> Iterator[str]:
    """Yield one section for a command and one for each below it."""
    context = click.Context(command, info_name=path)
    yield from [
        "",
        f"{'#' * depth} {path}",
        "",
        *_prose(command.help),
        "```text",
        " ".join([path, *command.collect_usage_pieces(context)]),
        "```",
    ]
    records = [record for param in command.params if (record := param.get_help_record(context))]
    if records:
        yield from ["", "| option | meaning |", "|---|---|"]
        yield from (f"| `{_cell(option)}` | {_cell(meaning)} |" for option, meaning in records)
    if command.epilog:
        yield from ["", *_prose(command.epilog)][:-1]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from _command_lines(below, f"{path} {name}", depth=min(depth + 1, 4))


def _prose(text: str | None) -> Iterator[str]:
    """Yield paragraphs, each with an empty line after it; what click leaves as it is (after a backspace) is a block."""
    for paragraph in inspect.cleandoc(text or "").split("\n\n"):
        if paragraph.startswith("\b\n"):
            yield from ["```text", paragraph.removeprefix("\b\n").rstrip("\n"), "```", ""]
        elif paragraph.strip():
            yield from [paragraph, ""]


def _when_and_what_to_do(error: type[FieldcamError]) -> tuple[str, str]:
    words = " ".join(inspect.cleandoc(error.__doc__ or "").split())
    when, found, to_do = words.partition(TO_DO)
    if not found:
        raise ValueError(f"{error.__name__}: its docstring does not say what to do")
    return when.strip(), to_do.strip()


def _parent_of(error: type[FieldcamError]) -> str:
    parent = error.__mro__[1]
    return f"[{parent.code}](#{parent.code.lower()})" if issubclass(parent, FieldcamError) else f"`{parent.__name__}`"


def _table(
    model: type[BaseModel], schema: Mapping[str, Any], names: Mapping[str, list[str]], *, prefix: str
) -> list[str]:
    lines = ["| key | values | default | meaning | reference name |", "|---|---|---|---|---|"]
    for key, field in model.model_fields.items():
        values = "tables, see below" if key == "cameras" else _values(schema["properties"][key])
        also = ", ".join(names.get(prefix + key, []))
        default = field.get_default(call_default_factory=True)
        shown = "none" if key == "cameras" else _default(default)
        lines.append(f"| `{key}` | {values} | {shown} | {_cell(field.description or '')} | {also} |")
    return lines


def _values(schema: Mapping[str, Any]) -> str:
    """Return in words what a JSON schema allows."""
    if "anyOf" in schema:
        return " or ".join(_values(part) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    words = {
        "boolean": "`true`, `false`",
        "integer": "whole number",
        "number": "number",
        "null": "unset",
        "array": "list of texts",
        "string": "path" if schema.get("format") == "path" else "text",
    }
    bounds = [
        f"{said} {schema[key]:,}".replace(",", " ")
        for key, said in (
            ("exclusiveMinimum", "more than"),
            ("minimum", "from"),
            ("maximum", "to" if "minimum" in schema else "at most"),
            ("maxLength", "up to"),
        )
        if key in schema
    ]
    return " ".join([words[schema["type"]], *bounds])


def _default(value: object) -> str:
    if value is None or value == "":
        return "unset"
    if isinstance(value, tuple):
        return ", ".join(f"`{part}`" for part in value)
    return f"`{json.dumps(value)}`" if isinstance(value, bool | int | float) else f"`{value}`"


def _size_words(backend: str) -> str:
    size = configuration.NATIVE_SIZE[backend]
    return f"{size[0]} × {size[1]}" if size else "as the media are"


def _exposure_words(backend: str) -> str:
    manual = configuration.MANUAL_EXPOSURE[backend]
    return f"{manual[0]:g} ms, {manual[1]:g}" if manual else "left to the camera"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def stale_documents() -> list[str]:
    """Return the documents that are not what would be written now."""
    return [
        name
        for name, render in DOCUMENTS.items()
        if not (ROOT / name).is_file() or (ROOT / name).read_text(encoding="utf-8") != render()
    ]


def main() -> int:
    """Write the documents, or with --check only say which are stale."""
    parser = argparse.ArgumentParser(description="Write the documents that are made from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a document is stale")
    check = parser.parse_args().check
    stale = stale_documents()
    for name in stale:
        print(f"{name}: {'stale, run `make docs`' if check else 'written'}")
        if not check:
            (ROOT / name).write_text(DOCUMENTS[name](), encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

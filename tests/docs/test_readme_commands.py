# SPDX-License-Identifier: MIT
from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator

import pytest

from fieldcam.api.access import access_of
from fieldcam.api.app import Application, create_app
from fieldcam.core.config import Config
from tests.docs.source_scan import ROOT, documents, make_targets

BLOCK = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _typed_lines(text: str) -> Iterator[list[str]]:
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


def _targets_of(words: list[str]) -> list[str]:
    return [word for word in words[1:] if not word.startswith("-") and "=" not in word]


def _request_of(words: list[str]) -> tuple[str, int, str]:
    """Return method, port and path of a curl command."""
    method = words[words.index("-X") + 1] if "-X" in words else "GET"
    address = next(word for word in words if re.match(r"(http://)?(localhost|127\.0\.0\.1)[:/]", word))
    match = re.fullmatch(r"(?:http://)?[^:/]+:(\d+)([^?]*)(?:\?.*)?", address)
    assert match, address
    return method, int(match[1]), match[2]


README_LINES = list(_typed_lines((ROOT / "README.md").read_text(encoding="utf-8")))
CURLS = [words for words in README_LINES if words[0] == "curl"]


def test_the_readme_names_the_two_commands() -> None:
    typed = [words[:2] for words in README_LINES]

    assert ["make", "up"] in typed
    assert ["make", "test"] in typed


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_command_in_a_code_block_has_its_target(document: object) -> None:
    text = getattr(document, "read_text")(encoding="utf-8")  # noqa: B009
    known = set(make_targets())

    wanted = {target for words in _typed_lines(text) if words[0] == "make" for target in _targets_of(words)}

    assert wanted - known == set()


def test_every_command_in_a_readme_block_is_installed_or_of_the_system() -> None:
    with (ROOT / "pyproject.toml").open("rb") as stream:
        ours = set(tomllib.load(stream)["project"]["scripts"])

    system = {"make", "curl", "git", "cd", "cp", "export", "ansible-playbook", "sudo", "jq", "ls", "sqlite3"}
    unknown = {words[0] for words in README_LINES if words[0].rsplit("/", 1)[-1] not in ours | system}

    assert unknown == set()


@pytest.fixture(scope="module")
def app() -> Application:
    return create_app(Config())


@pytest.mark.parametrize("words", CURLS, ids=" ".join)
def test_every_curl_in_the_readme_asks_for_a_route_of_that_listener(app: Application, words: list[str]) -> None:
    method, port, path = _request_of(words)

    endpoint, _ = app.url_map.bind("localhost").match(path, method=method)
    access = access_of(app, endpoint)

    config = Config()
    assert access is not None
    assert port in {"local": {config.local_port}, "token": {config.port}}.get(
        access.kind, {config.local_port, config.port}
    )
    assert ("Authorization: Bearer" in " ".join(words)) == (access.kind == "token")

# SPDX-License-Identifier: MIT
from __future__ import annotations

from pathlib import Path

import pytest

from fieldcam.core.config import CameraConfig, Config
from fieldcam.core.config_sources import REFERENCE_NAMES
from fieldcam.core.errors import FieldcamError, all_errors
from tests.docs.source_scan import ROOT
from tools import generate_docs


@pytest.mark.parametrize("document", generate_docs.DOCUMENTS)
def test_a_generated_document_says_what_the_code_says(document: str) -> None:
    made = generate_docs.DOCUMENTS[document]()

    written = (ROOT / document).read_text(encoding="utf-8")

    assert written == made, f"{document} is stale: run `make docs`"


def test_a_changed_document_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate_docs, "ROOT", tmp_path)
    monkeypatch.setattr(generate_docs, "DOCUMENTS", {"whole.md": lambda: "a\n", "old.md": lambda: "b\n"})
    (tmp_path / "whole.md").write_text("a\n")
    (tmp_path / "old.md").write_text("a\n")

    stale = generate_docs.stale_documents()

    assert stale == ["old.md"]


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.code)
def test_every_error_is_documented_with_its_numbers(error: type[FieldcamError]) -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")

    assert (
        f"| [{error.code}](#{error.code.lower()}) | `{error.__name__}` | {error.http_status} | {error.exit_code} |"
        in text
    )
    assert f"\n## {error.code}\n" in text


def test_every_configuration_key_and_reference_name_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

    keys = [*Config.model_fields, *CameraConfig.model_fields]
    missing = [key for key in keys if f"\n| `{key}` |" not in text]
    missing += [name for name in REFERENCE_NAMES if f"`{name}`" not in text]

    assert missing == []


def test_every_command_that_is_installed_is_documented() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")

    missing = [name for name in generate_docs.commands() if f"\n### {name}\n" not in text]

    assert missing == []

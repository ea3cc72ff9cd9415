# SPDX-License-Identifier: MIT
from __future__ import annotations

import re

import pytest

from fieldcam.core.config_sources import REFERENCE_NAMES
from fieldcam.core.errors import all_errors
from tests.docs.source_scan import (
    ROOT,
    event_kinds,
    first_column,
    health_reasons,
    log_codes,
    make_targets,
    text_of_all_documents,
)

LOG_EVENTS = ROOT / "docs" / "log-events.md"


def test_every_make_target_that_help_lists_is_documented() -> None:
    text = text_of_all_documents()

    missing = [target for target in make_targets() if not re.search(rf"\bmake {re.escape(target)}(?![\w-])", text)]

    assert missing == []


@pytest.mark.parametrize(
    ("heading", "in_the_source"),
    [
        ("## Log lines", log_codes),
        ("## Events", event_kinds),
        ("## Reasons of health", health_reasons),
    ],
)
def test_the_tables_of_codes_are_complete_and_have_nothing_more(heading: str, in_the_source: object) -> None:
    assert callable(in_the_source)
    known = in_the_source()

    documented = first_column(LOG_EVENTS, heading)

    assert known, "the scan found nothing, so it proves nothing"
    assert documented - known == set(), "documented, but no longer in the source"
    assert known - documented == set(), "in the source, but not documented"


def test_no_log_code_is_also_the_code_of_another_error() -> None:
    errors = {error.code for error in all_errors()}

    shared = {code for code in errors if f"{code}_OVER" in log_codes()}

    # A condition and the error it answers with may share a name; it must then be said to be both.
    text = LOG_EVENTS.read_text(encoding="utf-8")
    assert {code for code in shared if f"errors.md#{code.lower()}" not in text} == set()


def test_names_said_to_be_read_later_are_not_read_yet() -> None:
    section = first_column(ROOT / "docs" / "migration.md", "## Reference variables that nothing reads yet")

    assert section
    assert section & set(REFERENCE_NAMES) == set()


def test_every_decision_has_its_four_parts_and_a_line_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    records = sorted(path for path in folder.glob("[0-9]*.md"))

    flawed = [
        path.name
        for path in records
        if path.name not in index
        or not re.search(
            r"^Date: \d{4}-\d{2}-\d{2}\. Status: \w+", text := path.read_text(encoding="utf-8"), re.MULTILINE
        )
        or any(f"\n## {part}\n" not in text for part in ("Context", "Decision", "Consequence"))
    ]

    assert records
    assert flawed == []
    assert [path.name[:4] for path in records] == [f"{number:04d}" for number in range(1, len(records) + 1)]

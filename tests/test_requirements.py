# SPDX-License-Identifier: MIT
"""The skip switch: a skip on a laptop is a failure in CI."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import requirements


def test_a_met_requirement_lets_the_test_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(requirements.SWITCH, "1")

    requirements.require(True, "never seen")


@pytest.mark.parametrize("value", [None, "", "0"])
def test_a_missing_requirement_skips_with_its_reason(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv(requirements.SWITCH, raising=False)
    if value is not None:
        monkeypatch.setenv(requirements.SWITCH, value)

    with pytest.raises(pytest.skip.Exception, match="needs a unicorn"):
        requirements.require(None, "needs a unicorn")


def test_a_missing_requirement_fails_when_everything_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(requirements.SWITCH, "1")

    with pytest.raises(pytest.fail.Exception, match=r"needs a unicorn.*no skip"):
        requirements.require([], "needs a unicorn")


def test_missing_commands_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(requirements.SWITCH, raising=False)

    with pytest.raises(pytest.skip.Exception, match=r"needs on PATH: no-such-command$"):
        requirements.require_commands("sh", "no-such-command")


def test_the_photographs_are_real_jpeg_files(photographs: list[Path]) -> None:
    assert len(photographs) >= 2
    assert all(photograph.read_bytes()[:3] == b"\xff\xd8\xff" for photograph in photographs)

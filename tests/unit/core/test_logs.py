# SPDX-License-Identifier: MIT
"""core.logs: one line per event, and nobody can forge one."""

from __future__ import annotations

import logging

import pytest

from fieldcam.core.logs import StateLog, get_logger


def test_a_value_with_a_newline_stays_on_its_line(caplog: pytest.LogCaptureFixture) -> None:
    log = get_logger("test")

    log.event(logging.ERROR, "CAMERA_FAILED", "said:\n2026 INFO ALL_WELL", name="a b\r\n\x1b[31m")

    assert caplog.messages == [r'CAMERA_FAILED name="a b\r\n\x1b[31m": said:\n2026 INFO ALL_WELL']


def test_a_state_is_said_once_when_it_breaks_and_once_when_it_heals(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    state = StateLog(get_logger("test"), "DISK_GONE", place="/x")

    news = [state.broken("a"), state.broken("b"), state.healed(), state.healed(), state.broken("c")]

    assert news == [True, False, True, False, True]
    assert caplog.messages == ["DISK_GONE place=/x: a", "DISK_GONE_OVER place=/x: works again", "DISK_GONE place=/x: c"]

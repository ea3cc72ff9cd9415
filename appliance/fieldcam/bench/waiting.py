# SPDX-License-Identifier: MIT
"""Letting time pass. A module of its own, so that a consumer's process does not load what starts appliances."""

from __future__ import annotations

import threading


def pause(seconds: float) -> None:
    """Let time pass."""
    threading.Event().wait(max(0.0, seconds))

# SPDX-License-Identifier: MIT
"""One line per event, each with a stable code.

`2026-01-13T10:30:45.123Z WARNING host-camera-capture CAMERA_LOST camera=default: the camera stopped …`. Values are
escaped, so that nothing a camera tool prints or a client sends can forge a line. Loops log a change of state, not a
state: `StateLog` says it once when something breaks and once when it heals.
"""

from __future__ import annotations

import logging
from typing import Any

from fieldcam.core.clock import rfc3339


class EventAdapter(logging.LoggerAdapter[logging.Logger]):
    """A logger whose every line has a code."""

    def event(self, level: int, code: str, message: str, **fields: Any) -> None:
        """Log `message` with its stable `code` and `key=value` fields."""
        if self.isEnabledFor(level):
            pairs = " ".join(f"{key}={_escape(str(value))}" for key, value in fields.items())
            self.logger.log(level, "%s%s: %s", code, f" {pairs}" if pairs else "", _escape(message, keep_spaces=True))


def get_logger(name: str) -> EventAdapter:
    """Return the logger of a module."""
    return EventAdapter(logging.getLogger(name), {})


class StateLog:
    """Logs a change of state once: `broken` with its reason, `healed` when it is over."""

    def __init__(self, log: EventAdapter, code: str, **fields: Any) -> None:
        self._log = log
        self._code = code
        self._fields = fields
        self.reason: str | None = None

    def broken(self, reason: str, level: int = logging.WARNING) -> bool:
        """Note that it is broken; return whether that is news."""
        news = self.reason is None
        if news:
            self._log.event(level, self._code, reason, **self._fields)
        self.reason = reason
        return news

    def healed(self, message: str = "works again") -> bool:
        """Note that it works; return whether that is news."""
        news = self.reason is not None
        if news:
            self._log.event(logging.INFO, f"{self._code}_OVER", message, **self._fields)
        self.reason = None
        return news


def set_up(process: str, level: str = "INFO", file: str | None = None) -> None:
    """Send all log lines of this process to stderr (supervisord keeps it, bounded) or to a file."""
    formatter = _UtcFormatter(f"%(asctime)s %(levelname)s {process} %(message)s")
    handler: logging.Handler = logging.FileHandler(file, encoding="utf-8") if file else logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)


class _UtcFormatter(logging.Formatter):
    """Prints times as RFC 3339 UTC."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - the base's name
        return rfc3339(int(record.created * 1e9)) if datefmt is None else super().formatTime(record, datefmt)


def _escape(text: str, *, keep_spaces: bool = False) -> str:
    """Make text fit on one line: control characters become escapes, a value with spaces is quoted."""
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return safe if keep_spaces or " " not in safe else '"' + safe.replace('"', '\\"') + '"'

# SPDX-License-Identifier: MIT
"""gunicorn's log lines in our form: one line each, with a code, times in UTC, nothing forged."""

from __future__ import annotations

import logging
import sys
from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from fieldcam.api.problems import where
from fieldcam.core import logs
from fieldcam.core.config_sources import load
from fieldcam.core.logs import get_logger

PROCESS = "capture-api"
_log = get_logger("fieldcam.api.server")


class ServerLog(Logger):  # type: ignore[misc]
    """What gunicorn logs through."""

    def setup(self, cfg: Any) -> None:
        """Set logging up for this process; gunicorn calls it again when it reloads."""
        super().setup(cfg)
        config = load()
        logs.set_up(PROCESS, config.log_level, config.log_file or None)
        for handler in list(self.error_log.handlers):
            self.error_log.removeHandler(handler)
        self.error_log.propagate = True

    def critical(self, msg: str, *args: Any, **_kwargs: Any) -> None:
        """Log a line."""
        _say(logging.CRITICAL, msg, args)

    def error(self, msg: str, *args: Any, **_kwargs: Any) -> None:
        """Log a line."""
        _say(logging.ERROR, msg, args)

    def warning(self, msg: str, *args: Any, **_kwargs: Any) -> None:
        """Log a line."""
        _say(logging.WARNING, msg, args)

    def info(self, msg: str, *args: Any, **_kwargs: Any) -> None:
        """Log a line."""
        _say(logging.INFO, msg, args)

    def debug(self, msg: str, *args: Any, **_kwargs: Any) -> None:
        """Log a line."""
        _say(logging.DEBUG, msg, args)

    def exception(self, msg: str, *args: Any, **_kwargs: Any) -> None:
        """Log a line about the exception under way; a client that takes nothing is no error of ours."""
        error = sys.exc_info()[1]
        if isinstance(error, TimeoutError):
            _log.event(logging.INFO, "CLIENT_TOO_SLOW", "a client took nothing for some seconds and was let go")
            return
        _log.event(logging.ERROR, "SERVER", f"{_text(msg, args)}: {type(error).__name__}: {error}", at=where(error))


def _say(level: int, msg: str, args: tuple[Any, ...]) -> None:
    _log.event(level, "SERVER", _text(msg, args))


def _text(msg: str, args: tuple[Any, ...]) -> str:
    try:
        return (str(msg) % args if args else str(msg)).strip()
    except (TypeError, ValueError):
        return str(msg).strip()

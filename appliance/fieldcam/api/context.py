# SPDX-License-Identifier: MIT
"""What every view needs, made once by `create_app`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

from flask import current_app

from fieldcam.api.auth_store import AuthStore
from fieldcam.catalog.reader import CatalogReader
from fieldcam.catalog.result_reader import ResultReader
from fieldcam.core.clock import Clock, Instant
from fieldcam.core.config import Config
from fieldcam.core.errors import CaptureInProgressError, FieldcamError, RequestInvalidError, ServerBusyError
from fieldcam.core.layout import CameraPaths

# Of 64 threads (design section 4, item 14): what is left over serves WebSockets and everything short.
MAX_STREAMS = 24
MAX_CAPTURES = 10
MAX_WAITS = 8

EXTENSION = "fieldcam"


class Places:
    """A number of places for requests that take long; who finds none is told at once.

    Args:
        number: how many.
        refusal: what to raise when all are taken.
    """

    def __init__(self, number: int, refusal: FieldcamError) -> None:
        self._free = threading.BoundedSemaphore(number)
        self._refusal = refusal

    def take(self) -> None:
        """Take a place; `give_back` must follow.

        Raises:
            FieldcamError: the refusal.
        """
        if not self._free.acquire(blocking=False):
            raise type(self._refusal)(self._refusal.message)

    def give_back(self) -> None:
        """Free a place."""
        self._free.release()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold a place while the block runs."""
        self.take()
        try:
            yield
        finally:
            self.give_back()


def _streams() -> Places:
    return Places(MAX_STREAMS, ServerBusyError(f"all {MAX_STREAMS} places for streams are taken"))


def _captures() -> Places:
    return Places(MAX_CAPTURES, CaptureInProgressError(f"{MAX_CAPTURES} captures are under way already"))


def _waits() -> Places:
    return Places(MAX_WAITS, ServerBusyError(f"all {MAX_WAITS} places for waiting requests are taken"))


@dataclass(frozen=True, slots=True)
class Context:
    """Configuration, databases and limits of this process.

    Attributes:
        stop: set when the process is asked to end; streams and waits look at it.
        started_ns: CLOCK_BOOTTIME of the start.
    """

    config: Config
    clock: Clock
    tokens: AuthStore
    captures: CatalogReader
    live: CatalogReader
    results: ResultReader
    version: str
    started_ns: int
    stop: threading.Event = field(default_factory=threading.Event)
    stream_places: Places = field(default_factory=_streams)
    capture_places: Places = field(default_factory=_captures)
    wait_places: Places = field(default_factory=_waits)

    def now(self) -> Instant:
        """Return the present moment."""
        return Instant.now(self.clock)

    def camera(self, name: str | None) -> CameraPaths:
        """Return the paths of a camera, the default one when no name is given.

        Raises:
            RequestInvalidError: there is no such camera.
        """
        wanted = name or self.config.default_camera
        if wanted not in self.config.all_cameras:
            known = ", ".join(sorted(self.config.all_cameras))
            raise RequestInvalidError(f"camera: there is no camera {wanted[:64]!r}; there are: {known}", field="camera")
        return self.config.layout.camera(wanted)


def context() -> Context:
    """Return the context of the running application."""
    return cast("Context", current_app.extensions[EXTENSION])

# SPDX-License-Identifier: MIT
"""The loop of a consumer: wait for a frame, analyse it, now and then write a result, and give a sign of life.

Copy it. What it takes care of: frames that stop and come back (said once, no busy waiting), a results folder that is
full or away (results are kept and tried again), a frame that cannot be analysed (the next one can), and SIGTERM, upon
which what was found so far is written and the process ends.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import cv2

from fieldcam import CaptureServiceError, SharedVolumeError
from fieldcam.provider import SharedVolumeImageProvider
from fieldcam.provider.results import ResultWriter
from services.options import OptionError, Options

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_log = logging.getLogger(__name__)

EX_CONFIG = 78  # sysexits.h: starting again will not help
_WAIT_SECONDS = 0.5  # for one frame; SIGTERM is noticed in between
_LONGEST_PAUSE_SECONDS = 5.0
_MOST_UNWRITTEN = 60


class Analysis(Protocol):
    """What a service does with frames."""

    def take(self, picture: npt.NDArray[np.uint8], metadata: Mapping[str, Any]) -> None:
        """Analyse a frame: BGR uint8 (height, width, 3), and its facts."""

    def summary(self) -> dict[str, Any] | None:
        """Return what was found since the last summary, as JSON values; None when there were no frames."""


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How a consumer goes about it.

    Attributes:
        service: its name; that of its folder for results on the host.
        result_seconds: from one result to the next.
        step_seconds: from one frame to the next, at least.
        max_age_seconds: older frames are no frames.
        stream: `lores` (about 640 pixels wide) or `main`.
    """

    service: str
    result_seconds: float = 60.0
    step_seconds: float = 0.0
    max_age_seconds: float = 10.0
    stream: str = "lores"

    @classmethod
    def from_options(cls, options: Options, *, service: str, step_seconds: float) -> LoopSettings:
        """Read what every service has.

        Raises:
            OptionError: a value cannot be used.
        """
        return cls(
            service=options.name("SERVICE_NAME", service),
            result_seconds=options.number("RESULT_SECONDS", 60.0, least=1, most=86_400),
            step_seconds=step_seconds,
            max_age_seconds=options.number("MAX_AGE_SECONDS", 10.0, least=0.1, most=3600),
            stream=options.choice("STREAM", "lores", ("lores", "main")),
        )


class ConsumerLoop:
    """Runs an analysis until it is stopped.

    Args:
        provider: where frames come from.
        writer: where results go.
        analysis: what is done with them.
        settings: how often.
        stop: ends the loop.
    """

    def __init__(
        self,
        provider: SharedVolumeImageProvider,
        writer: ResultWriter,
        analysis: Analysis,
        settings: LoopSettings,
        stop: threading.Event,
    ) -> None:
        self._provider = provider
        self._writer = writer
        self._analysis = analysis
        self._settings = settings
        self._stop = stop
        self._pause = _WAIT_SECONDS
        self._silence = 0.0
        self._last_metadata: Mapping[str, Any] = {}
        self._unwritten: deque[tuple[dict[str, Any], Mapping[str, Any]]] = deque(maxlen=_MOST_UNWRITTEN)
        self._trouble: dict[str, str] = {}
        self._is_news = False
        self._frames = 0

    def run(self) -> None:
        """Run until stopped; the last result is written then."""
        next_result = time.monotonic() + self._settings.result_seconds
        while not self._stop.is_set():
            began = time.monotonic()
            self._one_frame(began)
            self._writer.beat(force=self._is_news, frames=self._frames, waiting_for=self._trouble.get("frames"))
            self._is_news = False
            if time.monotonic() >= next_result:
                next_result = time.monotonic() + self._settings.result_seconds
                self._write_results()
        self._write_results()

    def _one_frame(self, began: float) -> None:
        settings = self._settings
        try:
            frame = self._provider.wait_for_frame(
                timeout=_WAIT_SECONDS, max_age_seconds=settings.max_age_seconds, stream=settings.stream
            )
        except (SharedVolumeError, CaptureServiceError) as error:
            # A camera of one frame in ten seconds is no trouble: only silence for longer than a frame may be old.
            self._silent(error, time.monotonic() - began)
            return
        self._pause = _WAIT_SECONDS
        self._healed("frames", "frames come again")
        self._silence = 0.0
        self._frames += 1
        self._last_metadata = frame.metadata
        try:
            self._analysis.take(frame.image, frame.metadata)
            self._healed("analysis", "frames can be analysed again")
        except (cv2.error, ValueError, ArithmeticError) as error:
            self._broken("analysis", f"frame {frame.sequence} cannot be analysed: {error}")
        self._stop.wait(max(0.0, settings.step_seconds - (time.monotonic() - began)))

    def _silent(self, error: Exception, waited: float) -> None:
        self._silence += waited
        if self._silence > self._settings.max_age_seconds or waited < _WAIT_SECONDS / 2:
            self._broken("frames", f"no frame: {error}")
        if waited < _WAIT_SECONDS / 2:  # it did not even wait: there is nowhere to wait for frames
            self._silence += self._pause
            self._stop.wait(self._pause)
            self._pause = min(_LONGEST_PAUSE_SECONDS, 2 * self._pause)

    def _write_results(self) -> None:
        summary = self._analysis.summary()
        if summary is not None:
            self._unwritten.append((summary, self._last_metadata))
        while self._unwritten:
            data, metadata = self._unwritten[0]
            try:
                self._writer.write(data, metadata=metadata)
            except SharedVolumeError as error:
                self._broken("results", f"results cannot be written, the last {_MOST_UNWRITTEN} are kept: {error}")
                return
            self._unwritten.popleft()
            self._healed("results", "results can be written again")

    def _broken(self, what: str, reason: str) -> None:
        """Log that something broke, once."""
        if what not in self._trouble:
            self._is_news = True
            _log.warning("%s", reason)
        self._trouble[what] = reason

    def _healed(self, what: str, message: str) -> None:
        if self._trouble.pop(what, None) is not None:
            self._is_news = True
            _log.info("%s", message)


def run_service(name: str, make: Callable[[Options], tuple[LoopSettings, Analysis]]) -> int:
    """Run a service until SIGTERM or SIGINT; return the exit code of the process.

    Args:
        name: of the service, for its log lines.
        make: gives settings and analysis from the environment, or raises `OptionError`.
    """
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s %(levelname)s {name} %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings, analysis = make(Options(os.environ))
        writer = ResultWriter(settings.service)
    except OptionError as error:
        _log.error("%s", error)
        return EX_CONFIG
    cv2.setNumThreads(1)  # cores belong to everybody; small pictures gain nothing by more
    # No cache and no thread: this loop takes each frame once.
    with SharedVolumeImageProvider(cache_size=0, background_monitoring=False) as provider:
        _log.info("started: %s", settings)
        ConsumerLoop(provider, writer, analysis, settings, stop).run()
    _log.info("stopped")
    return 0

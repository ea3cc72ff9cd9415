# SPDX-License-Identifier: MIT
"""Counts vehicles that cross a line, by direction: `python -m services.vehicle_counting` (docs/services.md).

One result a minute and nothing per frame or vehicle: whatever is written wears an SD card out.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from statistics import median
from typing import TYPE_CHECKING, Any

from services.consumer_loop import LoopSettings, run_service
from services.options import Options
from services.vehicle_counter import CounterSettings, FrameOutcome, VehicleCounter

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SERVICE = "vehicle-counting"
_DARK = 30.0  # mean grey, 0..255, below which vehicles are mostly lamps
_SLOWEST_SECONDS = 1.5  # between frames: above, too many vehicles pass between two of them


class VehicleCounting:
    """Gathers what a `VehicleCounter` says into a result.

    Args:
        settings: of the counter.
    """

    def __init__(self, settings: CounterSettings) -> None:
        self._settings = settings
        self._counter = VehicleCounter(settings)
        self._since_start: Counter[str] = Counter()
        self._outcomes: list[FrameOutcome] = []
        self._first: Mapping[str, Any] = {}
        self._last: Mapping[str, Any] = {}
        self._simulated = False

    def take(self, picture: npt.NDArray[np.uint8], metadata: Mapping[str, Any]) -> None:
        """Look for vehicles."""
        view = (int(metadata["width"]), int(metadata["height"]))
        outcome = self._counter.update(picture, int(metadata["monotonic_ns"]), view)
        if outcome is None:
            return
        self._first = self._first or metadata
        self._last = metadata
        self._simulated = self._simulated or bool(metadata["simulated"])
        self._outcomes.append(outcome)
        self._since_start.update(crossing.direction for crossing in outcome.crossings)

    def summary(self) -> dict[str, Any] | None:
        """Return the counts since the last summary."""
        outcomes, self._outcomes = self._outcomes, []
        if not outcomes:
            return None
        crossings = [crossing for outcome in outcomes for crossing in outcome.crossings]
        counts = Counter(crossing.direction for crossing in crossings)
        usual = self._counter.usual_seconds
        result = {
            "analysis": "vehicle_count",
            "from": self._first["captured_at"],
            "to": self._last["captured_at"],
            "counts": {label: counts[label] for label in self._settings.labels},
            "total": counts.total(),
            "counts_since_start": {label: self._since_start[label] for label in self._settings.labels},
            "frames": len(outcomes),
            "frames_missed": sum(outcome.missed for outcome in outcomes),
            "frames_settling": sum(outcome.state == "settling" for outcome in outcomes),
            "frames_dark": sum(outcome.brightness < _DARK for outcome in outcomes),
            "frame_seconds": None if usual is None else round(usual, 3),
            "step": median(crossing.step for crossing in crossings) if crossings else None,
            "too_slow": usual is not None and usual > _SLOWEST_SECONDS,
            "brightness": round(sum(outcome.brightness for outcome in outcomes) / len(outcomes), 1),
            "camera_shift": round(max(outcome.shifted for outcome in outcomes), 1),
            "simulated": self._simulated,
        }
        self._first = {}
        self._simulated = False
        return result


def make(options: Options) -> tuple[LoopSettings, VehicleCounting]:
    """Return settings and analysis as the environment says.

    Raises:
        OptionError: a value cannot be used.
    """
    usual = CounterSettings()
    most_fps = options.number("VEHICLE_MAX_FPS", 15.0, least=0.5, most=60)
    # A little early: the camera's next frame must not be missed because its clock and ours differ.
    settings = LoopSettings.from_options(options, service=SERVICE, step_seconds=0.8 / most_fps)
    return settings, VehicleCounting(
        CounterSettings(
            line=options.line("VEHICLE_LINE", usual.line),
            labels=options.labels("VEHICLE_LABELS", usual.labels),
            region=options.corners("VEHICLE_REGION"),
            least_area=options.number("VEHICLE_LEAST_AREA", usual.least_area, least=0.0001, most=0.25),
            width=options.whole("VEHICLE_WIDTH", usual.width, least=160, most=1280),
        )
    )


if __name__ == "__main__":
    sys.exit(run_service(SERVICE, make))

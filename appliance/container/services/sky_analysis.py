# SPDX-License-Identifier: MIT
"""Cloud, brightness and the trend of visibility: `python -m services.sky_analysis` (docs/services.md).

The sky changes slowly, so a frame every ten seconds will do; a result has the middle of a minute's readings, which a
bird or a burst of noise does not move.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from services.consumer_loop import LoopSettings, run_service
from services.geometry import Box
from services.options import Options
from services.sky import SkyAnalyser, SkyReading, SkySettings
from services.visibility import TrendFinder, contrast

if TYPE_CHECKING:
    import numpy.typing as npt

SERVICE = "sky-analysis"


class SkyAnalysis:
    """Gathers readings of the sky into a result.

    Args:
        settings: where the sky is.
        distant: where far things are, as fractions of the picture.
        trend_hours: how far back the trend looks.
    """

    def __init__(self, settings: SkySettings, distant: Box, trend_hours: float) -> None:
        self._analyser = SkyAnalyser(settings)
        self._distant = distant
        self._trend = TrendFinder(trend_hours)
        self._view: tuple[int, int] | None = None
        self._start()

    def _start(self) -> None:
        self._readings: list[SkyReading] = []
        self._contrasts: list[float] = []
        self._lights: list[float] = []
        self._first: Mapping[str, Any] = {}
        self._last: Mapping[str, Any] = {}
        self._simulated = False

    def take(self, picture: npt.NDArray[np.uint8], metadata: Mapping[str, Any]) -> None:
        """Read the sky in a frame."""
        view = (int(metadata["width"]), int(metadata["height"]))
        if view != self._view:
            self._view = view
            self._trend.start_anew()  # other pixels have another contrast
            self._contrasts.clear()
        self._first = self._first or metadata
        self._last = metadata
        self._simulated = self._simulated or bool(metadata["simulated"])
        reading = self._analyser.read(picture)
        self._readings.append(reading)
        sharpness = contrast(picture, self._distant)
        if sharpness is not None and reading.condition != "dark":
            self._contrasts.append(sharpness)
        light = relative_light(picture, metadata.get("exposure"), metadata.get("gain"))
        if light is not None:
            self._lights.append(light)

    def summary(self) -> dict[str, Any] | None:
        """Return what was read since the last summary."""
        if not self._readings:
            return None
        sharpness = _middle(self._contrasts)
        if sharpness is not None:
            self._trend.add(int(self._last["monotonic_ns"]), sharpness)
        trend = self._trend.trend()
        readings = self._readings
        result = {
            "analysis": "sky",
            "from": self._first["captured_at"],
            "to": self._last["captured_at"],
            "condition": Counter(reading.condition for reading in readings).most_common(1)[0][0],
            "cloud_fraction": _middle([reading.cloud_fraction for reading in readings]),
            "clear_fraction": _middle([reading.clear_fraction for reading in readings]),
            "sky_fraction": _middle([reading.sky_fraction for reading in readings]),
            "glare_fraction": _middle([reading.glare_fraction for reading in readings]),
            "brightness": _middle([reading.brightness for reading in readings], digits=1),
            "light": _middle(self._lights, digits=6),
            "contrast": sharpness,
            "contrast_per_hour": None if trend.per_hour is None else round(trend.per_hour, 5),
            "visibility_trend": trend.tendency,
            "trend_points": trend.points,
            "frames": len(readings),
            "simulated": self._simulated,
        }
        self._start()
        return result


def relative_light(picture: npt.NDArray[np.uint8], exposure_ms: object, gain: object) -> float | None:
    """Return how much light the scene gave, in units of one's own; None when the camera does not tell its exposure.

    Automatic exposure keeps pictures equally bright from noon to dusk; divided by exposure and gain they are not.

    Args:
        picture: BGR uint8.
        exposure_ms: as the camera reports it.
        gain: as the camera reports it.
    """
    if not isinstance(exposure_ms, int | float) or not isinstance(gain, int | float):
        return None
    if not (math.isfinite(exposure_ms) and math.isfinite(gain) and exposure_ms > 0 and gain > 0):
        return None
    sample = picture[::8, ::8].astype(np.float64) / 255
    # Pixels are gamma-coded (IEC 61966-2-1, about 2.2); light adds up only without that.
    return float(np.mean(sample**2.2)) / (exposure_ms * gain)


def _middle(values: Sequence[float | None], digits: int = 4) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), digits) if known else None


def make(options: Options) -> tuple[LoopSettings, SkyAnalysis]:
    """Return settings and analysis as the environment says.

    Raises:
        OptionError: a value cannot be used.
    """
    usual = SkySettings()
    step_seconds = options.number("SKY_STEP_SECONDS", 10.0, least=0.1, most=3600)
    settings = LoopSettings.from_options(options, service=SERVICE, step_seconds=step_seconds)
    return settings, SkyAnalysis(
        SkySettings(
            region=options.box("SKY_REGION", usual.region),
            automatic=options.choice("SKY_MASK", "region", ("region", "automatic")) == "automatic",
        ),
        distant=options.box("SKY_DISTANT_REGION", Box(0.0, 1 / 3, 1.0, 2 / 3)),
        trend_hours=options.number("SKY_TREND_HOURS", 3.0, least=0.1, most=48),
    )


if __name__ == "__main__":
    sys.exit(run_service(SERVICE, make))

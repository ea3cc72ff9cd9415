# SPDX-License-Identifier: MIT
"""How well far things are seen, and whether that gets better or worse.

Haze puts white light between a far thing and the camera, so contrast falls with distance and haze (Koschmieder). What
is measured is the fine contrast of one region of far things against its brightness, without what noise adds: good for
comparing one camera's view with itself from hour to hour. It is no distance in metres.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from services.geometry import Box
from services.sky import cut

if TYPE_CHECKING:
    import numpy.typing as npt

Tendency = Literal["rising", "falling", "steady", "unknown"]

_LEAST_BRIGHTNESS = 20.0  # grey levels; below there is no contrast but that of noise and lamps
_LEAST_POINTS = 5
_LEAST_SPAN_SECONDS = 240.0
_MOST_POINTS = 240
_SURE = 3.0  # times what the points scatter around the line


def contrast(picture: npt.NDArray[np.uint8], region: Box, width: int = 640) -> float | None:
    """Return the contrast of far things in a region of a picture, 0 (fog) to about 0.5; None when it is too dark.

    Args:
        picture: BGR uint8, of any size.
        region: fractions of the picture.
        width: pixels to which the picture is reduced.
    """
    part = cut(picture, region, width)
    grey = np.asarray(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY), np.float32)
    mean = float(grey.mean())
    if mean < _LEAST_BRIGHTNESS:
        return None
    fine = np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.0), np.float32)
    detail = fine - np.asarray(cv2.GaussianBlur(grey, (0, 0), 6.0), np.float32)
    noise = _noise(grey)
    # A blur by one pixel leaves 1 / (4 pi) of the noise's variance.
    variance = float(np.mean(detail**2)) - noise**2 / (4 * np.pi)
    return float(np.sqrt(max(0.0, variance))) / mean


def _noise(grey: npt.NDArray[np.float32]) -> float:
    """Return the standard deviation of the noise: what a filter lets through that is blind to edges and slopes.

    Immerkær 1996, doi:10.1006/cviu.1996.0060; the median instead of the mean, so that texture does not count.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = np.abs(np.asarray(cv2.filter2D(grey, cv2.CV_32F, kernel), np.float32))
    return float(np.median(response)) / (6 * 0.6745)


@dataclass(frozen=True, slots=True)
class Trend:
    """How a figure changes.

    Attributes:
        per_hour: what it gains in an hour; None with too few points.
        tendency: `steady` unless the change is larger than what the points scatter.
        points: measurements it stands on.
    """

    per_hour: float | None
    tendency: Tendency
    points: int


class TrendFinder:
    """The trend of the last hours: the median of the slopes between all pairs of points (Theil and Sen).

    A lorry before the camera or a shower of one minute moves it by nothing.

    Args:
        hours: how far back it looks.
    """

    def __init__(self, hours: float) -> None:
        self._seconds = hours * 3600
        self._points: deque[tuple[float, float]] = deque(maxlen=_MOST_POINTS)

    def add(self, at_ns: int, value: float) -> None:
        """Add a measurement; a clock that began anew (another boot) begins the trend anew."""
        at = at_ns / 1e9
        if self._points and at <= self._points[-1][0]:
            self._points.clear()
        self._points.append((at, value))
        while at - self._points[0][0] > self._seconds:
            self._points.popleft()

    def start_anew(self) -> None:
        """Forget: the view is another."""
        self._points.clear()

    def trend(self) -> Trend:
        """Return the trend as of now."""
        at, values = np.array(self._points, np.float64).reshape(-1, 2).T
        if len(at) < _LEAST_POINTS or at[-1] - at[0] < _LEAST_SPAN_SECONDS:
            return Trend(None, "unknown", len(at))
        first, second = np.triu_indices(len(at), 1)
        slope = float(np.median((values[second] - values[first]) / (at[second] - at[first])))
        off = values - slope * at
        scatter = 1.4826 * float(np.median(np.abs(off - np.median(off))))
        # The standard error of a slope through evenly spread points.
        doubt = scatter * np.sqrt(12 / len(at)) / (at[-1] - at[0])
        noise_floor = 0.01 * abs(median(values)) / (at[-1] - at[0])  # a hundredth in all that time is no change
        if abs(slope) <= max(_SURE * doubt, noise_floor):
            return Trend(slope * 3600, "steady", len(at))
        return Trend(slope * 3600, "rising" if slope > 0 else "falling", len(at))

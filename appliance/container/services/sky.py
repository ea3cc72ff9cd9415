# SPDX-License-Identifier: MIT
"""Which part of a picture is sky, and how much of that is cloud.

Clear sky scatters blue light more than red (Rayleigh), droplets scatter both alike. So `(blue - red) / (blue + red)`
tells cloud from clear whatever the brightness; haze and white balance shift it, which is why the threshold moves
between the two groups of pixels where there are two (as in HYTA: Li, Lu and
Yang 2011, doi:10.1175/JTECH-D-11-00009.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from services.geometry import Box

if TYPE_CHECKING:
    import numpy.typing as npt

Condition = Literal["clear", "partly_cloudy", "cloudy", "overcast", "dark", "low_sun", "overexposed", "no_sky"]

_DARK = 45.0  # mean grey of the sky, 0..255: night, whatever is left is noise and lamps
_ALONE = 0.10  # normalised blue against red: the threshold when all of the sky is alike
_THRESHOLDS = (0.045, 0.22)  # between which the threshold may move
_LEAST_THRESHOLD = 0.03  # in haze
_CLOUDS = (-0.05, 0.03)  # blueness that clouds may have, by white balance
_LEAST_ROWS = 10  # with clear sky, to tell how haze grows
_EDGE = 8.0  # grey levels a pixel
_APART = 0.07  # between the means of two groups, to be two
_LOW_SUN = -0.06  # median of it, from which the light itself is red
_SATURATED = 250
_SUN_AREA = (0.0002, 0.15)  # of the sky
_SUN_ROUNDNESS = 0.55  # of the smallest circle around it
_HALO = 1.7  # radii of the sun's disk in which colours are not to be trusted
_MOST_GLARE = 0.6
_LEAST_SKY = 0.02  # of the region

UPPER_THIRD = Box(0.0, 0.0, 1.0, 1 / 3)


@dataclass(frozen=True, slots=True)
class SkyReading:
    """What one picture says of the sky.

    Attributes:
        condition: in a word; for `dark`, `low_sun`, `overexposed` and `no_sky` there are no fractions.
        sky_fraction: share of the region (0..1) that is sky.
        cloud_fraction: share of that sky, without glare, that is cloud; None where it cannot be told.
        clear_fraction: 1 - cloud_fraction.
        glare_fraction: share of the sky that the sun outshines.
        brightness: mean grey of the sky, 0..255; None without sky.
    """

    condition: Condition
    sky_fraction: float
    cloud_fraction: float | None
    clear_fraction: float | None
    glare_fraction: float
    brightness: float | None


@dataclass(frozen=True, slots=True)
class SkySettings:
    """Where the sky is looked for.

    Attributes:
        region: fractions of the picture; all of it counts as sky unless `automatic`.
        automatic: find the sky in the region: what is smooth, not greenish or brown, and reaches its upper edge.
        width: pixels to which a picture is reduced.
    """

    region: Box = UPPER_THIRD
    automatic: bool = False
    width: int = 640


class SkyAnalyser:
    """Reads the sky. Keeps nothing from picture to picture.

    Args:
        settings: where.
    """

    def __init__(self, settings: SkySettings) -> None:
        self._settings = settings

    def read(self, picture: npt.NDArray[np.uint8]) -> SkyReading:
        """Return what a picture, BGR uint8 of any size, says of the sky."""
        region = cut(picture, self._settings.region, self._settings.width)
        # Chroma of a JPEG comes in blocks of 16 pixels, and sensors are noisy: one pixel proves nothing.
        smooth = np.asarray(cv2.GaussianBlur(region, (0, 0), 1.5), np.uint8)
        sky = sky_mask(region) if self._settings.automatic else np.full(region.shape[:2], 255, np.uint8)
        sky_fraction = float(np.mean(sky > 0))
        if sky_fraction < _LEAST_SKY:
            return SkyReading("no_sky", sky_fraction, None, None, 0.0, None)
        brightness = float(cv2.mean(cv2.cvtColor(smooth, cv2.COLOR_BGR2GRAY), sky)[0])
        if brightness < _DARK:
            return SkyReading("dark", sky_fraction, None, None, 0.0, brightness)
        glare = _glare(region, sky)
        glare_fraction = float(np.count_nonzero(glare) / np.count_nonzero(sky))
        usable = (sky > 0) & (glare == 0)
        if glare_fraction > _MOST_GLARE or _is_burnt_out(smooth, usable):
            return SkyReading("overexposed", sky_fraction, None, None, glare_fraction, brightness)
        blueness = _blueness(smooth)
        if float(np.median(blueness[usable])) < _LOW_SUN:
            return SkyReading("low_sun", sky_fraction, None, None, glare_fraction, brightness)
        cloud = float(np.count_nonzero(cloud_mask(blueness, usable)) / np.count_nonzero(usable))
        return SkyReading(_condition(cloud), sky_fraction, cloud, 1 - cloud, glare_fraction, brightness)


def cut(picture: npt.NDArray[np.uint8], region: Box, width: int) -> npt.NDArray[np.uint8]:
    """Return a region of a picture, reduced as a picture of that `width` would be, and at least 8 × 8."""
    height, full = picture.shape[:2]
    left, right = round(region.left * full), max(round(region.right * full), round(region.left * full) + 1)
    top, bottom = round(region.top * height), max(round(region.bottom * height), round(region.top * height) + 1)
    part = picture[top:bottom, left:right]
    scale = min(1.0, width / full)
    size = max(8, round((right - left) * scale)), max(8, round((bottom - top) * scale))
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)


def sky_mask(region: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return 255 where there is sky: smooth, of a colour that skies have, and joined to the upper edge.

    An edge must show both in blue, where a clear sky is as bright as a white cloud, and in grey, where it is as dark as
    a rain cloud: nearly everything on the ground is darker in both. The finest detail, noise and JPEG, is taken away.
    """
    smooth = np.asarray(cv2.bilateralFilter(cv2.GaussianBlur(region, (3, 3), 0), 5, 20, 3), np.uint8)
    values = smooth.astype(np.float32)
    edges = np.minimum(_edges(values[:, :, 0]), _edges(values.mean(axis=2)))
    blue, green, red = (values[:, :, channel] for channel in range(3))
    total = blue + green + red + 1.0
    # Plants are greener and walls redder than their blue; a low sun makes skies redder too, but not as much.
    plausible = (green - blue < 0.035 * total) & (red - blue < 0.06 * total)
    top = values[: max(2, len(values) // 12)].mean()
    bright = values.mean(axis=2) > 0.45 * top
    candidate = ((edges < _EDGE) & plausible & bright).astype(np.uint8)
    candidate = np.asarray(cv2.morphologyEx(candidate, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)), np.uint8)
    _, labels = cv2.connectedComponents(candidate, connectivity=4)
    at_top = np.unique(labels[0:3][candidate[0:3] > 0])
    found = np.isin(labels, at_top[at_top > 0]).astype(np.uint8) * 255
    # An edge takes a pixel of the sky's side, too. What has sky all around it is sky: birds, wires, edges of clouds.
    return _without_holes(np.asarray(cv2.dilate(found, np.ones((3, 3), np.uint8)), np.uint8))


def cloud_mask(blueness: npt.NDArray[np.float32], usable: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return where there is cloud, of the usable pixels.

    Haze makes a clear sky whiter towards the horizon. So the threshold sinks row by row, to half way between clouds
    and what is clear there; it never rises above the one that holds for all of the sky.

    Args:
        blueness: normalised blue against red, (height, width).
        usable: which pixels count, (height, width).
    """
    threshold = cloud_threshold(blueness[usable])
    clear = usable & (blueness >= threshold)
    of_row = clear.sum(axis=1)
    rows = np.flatnonzero(of_row >= 0.05 * blueness.shape[1])
    if len(rows) < _LEAST_ROWS:
        return usable & ~clear
    level = np.where(clear, blueness, 0).sum(axis=1)[rows] / of_row[rows]
    slope, start = np.polyfit(rows.astype(np.float64), level.astype(np.float64), 1, w=np.sqrt(of_row[rows]))
    profile = start + slope * np.arange(len(blueness))
    cloudy = float(np.clip(np.quantile(blueness[usable], 0.05), *_CLOUDS))
    thresholds = np.clip((profile + cloudy) / 2, min(_LEAST_THRESHOLD, threshold), threshold)
    return np.asarray(usable & (blueness < thresholds[:, None]))


def cloud_threshold(blueness: npt.NDArray[np.float32]) -> float:
    """Return the blueness below which sky is cloud."""
    low, high = -0.2, 0.6
    counts, edges = np.histogram(np.clip(blueness, low, high), bins=160, range=(low, high))
    centers = (edges[:-1] + edges[1:]) / 2
    weight = np.cumsum(counts)
    total = weight[-1]
    sums = np.cumsum(counts * centers)
    with np.errstate(divide="ignore", invalid="ignore"):
        below, above = sums / weight, (sums[-1] - sums) / (total - weight)
        between = weight * (total - weight) * (above - below) ** 2
    between = np.nan_to_num(between)
    best = int(np.argmax(between))
    least_share = 0.02 * total
    if not least_share < weight[best] < total - least_share or above[best] - below[best] < _APART:
        return _ALONE
    # Otsu leans to the larger group; half way between the two is where a pixel is half cloud.
    return float(np.clip((below[best] + above[best]) / 2, *_THRESHOLDS))


def _blueness(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    blue, red = picture[:, :, 0].astype(np.float32), picture[:, :, 2].astype(np.float32)
    return np.asarray((blue - red) / (blue + red + 1.0), np.float32)


def _edges(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return how steep it is, in grey levels a pixel."""
    across, down = (cv2.Sobel(values, cv2.CV_32F, *axis, ksize=3, scale=0.25) for axis in ((1, 0), (0, 1)))
    return np.asarray(cv2.magnitude(across, down), np.float32)


def _glare(region: npt.NDArray[np.uint8], sky: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return 255 around a sun: a round patch in which every channel is full. A cloud burnt out is not round."""
    glare = np.zeros(sky.shape, np.uint8)
    full = ((region.min(axis=2) >= _SATURATED) & (sky > 0)).astype(np.uint8)
    contours, _ = cv2.findContours(full, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    pixels = np.count_nonzero(sky)
    for contour in contours:
        area = cv2.contourArea(contour)
        (x, y), radius = cv2.minEnclosingCircle(contour)
        is_sun = _SUN_AREA[0] * pixels < area < _SUN_AREA[1] * pixels and area > _SUN_ROUNDNESS * np.pi * radius**2
        if is_sun:
            cv2.circle(glare, (round(x), round(y)), round(_HALO * radius) + 2, [255], -1)
    return np.asarray(cv2.bitwise_and(glare, sky), np.uint8)


def _is_burnt_out(picture: npt.NDArray[np.uint8], usable: npt.NDArray[np.bool_]) -> bool:
    """Return whether too much of the sky has lost its colour."""
    return bool(not usable.any() or np.mean(picture[usable].min(axis=1) >= _SATURATED) > _MOST_GLARE)


def _without_holes(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(mask)
    cv2.drawContours(filled, contours, -1, [255], cv2.FILLED)
    return filled


def _condition(cloud: float) -> Condition:
    """Return the word: eighths of cloud, as observers of the weather count them."""
    if cloud < 1.5 / 8:
        return "clear"
    if cloud < 4.5 / 8:
        return "partly_cloudy"
    return "cloudy" if cloud < 7.5 / 8 else "overcast"

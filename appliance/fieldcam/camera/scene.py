# SPDX-License-Identifier: MIT
"""The scene the simulated camera looks at: sky, hills and a road with traffic, and a mark that nobody can miss.

Everything that stands still is drawn once per size, and lit once per brightness. A frame is then a copy of it with
the moving things drawn in: about 20 ms for 12 million pixels, of which the copy takes most.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

MARK = "SIMULATED"
FONT = cv2.FONT_HERSHEY_DUPLEX
_YELLOW, _BLACK, _WHITE = (0, 220, 255), (0, 0, 0), (255, 255, 255)

# Fractions of the height, top to bottom.
MARK_BAND = (0.04, 0.20)
_HORIZON = 0.55
_ROAD = (0.64, 0.90)
STATUS_BAND = (0.92, 1.0)

# Light beyond these bounds would leave nothing to look at: the darkest and the brightest frame still show the scene.
_LEAST_LIGHT, _MOST_LIGHT = 1 / 64, 8.0
_GAMMA = 2.2


class Scene:
    """One scene in one size. Not thread-safe: who draws in another thread makes a scene of its own.

    Args:
        seed: text; the same text gives the same scene.
        width, height: pixels.
    """

    def __init__(self, seed: str, width: int, height: int) -> None:
        self.width, self.height = width, height
        random = np.random.default_rng(zlib.crc32(seed.encode()))
        self._daylight = _draw_background(random, width, height)
        self._cars = _make_cars(random)
        self._lit: tuple[float, npt.NDArray[np.uint8]] | None = None

    def draw(self, *, seconds: float, light: float, status: str) -> npt.NDArray[np.uint8]:
        """Return the scene as BGR pixels in an array of the caller's own.

        Args:
            seconds: when; the traffic moves by it at constant speed.
            light: brightness, 1.0 = as the scene is; exposure times gain.
            status: a line drawn in at the bottom.
        """
        light = min(max(light, _LEAST_LIGHT), _MOST_LIGHT)
        curve = _tone_curve(light)
        if self._lit is None or self._lit[0] != light:
            lit = cast("npt.NDArray[np.uint8]", cv2.LUT(self._daylight, curve))
            _draw_mark(lit)  # after the light, so that it stands out in every exposure
            self._lit = (light, lit)
        pixels = self._lit[1].copy()
        for lane, speed, phase, colour in self._cars:
            self._draw_car(pixels, lane, (seconds * speed + phase) % 1.0, tuple(int(curve[c]) for c in colour))
        self._draw_status(pixels, status)
        return pixels

    def _draw_car(self, pixels: npt.NDArray[np.uint8], lane: float, progress: float, colour: tuple[int, ...]) -> None:
        length, tall = self.width * 0.12, self.height * 0.07
        left = progress * (self.width + length) - length
        bottom = self.height * lane
        wheel = max(1, round(tall * 0.22))
        body = (round(left), round(bottom - tall * 0.7)), (round(left + length), round(bottom - tall * 0.2))
        cabin = (round(left + length * 0.25), round(bottom - tall)), (round(left + length * 0.75), body[1][1])
        cv2.rectangle(pixels, *cabin, colour, cv2.FILLED)
        cv2.rectangle(pixels, *body, colour, cv2.FILLED)
        for at in (0.22, 0.78):
            cv2.circle(pixels, (round(left + length * at), round(bottom - wheel)), wheel, _BLACK, cv2.FILLED)

    def _draw_status(self, pixels: npt.NDArray[np.uint8], status: str) -> None:
        top = round(self.height * STATUS_BAND[0])
        pixels[top:] = 0
        _draw_text(pixels, status, (round(self.width * 0.01), top, round(self.width * 0.98), self.height - top), _WHITE)


def _tone_curve(light: float) -> npt.NDArray[np.uint8]:
    """Return what becomes of each of the 256 values: the sensor is linear, the picture is not."""
    values = np.arange(256) * light ** (1 / _GAMMA)
    return cast("npt.NDArray[np.uint8]", np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _make_cars(random: np.random.Generator) -> list[tuple[float, float, float, tuple[int, int, int]]]:
    """Return (lane as fraction of the height, screens a second, phase, colour) of each car, the far ones first."""
    cars = []
    for lane, direction in ((0.71, -1), (0.78, -1), (0.84, 1), (0.90, 1)):
        blue, green, red = (int(value) for value in random.integers(40, 230, 3))
        cars.append((lane, direction * float(random.uniform(0.05, 0.20)), float(random.uniform()), (blue, green, red)))
    return cars


def _draw_background(random: np.random.Generator, width: int, height: int) -> npt.NDArray[np.uint8]:
    pixels = np.empty((height, width, 3), np.uint8)
    horizon = max(1, round(height * _HORIZON))
    shade = np.linspace(0, 1, horizon)[:, None]
    sky = (1 - shade) * np.array((205, 140, 80)) + shade * np.array((235, 220, 190))
    pixels[:horizon] = sky.astype(np.uint8)[:, None]
    pixels[horizon:] = (70, 120, 90)
    sun = (round(width * random.uniform(0.1, 0.9)), round(height * 0.32))
    cv2.circle(pixels, sun, max(1, round(height * 0.05)), (150, 225, 250), cv2.FILLED, cv2.LINE_AA)
    _draw_hills(pixels, random, horizon)
    top, bottom = (round(height * part) for part in _ROAD)
    pixels[top:bottom] = (90, 88, 86)
    middle, thick = (top + bottom) // 2, max(1, height // 150)
    for start in range(0, width, max(2, width // 12)):
        dash = (start, middle - thick), (start + width // 24, middle + thick)
        cv2.rectangle(pixels, *dash, (215, 215, 215), cv2.FILLED)
    # Grain makes file sizes and encoding times like those of a photograph; a small tile of it, repeated, is enough.
    grain = random.integers(0, 14, (256, 256, 3), dtype=np.uint8)
    for y in range(0, height, 256):
        for x in range(0, width, 256):
            patch = pixels[y : y + 256, x : x + 256]
            cv2.add(patch, grain[: patch.shape[0], : patch.shape[1]], dst=patch)
    return pixels


def _draw_hills(pixels: npt.NDArray[np.uint8], random: np.random.Generator, horizon: int) -> None:
    height, width = pixels.shape[:2]
    across = np.linspace(0, 2 * np.pi, 64)
    for rise, colour in ((0.12, (150, 150, 110)), (0.07, (95, 140, 95))):
        waves = sum(np.sin(across * k + random.uniform(0, 6)) / k for k in (1, 2, 3))
        tops = horizon - height * rise * (0.6 + 0.3 * waves)
        outline = np.column_stack((np.linspace(0, width, 64), tops))
        corners = np.array(((width, height * _ROAD[0]), (0, height * _ROAD[0])))
        cv2.fillPoly(pixels, [np.rint(np.vstack((outline, corners))).astype(np.int32)], colour, cv2.LINE_AA)


def _draw_mark(pixels: npt.NDArray[np.uint8]) -> None:
    height, width = pixels.shape[:2]
    top, bottom = (round(height * part) for part in MARK_BAND)
    pixels[top:bottom] = _BLACK
    margin = round(width * 0.05)
    _draw_text(pixels, MARK, (margin, top, width - 2 * margin, bottom - top), _YELLOW, bold=True)


def _draw_text(
    pixels: npt.NDArray[np.uint8],
    text: str,
    box: tuple[int, int, int, int],
    colour: tuple[int, int, int],
    *,
    bold: bool = False,
) -> None:
    """Draw text as large as it fits into `box` (left, top, width, height), in its middle."""
    left, top, width, height = box
    (unit_width, unit_height), _ = cv2.getTextSize(text, FONT, 10.0, 1)
    scale = 10.0 * min(width / max(unit_width, 1), height * 0.65 / max(unit_height, 1))
    thickness = max(1, round(scale * (3 if bold else 1.5)))
    (text_width, text_height), _ = cv2.getTextSize(text, FONT, scale, thickness)
    at = (left + (width - text_width) // 2, top + (height + text_height) // 2)
    cv2.putText(pixels, text, at, FONT, scale, colour, thickness, cv2.LINE_AA)

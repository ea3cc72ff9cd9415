# SPDX-License-Identifier: MIT
"""Skies whose clouds are known, over a landscape whose horizon is known."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

WIDTH, HEIGHT = 640, 480


@dataclass(frozen=True)
class Sky:
    """A sky.

    Attributes:
        cloud: share of the sky (0..1) that is more than half covered.
        hue: of the clear sky at the zenith, degrees; 210 is the usual blue.
        brightness: of all, as a factor.
        haze: how much white lies over the clear sky at the horizon, 0..1.
        horizon: share of the picture that is sky, where nothing stands up into it.
        grey_clouds: brightness of clouds, 0..255.
    """

    cloud: float = 0.5
    hue: float = 210.0
    brightness: float = 1.0
    haze: float = 0.3
    horizon: float = 0.5
    grey_clouds: float = 225.0
    seed: int = 0
    noise: float = 2.5
    quality: int = 85
    sun: tuple[float, float, float] | None = None  # x, y, radius in pixels
    landscape_fog: float = 0.0

    def paint(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Return the picture as it comes out of a JPEG, BGR, and which of its pixels are sky."""
        chance = np.random.default_rng(self.seed)
        rows = int(HEIGHT * self.horizon)
        cover = self.cover()[:, :, None]
        height = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None] ** 1.5
        red, green, blue = colorsys.hls_to_rgb(self.hue / 360, 0.60, 0.62)
        zenith = np.array([blue, green, red], np.float32) * 255
        clear = zenith * (1 - self.haze * height) + np.array([240, 238, 232], np.float32) * self.haze * height
        shading = cv2.GaussianBlur(chance.normal(0, 1, (rows, WIDTH)).astype(np.float32), (0, 0), 25)[:, :, None]
        cloud = np.array([1.0, 0.995, 0.985], np.float32) * (self.grey_clouds + shading * 250)
        picture = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        picture[:rows] = clear * (1 - cover) + cloud * cover
        if self.sun is not None:
            self._shine(picture[:rows], self.sun)
        is_sky = self._land(chance, picture, rows)
        lit = picture * self.brightness + chance.normal(0, self.noise, picture.shape)
        _, jpeg = cv2.imencode(".jpg", np.clip(lit, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8), is_sky

    def cover(self) -> npt.NDArray[np.float32]:
        """Return how much each pixel is covered; `cloud` of them by more than a half, with soft edges."""
        rows = int(HEIGHT * self.horizon)
        chance = np.random.default_rng(self.seed + 1000)
        if self.cloud in {0.0, 1.0}:
            return np.full((rows, WIDTH), self.cloud, np.float32)
        shape = np.zeros((rows, WIDTH), np.float32)
        for size in (10, 25, 60):
            noise = chance.normal(0, 1, (rows, WIDTH)).astype(np.float32)
            layer = np.asarray(cv2.GaussianBlur(noise, (0, 0), size), np.float32)
            shape += layer / layer.std() * size**0.5
        middle = float(np.quantile(shape, 1 - self.cloud))
        return np.asarray(1 / (1 + np.exp(-(shape - middle) / (0.08 * shape.std()))), np.float32)

    @staticmethod
    def _shine(sky: npt.NDArray[np.float32], sun: tuple[float, float, float]) -> None:
        x, y, radius = sun
        rows, columns = np.mgrid[: sky.shape[0], : sky.shape[1]]
        away = np.hypot(columns - x, rows - y)
        light = 400 * np.exp(-np.maximum(0, away - radius) / (0.35 * radius))
        sky += light[:, :, None].astype(np.float32)

    def _land(self, chance: np.random.Generator, picture: npt.NDArray[np.float32], rows: int) -> npt.NDArray[np.bool_]:
        """Paint textured hills, houses and trees, and return what they leave of the sky."""
        line = cv2.GaussianBlur(chance.normal(0, 1, (1, WIDTH)).astype(np.float32), (0, 0), 40)[0]
        top = np.clip(rows - 20 - line / line.std() * 8, 4, rows).astype(int)
        for _ in range(5):
            left, wide = int(chance.integers(0, WIDTH - 60)), int(chance.integers(25, 60))
            top[left : left + wide] = np.minimum(top[left : left + wide], rows - int(chance.integers(30, 60)))
        is_land: npt.NDArray[np.bool_] = np.arange(HEIGHT)[:, None] >= top[None, :]
        texture = cv2.GaussianBlur(chance.normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 1.2) * 130
        land = np.array([50, 95, 80], np.float32) + texture[:, :, None]
        fog = self.landscape_fog
        picture[is_land] = (land * (1 - fog) + np.array([215, 213, 210], np.float32) * fog)[is_land]
        return ~is_land

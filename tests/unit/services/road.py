# SPDX-License-Identifier: MIT
"""A road with vehicles whose crossings are known: textured, noisy, with shadows, occlusions, JPEG, shake and light."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

WIDTH, HEIGHT = 480, 360
PAD = 16  # painted around the view, for a camera that shakes


@dataclass(frozen=True)
class Vehicle:
    """One vehicle.

    Attributes:
        length, height: pixels.
        lane_y: its wheels, pixels from the top.
        speed: pixels a second; negative goes to the left.
        enters_at: seconds at which its front touches the picture.
        stops: (second, for how long) it stands.
    """

    length: float
    height: float
    lane_y: float
    speed: float
    enters_at: float
    colour: tuple[int, int, int]
    shadow: float = 0.6
    stop: tuple[float, float] | None = None

    def center_x(self, at: float) -> float:
        moving = at - self.enters_at
        if self.stop is not None:
            began, lasted = self.stop
            moving -= min(max(0.0, at - began), lasted)
        start = -self.length / 2 if self.speed > 0 else WIDTH + self.length / 2
        return start + self.speed * moving

    def is_seen(self, at: float) -> bool:
        return -self.length / 2 < self.center_x(at) < WIDTH + self.length / 2

    @property
    def leaves_at(self) -> float:
        stood = 0.0 if self.stop is None else self.stop[1]
        return self.enters_at + (WIDTH + self.length) / abs(self.speed) + stood


@dataclass(frozen=True)
class Road:
    """A scene with a truth."""

    vehicles: Sequence[Vehicle]
    seconds: float
    seed: int = 0
    noise: float = 3.0
    quality: int = 85
    light: Callable[[float], float] = field(default=lambda at: 1.0)
    shake: Callable[[float], tuple[float, float]] = field(default=lambda at: (0.0, 0.0))
    paint: Callable[[npt.NDArray[np.float32], float], npt.NDArray[np.float32]] = field(
        default=lambda picture, at: picture
    )
    size: tuple[int, int] = (WIDTH, HEIGHT)

    def truth(self, settled_at: float = 0.0, line: float = 0.5) -> dict[str, int]:
        """Return how many cross a line after that second, and far enough before the end, by direction."""
        counts = {"to_right": 0, "to_left": 0}
        for vehicle in self.vehicles:
            stood = 0.0 if vehicle.stop is None else vehicle.stop[1]
            at = vehicle.enters_at + (WIDTH / 2 + vehicle.length / 2) / abs(vehicle.speed) + stood
            if settled_at < vehicle.enters_at and at < self.seconds:
                counts["to_right" if vehicle.speed > 0 else "to_left"] += 1
        return counts

    def frames(self, fps: float, jitter: float = 0.1) -> Iterator[tuple[npt.NDArray[np.uint8], int]]:
        """Yield (BGR, nanoseconds), decoded from JPEG as a consumer gets them."""
        chance = np.random.default_rng(self.seed + 1000)
        scenery = paint_scenery(self.seed)
        grains = [chance.normal(0, self.noise, scenery.shape).astype(np.float32) for _ in range(5)]
        at = 0.0
        while at < self.seconds:
            picture = scenery.copy()
            for vehicle in sorted(self.vehicles, key=lambda vehicle: vehicle.lane_y):
                if vehicle.is_seen(at):
                    paint_vehicle(picture, vehicle, vehicle.center_x(at))
            picture = self.paint(picture, at)
            x, y = self.shake(at)
            matrix = np.array([[1, 0, x - PAD], [0, 1, y - PAD]], np.float32)
            view = cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
            down, across = chance.integers(0, 2 * PAD, 2)
            grain = grains[int(chance.integers(len(grains)))][down : down + HEIGHT, across : across + WIDTH]
            lit = np.clip(view * self.light(at) + grain, 0, 255).astype(np.uint8)
            if self.size != (WIDTH, HEIGHT):
                lit = np.asarray(cv2.resize(lit, self.size), np.uint8)
            _, jpeg = cv2.imencode(".jpg", lit, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
            yield np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8), round((1000 + at) * 1e9)
            at += (1 + chance.uniform(-jitter, jitter)) / fps


def traffic(
    seed: int,
    seconds: float,
    *,
    speeds: tuple[float, float],
    every: float = 2.5,
    lanes: Sequence[tuple[float, int]] = ((215, 1), (300, -1)),
    starts_at: float = 4.0,
) -> list[Vehicle]:
    """Return vehicles at random. Each lane (y of the wheels, direction) has one pace: nobody drives through another."""
    chance = np.random.default_rng(seed)
    vehicles = []
    for lane_y, direction in lanes:
        pace = chance.uniform(*speeds)
        scale = lane_y / 260
        at = starts_at + chance.uniform(0, every)
        while True:
            kind = chance.choice(["car", "car", "car", "van", "truck", "bike"])
            usual = {"car": (64, 30), "van": (80, 44), "truck": (140, 56), "bike": (30, 24)}[str(kind)]
            length, height = usual[0] * scale * chance.uniform(0.9, 1.1), usual[1] * scale
            vehicles.append(
                Vehicle(
                    length, height, lane_y + chance.uniform(-3, 3), direction * pace, at, a_colour(chance),
                    shadow=chance.uniform(0.55, 0.8),
                )
            )  # fmt: skip
            if vehicles[-1].leaves_at > seconds - 0.5:  # or nobody knows whether it should have been counted
                vehicles.pop()
                break
            # The next enters when this one is in, and some road is free behind it.
            at += (length + chance.uniform(30, 60)) / pace + chance.exponential(every)
    return vehicles


def a_colour(chance: np.random.Generator) -> tuple[int, int, int]:
    """Return a colour as parking lots have them: mostly white, black and grey."""
    kind = chance.integers(6)
    if kind < 4:
        grey = int([225, 30, 160, 60][kind] + chance.integers(-15, 16))
        return (grey, grey, grey)
    hue = np.array([[[chance.integers(180), 200, 170]]], np.uint8)
    blue, green, red = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0]
    return int(blue), int(green), int(red)


def paint_scenery(seed: int) -> npt.NDArray[np.float32]:
    """Return BGR float32 with the padding around: sky, houses, grass and a road with texture and markings."""
    chance = np.random.default_rng(seed)
    height, width = HEIGHT + 2 * PAD, WIDTH + 2 * PAD
    picture = np.zeros((height, width, 3), np.float32)
    picture[:] = (190, 170, 150)
    for _ in range(14):
        left, top = int(chance.integers(0, width)), int(chance.integers(40, 100))
        colour = [float(value) for value in chance.integers(60, 190, 3)]
        cv2.rectangle(picture, (left, top), (left + int(chance.integers(30, 90)), 160), colour, -1)
        cv2.rectangle(picture, (left + 8, top + 10), (left + 18, top + 24), [40.0, 40.0, 50.0], -1)
    picture[150:] = (70, 110, 90)
    picture[190:345] = (105, 105, 105)
    texture = chance.normal(0, 1, (height, width)).astype(np.float32)
    coarse = cv2.GaussianBlur(texture, (0, 0), 6) * 60 + cv2.GaussianBlur(texture, (0, 0), 1.2) * 14
    picture += coarse[:, :, None]
    for left in range(0, width, 60):
        cv2.rectangle(picture, (left, 262), (left + 26, 266), [215.0, 220.0, 220.0], -1)
    return np.clip(picture, 0, 255)


def paint_vehicle(picture: npt.NDArray[np.float32], vehicle: Vehicle, center_x: float) -> None:
    """Paint a vehicle at a place between pixels: body, roof with windows, wheels, lamps, and its shadow on the road."""
    long, high = vehicle.length, vehicle.height
    left, bottom = center_x - long / 2 + PAD, vehicle.lane_y + PAD
    shadow = np.array(
        [[left - 3, bottom - 4], [left + long + 3, bottom - 4], [left + long + 8, bottom + 7], [left, bottom + 7]]
    )
    mask = np.zeros(picture.shape[:2], np.float32)
    _fill(mask, shadow, [1.0])
    soft = np.asarray(cv2.GaussianBlur(mask, (5, 5), 0), np.float32)
    picture *= 1 - (1 - vehicle.shadow) * soft[:, :, None]
    colour = np.array(vehicle.colour, np.float32)
    body, roof = bottom - high, bottom - 0.45 * high
    _box(picture, left, roof, left + long, bottom - 3, colour)
    _box(picture, left + 0.15 * long, body, left + 0.88 * long, roof, 0.85 * colour)
    for start in (0.22, 0.55):
        _box(
            picture, left + start * long, body + 0.1 * high, left + (start + 0.25) * long, roof, np.array([70, 60, 50])
        )
    for wheel in (0.2, 0.8):
        place = (round((left + wheel * long) * 8), round((bottom - 3) * 8))
        cv2.circle(picture, place, round(0.13 * high * 8), [25.0, 25.0, 25.0], -1, cv2.LINE_8, 3)
    _box(picture, left, roof + 2, left + 4, roof + 6, (40, 40, 200))
    _box(picture, left + long - 4, roof + 2, left + long, roof + 6, (210, 240, 240))


def _box(
    picture: npt.NDArray[np.float32],
    left: float,
    top: float,
    right: float,
    bottom: float,
    colour: npt.NDArray[np.float32] | tuple[int, int, int],
) -> None:
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    _fill(picture, corners, [float(value) for value in colour])


def _fill(picture: npt.NDArray[np.float32], corners: npt.NDArray[np.float64], colour: Sequence[float]) -> None:
    cv2.fillConvexPoly(picture, np.rint(corners * 8).astype(np.int32), colour, cv2.LINE_8, 3)  # eighths of a pixel

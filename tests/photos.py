# SPDX-License-Identifier: MIT
"""Photographs of the size a camera makes. The originals come with a test dependency: fixture `photographs`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from fieldcam.camera.jpeg import encode
from fieldcam.core.jpeg import decode

FULL_SIZE = (4056, 3040)


def enlarged(photograph: Path, size: tuple[int, int] = FULL_SIZE, quality: int = 95) -> bytes:
    """Return a photograph as JPEG of that size, with the grain of a sensor, so that its bytes are as many as real."""
    pixels = cv2.resize(decode(photograph.read_bytes()), size, interpolation=cv2.INTER_CUBIC)
    grain = np.random.default_rng(1).integers(0, 20, pixels.shape, dtype=np.uint8)
    return encode(np.asarray(cv2.add(np.asarray(pixels), np.asarray(grain)), np.uint8), quality)

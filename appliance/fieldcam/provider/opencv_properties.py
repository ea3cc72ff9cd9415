# SPDX-License-Identifier: MIT
"""Numbers and manners of `cv2.VideoCapture`, without OpenCV.

A consumer may bring no OpenCV, or another one than ours, so the numbers stand here; a contract test compares them with
cv2's own. docs/camera-interface.md says what each property means for a camera that the host owns.
"""

from __future__ import annotations

import numbers
import operator
from typing import Any, SupportsFloat, cast

import numpy as np

POS_MSEC = 0
POS_FRAMES = 1
FRAME_WIDTH = 3
FRAME_HEIGHT = 4
FPS = 5
FOURCC = 6
FORMAT = 8
GAIN = 14
EXPOSURE = 15
CONVERT_RGB = 16
BUFFERSIZE = 38
BACKEND = 42
READ_TIMEOUT_MSEC = 54

CV_8UC3 = 16
CAP_ANY = 0
FOURCC_MJPG = 1_196_444_237  # "MJPG": what lies in the hand-off area

# What belongs to the camera, which the host owns and other containers watch: answered False, and said once.
CONTROLS_OF_THE_HOST = frozenset(
    {FPS, GAIN, EXPOSURE}
    | {10, 11, 12, 13, 20, 22}  # brightness, contrast, saturation, hue, sharpness, gamma
    | {17, 23, 26, 44, 45}  # white balance
    | {
        21,
        27,
        28,
        30,
        32,
        33,
        34,
        36,
        39,
    }  # automatic exposure, zoom, focus, ISO, backlight, pan, tilt, iris, autofocus
)

# What is always so for frames of the hand-off area.
CONSTANT = {
    FOURCC: float(FOURCC_MJPG),
    FORMAT: float(CV_8UC3),
    CONVERT_RGB: 1.0,
    BUFFERSIZE: 1.0,
    BACKEND: float(CAP_ANY),
}

_INT_MAX = 2**31 - 1


def property_number(value: Any) -> int:
    """Return a property's number, as strict as cv2 is.

    Raises:
        TypeError: it is no integer; a bool is none.
        ValueError: it is larger than a C int.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"the number of a property must be an integer, not {type(value).__name__}")
    number = operator.index(value)
    if abs(number) > _INT_MAX:
        raise ValueError("the number of a property must fit into a C int")
    return number


def property_value(value: Any) -> float:
    """Return the value for a property, as strict as cv2 is.

    Raises:
        TypeError: it is no number; a bool is none.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real | np.number):
        raise TypeError(f"the value of a property must be a number, not {type(value).__name__}")
    return float(cast("SupportsFloat", value))

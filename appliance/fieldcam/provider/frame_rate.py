# SPDX-License-Identifier: MIT
"""How often a camera delivers, seen from the names in its hand-off area.

A reader that is slower than the camera cannot tell from the frames it gets, and one that has just begun has none; the
names of the last frames carry their time in milliseconds, and no file has to be opened.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import median

from fieldcam.core.errors import SharedVolumeError
from fieldcam.store.reader import iter_frames

_FRAMES = 16


def frame_rate(camera_folder: Path) -> float:
    """Return frames per second over the last frames (the median: a pause or a step of the clock is no new rate).

    Args:
        camera_folder: the folder with `live/` and `metadata/`.

    Returns:
        0.0 when fewer than two frames are there or the folder cannot be read.
    """
    try:
        times = sorted(frame.name.wall_ms for frame in iter_frames(camera_folder / "live", camera_folder / "metadata"))
    except SharedVolumeError:
        return 0.0
    newest = times[-_FRAMES:]
    gaps = [later - earlier for earlier, later in pairwise(newest) if later > earlier]
    return 1000.0 / median(gaps) if gaps else 0.0

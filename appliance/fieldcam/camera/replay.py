# SPDX-License-Identifier: MIT
"""A camera that replays real photos or a video: real input where there is no camera.

The moment of a replayed exposure is the call. A JPEG of the size that is asked for, or of any size when none is asked
for, is handed on byte for byte; everything else is scaled. Exposure and gain cannot be set and are not reported.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path

from fieldcam.camera.base import CameraInfo, CameraSettings, PreviewFrame
from fieldcam.camera.jpeg import PREVIEW_QUALITY, encode, scaled_height
from fieldcam.camera.media import Media, PhotoFolder, Picture, open_media
from fieldcam.camera.pacing import Pacer
from fieldcam.camera.simulated import STANDARD_SIZES
from fieldcam.core.clock import Clock
from fieldcam.core.config import CameraConfig
from fieldcam.core.errors import CameraNotInitializedError, CaptureTimeoutError
from fieldcam.core.frame import Shot

_READ_SECONDS = 5


class ReplayCamera:
    """A camera that replays media.

    Args:
        config: of the camera; `media` is a folder of photos or a video file.
        clock: when the frames are taken.
    """

    def __init__(self, config: CameraConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._path = Path(config.media)
        self._media: Media | None = None
        self._closed = threading.Event()
        self._closed.set()
        self._found: tuple[tuple[int, int], ...] = ()

    @property
    def info(self) -> CameraInfo:
        """What the camera is; its sizes are known after `open`."""
        sizes = set(self._found)
        if self._config.size is not None:
            sizes.add(self._config.size)
        widest, highest = (max(side) for side in zip(*self._found, strict=True)) if self._found else (0, 0)
        sizes.update((width, height) for width, height in STANDARD_SIZES if width <= widest and height <= highest)
        return CameraInfo(
            backend="replay",
            model=f"Replay of {self._path.name or self._path}",
            resolutions=tuple(sorted(sizes, key=lambda size: (size[0] * size[1], size), reverse=True)),
            simulated=False,
            previews_beside_stills=True,
            repeats=True,
            details={"media": str(self._path)},
        )

    def open(self) -> None:
        """Look at the media.

        Raises:
            CameraNotAvailableError: there is nothing usable; the message says what was found instead.
        """
        if self._media is not None:
            return
        media = open_media(self._path, self._clock)
        self._found = media.sizes()
        self._media = media
        # A new one each time: a preview of the time before must stay ended.
        self._closed = threading.Event()

    def capture(self, settings: CameraSettings, *, deadline_ns: int) -> Shot:
        """Return the picture whose turn it is.

        Raises:
            CameraNotInitializedError: the camera is not open.
            CameraNotAvailableError: nothing usable is left in the media.
            CaptureTimeoutError: the deadline passed.
            ImageInvalidError: the photo is broken where only decoding shows it.
        """
        if self._media is None:
            raise CameraNotInitializedError("the replay camera is not open")
        exposed_at_ns = self._clock.boottime_ns()
        if exposed_at_ns >= deadline_ns:
            raise CaptureTimeoutError("the replay camera was given no time")
        picture = self._media.next(deadline_ns=deadline_ns)
        said = {"source": picture.source}
        size = self._asked_size(settings) or (picture.width, picture.height)
        if picture.jpeg is not None and size == (picture.width, picture.height):
            return Shot(exposed_at_ns, *size, jpeg=picture.jpeg, settings=said)
        return Shot(exposed_at_ns, *size, pixels=picture.fitted(*size), settings=said)

    def preview(self, settings: CameraSettings, *, width: int, fps: float) -> Generator[PreviewFrame, None, None]:
        """Yield the media, scaled; reads for itself, so stills are not disturbed. A photo stays for one interval.

        Raises:
            CameraNotInitializedError: the camera is not open.
            CameraNotAvailableError: nothing usable is left in the media.
        """
        closed = self._closed
        if closed.is_set():
            raise CameraNotInitializedError("the replay camera is not open")
        media = open_media(self._path, self._clock)
        hold_ns = round(self._config.interval * 1e9) if isinstance(media, PhotoFolder) else 0
        pacer = Pacer(fps, closed)
        shown: tuple[bytes, int, int] | None = None
        shown_at_ns = 0
        try:
            while pacer.wait():
                now_ns = self._clock.boottime_ns()
                if shown is None or now_ns - shown_at_ns >= hold_ns:
                    picture = media.next(deadline_ns=now_ns + _READ_SECONDS * 1_000_000_000)
                    shown, shown_at_ns = self._small(picture, settings, width), now_ns
                yield PreviewFrame(shown[0], now_ns, shown[1], shown[2])
        finally:
            media.close()

    def close(self) -> None:
        """End previews and let go of the media. Idempotent."""
        self._closed.set()
        if self._media is not None:
            self._media.close()
            self._media = None

    def _asked_size(self, settings: CameraSettings) -> tuple[int, int] | None:
        if settings.width is not None and settings.height is not None:
            return settings.width, settings.height
        return self._config.size

    def _small(self, picture: Picture, settings: CameraSettings, width: int) -> tuple[bytes, int, int]:
        full_width, full_height = self._asked_size(settings) or (picture.width, picture.height)
        width = min(width, full_width)
        height = scaled_height(full_width, full_height, width)
        if picture.jpeg is not None and (width, height) == (picture.width, picture.height):
            return picture.jpeg, width, height
        return encode(picture.fitted(width, height), PREVIEW_QUALITY), width, height

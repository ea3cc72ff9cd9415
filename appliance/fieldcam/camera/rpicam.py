# SPDX-License-Identifier: MIT
"""A Pi camera through rpicam-still: one process per shot.

The tool cannot be taken at its word. It ends with status 0 after writing half a file, a file of another size or none
at all; it retries for ever when the sensor hangs. So a shot counts when its own new file is a whole JPEG.

- The tool runs inside the scratch folder with short names: it takes `%` anywhere in a path for a format and cuts
  names after 127 characters, both silently. Each shot has a name of its own under which nothing is there before it,
  so nothing older, and nothing a revived child of an earlier shot writes, can be taken for it. File times prove
  nothing on a machine whose clock is set while it runs.
- A size the tool was told may come back adjusted: it rounds odd sizes down and cuts large ones to the sensor. The
  real size is what is reported. Only when one of the camera's listed modes was asked for, which it delivers exactly,
  another size is an error.
- `--immediate` takes the first good frame; a fresh process starts the sensor anew, so no frame is older than the call.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fieldcam.camera.base import CameraInfo, CameraSettings, PreviewFrame
from fieldcam.camera.jpeg import JpegInfo, inspect_jpeg
from fieldcam.camera.rpicam_options import still_options, vid_options
from fieldcam.camera.rpicam_preview import RpicamPreview
from fieldcam.camera.rpicam_reports import (
    ListedCamera,
    complaint,
    last_error,
    number_in,
    parse_cameras,
    parse_metadata,
)
from fieldcam.camera.tool import Child, ToolRunner, find_tool
from fieldcam.core.clock import Clock
from fieldcam.core.config import CameraConfig
from fieldcam.core.errors import (
    CameraNotAvailableError,
    CameraNotInitializedError,
    CaptureFailedError,
    CaptureServiceError,
    ImageInvalidError,
)
from fieldcam.core.frame import Shot
from fieldcam.core.logs import get_logger

_log = get_logger(__name__)
PACKAGE = "rpicam-apps"
MAX_FILE_BYTES = 128 * 1024 * 1024
_SHOT_PREFIX = "shot-"


class RpicamCamera:
    """A Pi camera.

    Args:
        config: of the camera.
        clock: time.
        scratch: a folder of the camera's own for pictures on their way, best in RAM; made when it is needed.
        connection_timeout_seconds: how long the tool may take to list the cameras.
    """

    def __init__(
        self, config: CameraConfig, clock: Clock, scratch: Path, *, connection_timeout_seconds: float = 10.0
    ) -> None:
        self._config = config
        self._clock = clock
        self._scratch = scratch
        self._connection_timeout_ns = round(connection_timeout_seconds * 1e9)
        self._runner = ToolRunner(clock)
        self._shots = itertools.count(1)
        self._camera: ListedCamera | None = None
        self._still_tool = ""
        self._is_open = False
        self._preview: RpicamPreview | None = None
        self._adjusted: set[tuple[int, int]] = set()

    @property
    def info(self) -> CameraInfo:
        """What the camera is; model and sizes are known after `open`."""
        camera = self._camera
        sizes = set(camera.sizes) if camera else set()
        asked = self._asked_size(CameraSettings())
        if camera is not None and asked is not None and _fits(asked, camera):
            sizes.add(asked)
        return CameraInfo(
            backend="rpicam",
            model=camera.model if camera else "Pi camera",
            resolutions=tuple(sorted(sizes, key=lambda size: (size[0] * size[1], size), reverse=True)),
            simulated=False,
            previews_beside_stills=False,
            serial_number=camera.camera_id if camera else None,
            details={"number": camera.number, "busy_when_opened": camera.busy} if camera else {},
        )

    def open(self) -> None:
        """Look for the tool and the camera.

        Raises:
            CameraNotAvailableError: one of them is missing; the message says which.
            CaptureFailedError: the scratch folder cannot be made.
        """
        if self._is_open:
            return
        self._still_tool = find_tool(self._config.rpicam_still, PACKAGE)
        self._make_scratch()
        self._sweep_scratch()
        self._camera = self._choose(self._list(self._clock.boottime_ns() + self._connection_timeout_ns))
        self._is_open = True

    def capture(self, settings: CameraSettings, *, deadline_ns: int) -> Shot:
        """Take a picture. A running preview is ended for it.

        Raises:
            CaptureTimeoutError: the tool was not done in time and was killed.
            ImageInvalidError: the picture is not whole, or has another size than the listed mode asked for.
            CaptureFailedError: the tool failed; the message has its last words.
            CameraNotAvailableError: there is no camera, or another process has it, or a killed tool does not die.
        """
        camera = self._opened()
        preview = self._preview
        if preview is not None:
            preview.stop()
        self._make_scratch()
        stem = f"{_SHOT_PREFIX}{os.getpid()}-{next(self._shots)}"
        picture, metadata = self._scratch / f"{stem}.jpg", self._scratch / f"{stem}.json"
        for file in (picture, metadata):
            _remove(file)
        called_ns = self._clock.boottime_ns()
        try:
            finished = self._runner.run(
                [
                    self._still_tool,
                    *still_options(camera, settings, self._asked_size(settings), picture.name, metadata.name),
                ],
                cwd=self._scratch,
                deadline_ns=deadline_ns,
            )
            if finished.returncode != 0:
                raise complaint(Path(self._still_tool).name, finished)
            jpeg = self._read_picture(picture, finished.stderr)
            info = inspect_jpeg(jpeg)
            self._check_size(info, settings, camera)
            said = parse_metadata(metadata)
        finally:
            for file in (picture, metadata):
                with suppress(OSError):
                    file.unlink()
        if camera.busy:
            self._list_again(deadline_ns)
        return self._shot(jpeg, info, said, called_ns, settings)

    def preview(self, settings: CameraSettings, *, width: int, fps: float) -> Generator[PreviewFrame, None, None]:
        """Yield frames of rpicam-vid. Only while no stills are taken: the sensor serves one process at a time.

        Raises:
            CaptureTimeoutError: no frame comes.
            CaptureFailedError, CameraNotAvailableError: the tool failed; the message has its last words.
        """
        camera = self._opened()
        if self._preview is not None:
            raise CaptureFailedError("a preview of this camera is running already")
        tool = find_tool(self._config.rpicam_vid, PACKAGE)
        self._make_scratch()
        argv = [tool, *vid_options(camera, settings, self._asked_size(settings), width, fps)]

        def start(sink: Any) -> Child:
            return self._runner.start(argv, cwd=self._scratch, on_output=sink)

        self._preview = RpicamPreview(self._runner, start, self._clock, fps)
        try:
            yield from self._preview.frames()
        finally:
            self._preview = None

    def close(self) -> None:
        """End the preview. Idempotent; between shots nothing else runs."""
        preview = self._preview
        if preview is not None:
            preview.stop()
        if self._is_open:
            self._sweep_scratch()
        self._is_open = False

    # --- finding the camera -----------------------------------------------------------------------------------------

    def _list(self, deadline_ns: int) -> list[ListedCamera]:
        name = Path(self._still_tool).name
        try:
            finished = self._runner.run(
                [self._still_tool, "--list-cameras"], cwd=self._scratch, deadline_ns=deadline_ns
            )
        except CaptureFailedError as error:
            raise CameraNotAvailableError(f"the cameras cannot be listed: {error.message}") from None
        if finished.returncode != 0:
            said = complaint(name, finished)
            raise said if isinstance(said, CameraNotAvailableError) else CameraNotAvailableError(said.message)
        text = finished.stdout.decode(errors="replace")
        cameras = parse_cameras(text)
        if not cameras:
            words = last_error(text) or "it printed nothing"
            raise CameraNotAvailableError(
                f"no camera found ({name} --list-cameras: {words}): check the cable, and `dtoverlay` in config.txt "
                "for sensors that are not found by themselves"
            )
        return cameras

    def _choose(self, cameras: list[ListedCamera]) -> ListedCamera:
        """Return the configured camera. Numbers may change with the cabling, ids do not."""
        wanted = self._config.serial_number
        for camera in cameras:
            if wanted in {camera.camera_id, camera.model} if wanted else camera.number == self._config.device_id:
                return camera
        asked = f"serial_number {wanted}" if wanted else f"device_id {self._config.device_id}"
        there = ", ".join(f"{camera.number} = {camera.model} {camera.camera_id}" for camera in cameras)
        raise CameraNotAvailableError(f"there is no camera with {asked}; there are: {there}")

    def _list_again(self, deadline_ns: int) -> None:
        """Learn the modes of a camera that somebody else held when it was opened. A shot just succeeded."""
        try:
            found = self._choose(self._list(deadline_ns))
            # Once is enough: a tool that always prints such modes must not cost a listing per shot.
            self._camera = dataclasses.replace(found, busy=False)
        except CaptureServiceError as error:
            _log.event(logging.DEBUG, "RPICAM_MODES_UNKNOWN", error.message)

    def _opened(self) -> ListedCamera:
        if not self._is_open or self._camera is None:
            raise CameraNotInitializedError("the Pi camera is not open")
        return self._camera

    # --- what came ---------------------------------------------------------------------------------------------------

    def _asked_size(self, settings: CameraSettings) -> tuple[int, int] | None:
        size = self._config.size
        if settings.width is not None and settings.height is not None:
            size = settings.width, settings.height
        is_chosen = self._config.width is not None or size != self._config.size
        if not is_chosen and self._camera is not None and self._camera.sizes:
            return self._camera.sizes[0]  # nobody chose a size: all the sensor has, not what another sensor has
        return size

    def _read_picture(self, picture: Path, stderr: str) -> bytes:
        try:
            size = picture.stat().st_size
            if size > MAX_FILE_BYTES:
                raise ImageInvalidError(f"the picture has {size} bytes, more than {MAX_FILE_BYTES}")
            return picture.read_bytes()
        except FileNotFoundError:
            words = last_error(stderr) or "nothing"
            raise CaptureFailedError(
                f"{Path(self._still_tool).name} ended with status 0 without a picture; it said last: {words}"
            ) from None
        except OSError as error:
            raise CaptureFailedError(f"the picture cannot be read: {error.strerror}") from None

    def _check_size(self, info: JpegInfo, settings: CameraSettings, camera: ListedCamera) -> None:
        asked, real = self._asked_size(settings), (info.width, info.height)
        if asked is None or asked == real:
            return
        if asked in camera.sizes:
            raise ImageInvalidError(f"the picture is {real[0]}x{real[1]}, not {asked[0]}x{asked[1]} as asked for")
        if asked not in self._adjusted:
            self._adjusted.add(asked)
            _log.event(
                logging.WARNING,
                "RPICAM_SIZE_ADJUSTED",
                "the camera does not have the size that is asked for",
                asked=f"{asked[0]}x{asked[1]}",
                real=f"{real[0]}x{real[1]}",
            )

    def _shot(
        self, jpeg: bytes, info: JpegInfo, said: dict[str, Any], called_ns: int, settings: CameraSettings
    ) -> Shot:
        sensor_ns = number_in(said, "SensorTimestamp")
        plausible = sensor_ns is not None and called_ns <= sensor_ns <= self._clock.boottime_ns()
        exposure_us, gain = number_in(said, "ExposureTime"), number_in(said, "AnalogueGain")
        digital = number_in(said, "DigitalGain")
        return Shot(
            exposed_at_ns=int(sensor_ns) if plausible and sensor_ns is not None else called_ns,
            width=info.width,
            height=info.height,
            jpeg=jpeg,
            exposure_ms=None if exposure_us is None else exposure_us / 1000,
            gain=None if gain is None else gain * (1.0 if digital is None else digital),
            quality=settings.quality,
            settings=said,
        )

    # --- scratch ------------------------------------------------------------------------------------------------------

    def _make_scratch(self) -> None:
        try:
            self._scratch.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise CaptureFailedError(f"the folder {self._scratch} cannot be made: {error.strerror}") from None

    def _sweep_scratch(self) -> None:
        """Remove what a killed predecessor left."""
        with suppress(OSError):
            for file in self._scratch.glob(f"{_SHOT_PREFIX}*"):
                file.unlink(missing_ok=True)


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise CaptureFailedError(f"{file} is in the way and cannot be removed: {error.strerror}") from None


def _fits(size: tuple[int, int], camera: ListedCamera) -> bool:
    """Return whether the sensor has as many pixels; the size need not be one of its modes, the tool scales."""
    return any(size[0] <= width and size[1] <= height for width, height in camera.sizes) or not camera.sizes

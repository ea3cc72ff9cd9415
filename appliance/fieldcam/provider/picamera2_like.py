# SPDX-License-Identifier: MIT
"""The Picamera2 half of `ContainerCameraInterface`.

Follows Picamera2's manual as far as a camera that somebody else owns can. docs/camera-interface.md lists what differs:
`capture_array` gives R, G, B unless another format is asked for; sizes are the nearest of full, half, quarter and
eighth; controls are the host's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fieldcam.core.errors import FieldcamError
from fieldcam.provider.frame_source import FrameSource
from fieldcam.provider.host_controls import HostControls
from fieldcam.provider.picamera2_configuration import USE_CASES, Configuration, checked, make_configuration
from fieldcam.provider.picamera2_frame import (
    encoded,
    format_of,
    is_jpeg,
    libcamera_metadata,
    pil_image,
    write,
)
from fieldcam.provider.picamera2_streams import LORES, Streams
from fieldcam.provider.scaled_sizes import Size

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]


class Picamera2Like:
    """What a Picamera2 object offers, over a `FrameSource`.

    Attributes:
        options: `quality` for JPEG that is encoded anew, `compress_level` for PNG.
        started: whether `start` was called last, and not `stop`.
    """

    def __init__(self, frames: FrameSource, controls: HostControls) -> None:
        self._frames = frames
        self._host_controls = controls
        self._streams = Streams()
        self._cases: dict[str, Configuration] = {}
        self.options: dict[str, Any] = {}
        self.started = False

    # --- running

    def start(self, config: Any = None, show_preview: Any = None) -> None:  # noqa: ARG002 - there is no screen
        """Start, and configure when a configuration is given; after `close` it is opened again."""
        if config is not None:
            self.configure(config)
        if not self._frames.is_open:
            self._frames.open()
        self.started = True

    def stop(self) -> None:
        """Let go of what costs something. A capture after this works; it starts again by itself."""
        self.started = False
        self._frames.pause()

    def close(self) -> None:
        """Let go of everything; captures give nothing from now on."""
        self.started = False
        self._frames.close()

    def start_preview(self, *_: Any, **__: Any) -> None:
        """Accepted: a container has no screen."""

    def stop_preview(self) -> None:
        """Accepted."""

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # --- capturing

    def capture_array(self, name: str = "main") -> Image | None:
        """Return the next frame as an array.

        Args:
            name: `main`, or `lores` for a small picture; any other name means `main`.

        Returns:
            uint8 of shape (height, width, 3), R, G, B, unless the configuration names another format; None when no
            fresh frame came within the time to wait.
        """
        try:
            with self._frames.take(self._streams.source(name)) as frame:
                return self._streams.array(frame, name)
        except FieldcamError:
            return None

    def capture_arrays(self, names: Sequence[str] = ("main",)) -> tuple[list[Image], dict[str, Any]]:
        """Return several pictures of one frame, and its metadata; raises as `capture_file`."""
        with self._frames.take() as frame:
            arrays = [self._streams.array(frame, name) for name in names]
            return arrays, libcamera_metadata(frame.metadata())

    def capture_buffer(self, name: str = "main") -> Image | None:
        """Return the next frame as a flat array of bytes; None as `capture_array`."""
        array = self.capture_array(name)
        return None if array is None else array.reshape(-1)

    def capture_image(self, name: str = "main") -> Any:
        """Return the next frame as `PIL.Image.Image`, in colour; None as `capture_array`.

        Raises:
            ImportError: Pillow is not installed.
        """
        try:
            with self._frames.take(self._streams.source(name)) as frame:
                return pil_image(self._streams.bgr(frame, name))
        except FieldcamError:
            return None

    def capture_metadata(self) -> dict[str, Any]:
        """Return the metadata of the next frame, under libcamera's names and ours; empty when there is no frame."""
        try:
            with self._frames.take() as frame:
                return libcamera_metadata(frame.metadata())
        except FieldcamError:
            return {}

    def capture_file(self, file_output: Any, name: str = "main", format: str | None = None) -> dict[str, Any]:  # noqa: A002 - Picamera2's name
        """Write the next frame to a file and return its metadata.

        A JPEG of the full size is the very file the camera made, byte by byte. A path is written whole or not at all.

        Args:
            file_output: a path, or an open file.
            name: as `capture_array`.
            format: `jpg`, `png` …; by default as the path's suffix says.

        Raises:
            ImageTooOldError, ImageNotFoundError, StorageUnavailableError, CameraNotAvailableError: no fresh frame came
                within the time to wait; nothing was written.
            StorageFullError, SharedVolumeError: it could not be written.
            RequestInvalidError: the format cannot be told or written.
            ImportError: a format other than JPEG needs Pillow or OpenCV.
        """
        file_format = format_of(file_output, format)
        with self._frames.take(only_files=is_jpeg(file_format)) as frame:
            if is_jpeg(file_format) and frame.jpeg is not None and self._streams.is_whole(frame, name):
                data = frame.jpeg
            else:
                data = encoded(self._streams.bgr(frame, name), file_format, self.options)
            write(file_output, data)
            return libcamera_metadata(frame.metadata())

    def switch_mode_and_capture_array(self, camera_config: Any, name: str = "main") -> Image | None:
        """Return the next frame in another configuration."""
        with self._switched(camera_config):
            return self.capture_array(name)

    def switch_mode_and_capture_file(self, camera_config: Any, file_output: Any, name: str = "main") -> dict[str, Any]:
        """Write the next frame in another configuration; see `capture_file`."""
        with self._switched(camera_config):
            return self.capture_file(file_output, name)

    # --- configuring

    def create_preview_configuration(
        self, main: Mapping[str, Any] | None = None, lores: Mapping[str, Any] | None = None, **others: Any
    ) -> Configuration:
        """Return a configuration of 640×480.

        Args:
            main: `size`, `format` of the picture.
            lores: the same of the small picture.
            others: what else Picamera2 takes; it changes nothing here.
        """
        return make_configuration("preview", self.sensor_resolution, main, lores, others)

    def create_still_configuration(
        self, main: Mapping[str, Any] | None = None, lores: Mapping[str, Any] | None = None, **others: Any
    ) -> Configuration:
        """Return a configuration of the full size; arguments as `create_preview_configuration`."""
        return make_configuration("still", self.sensor_resolution, main, lores, others)

    def create_video_configuration(
        self, main: Mapping[str, Any] | None = None, lores: Mapping[str, Any] | None = None, **others: Any
    ) -> Configuration:
        """Return a configuration of 1280×720; arguments as `create_preview_configuration`."""
        return make_configuration("video", self.sensor_resolution, main, lores, others)

    @property
    def preview_configuration(self) -> Configuration:
        """What `configure("preview")` uses; its fields may be set."""
        return self._case("preview")

    @property
    def still_configuration(self) -> Configuration:
        """What `configure("still")` uses; its fields may be set."""
        return self._case("still")

    @property
    def video_configuration(self) -> Configuration:
        """What `configure("video")` uses; its fields may be set."""
        return self._case("video")

    def configure(self, camera_config: Mapping[str, Any] | str | None = "preview") -> None:
        """Use a configuration from the next frame on.

        Args:
            camera_config: one of `create_…_configuration`; or `preview`, `still`, `video`; None means `preview`.

        Raises:
            RuntimeError: it has no main stream, or a size that is none; as Picamera2.
        """
        if camera_config is None:
            camera_config = self.create_preview_configuration()
        elif isinstance(camera_config, str):
            camera_config = self._case(camera_config if camera_config in USE_CASES else "video")
        config = checked(camera_config)
        self._host_controls.set_controls(config.get("controls") or {})
        self._streams.config = config

    def camera_configuration(self) -> Configuration:
        """Return the configuration in use, with the sizes that frames really have; until then the full size."""
        config = checked(self._streams.config or self.create_still_configuration())
        for name in ("main", LORES):
            config[name] = self.stream_configuration(name)
        return config

    def stream_configuration(self, name: str = "main") -> Configuration:
        """Return `size`, `format`, `stride` and `framesize` of a stream as frames are; (0, 0) until one came."""
        return self._streams.described(name, self._frames.size())

    # --- what the camera is

    @property
    def camera_properties(self) -> dict[str, Any]:
        """Model and sizes of the camera, as far as its frames tell; empty until one came."""
        described = self._frames.describe()
        if not described:
            return {}
        size = (described["width"], described["height"])
        model = (described.get("settings") or {}).get("Model") or described["backend"]
        return {
            "Model": str(model),
            "PixelArraySize": size,
            "ScalerCropMaximum": (0, 0, *size),
            "Camera": described["camera"],
            "Simulated": described["simulated"],
        }

    @property
    def camera_controls(self) -> dict[str, tuple[Any, Any, Any]]:
        """Controls that may be set: none, they are the host's."""
        return {}

    @property
    def controls(self) -> HostControls:
        """Takes controls and changes none; the log says so once."""
        return self._host_controls

    def set_controls(self, controls: Mapping[str, Any]) -> None:
        """Take controls and change none; the log says so once."""
        self._host_controls.set_controls(controls)

    @property
    def sensor_resolution(self) -> Size:
        """Width and height of the full frames; (0, 0) until one came."""
        return self._frames.size() or (0, 0)

    @property
    def is_open(self) -> bool:
        """Whether captures are possible."""
        return self._frames.is_open

    # --- inside

    def _case(self, name: str) -> Configuration:
        if name not in self._cases:
            self._cases[name] = make_configuration(name, (0, 0), None, None, {})
        return self._cases[name]

    @contextmanager
    def _switched(self, camera_config: Any) -> Iterator[None]:
        before = self._streams.config
        self.configure(camera_config)
        try:
            yield
        finally:
            self._streams.config = before

# SPDX-License-Identifier: MIT
"""The configuration: what can be set, within which limits, and what holds when nothing is.

A setting is one line: name, type, default, what it means. Keys are flat except for the cameras: `[cameras.<name>]`.
Where values come from, and which source wins, is `config_sources`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fieldcam.core.errors import ConfigError
from fieldcam.core.layout import Layout
from fieldcam.core.names import CAMERA_NAME, SERVICE_NAME

MAX_PIXELS_SIDE = 16384
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

Port = Annotated[int, Field(ge=1, le=65535)]
Side = Annotated[int, Field(ge=16, le=MAX_PIXELS_SIDE)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
ExposureMs = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
Gain = Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)]
Quality = Annotated[int, Field(ge=1, le=100)]
ServiceName = Annotated[str, Field(pattern=f"^{SERVICE_NAME.pattern}$")]

NATIVE_SIZE: Mapping[str, tuple[int, int] | None] = {
    "rpicam": (4056, 3040),
    "simulated": (4056, 3040),
    "replay": None,
}
MANUAL_EXPOSURE: Mapping[str, tuple[float, float] | None] = {
    "rpicam": None,
    "simulated": (100.0, 1.0),
    "replay": None,
}


class CameraConfig(BaseModel):
    """One camera: `[cameras.<name>]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: Literal["rpicam", "replay", "simulated"] = Field("rpicam", description="which kind of camera")
    number: int = Field(0, ge=0, le=4095, description="number of the camera in image ids; never reuse or change it")
    mode: Literal["continuous", "on_demand"] = Field("continuous", description="a loop of live frames, or none")
    interval: Seconds = Field(1.0, description="seconds between live frames")
    width: Side | None = Field(None, description="pixels; unset = the backend's own size")
    height: Side | None = Field(None, description="pixels; unset = the backend's own size")
    quality: Quality = Field(95, description="JPEG quality, 1 to 100")
    exposure: ExposureMs | None = Field(None, description="milliseconds; unset = automatic, or 100 where there is none")
    gain: Gain | None = Field(None, description="1.0 = none; unset = automatic, or 1.0 where there is none")
    serial_number: str = Field("", max_length=128, description="serial number or id; empty = the first camera found")
    device_id: int = Field(0, ge=0, le=63, description="number of the device among several")
    fps: float = Field(15.0, gt=0, le=120, description="frames a second of the preview stream")
    preview_width: Side = Field(1280, description="width of the preview stream in pixels")
    media: str = Field("", description="replay: a folder of photos or a video file")
    rpicam_still: str = Field("rpicam-still", description="rpicam: name or path of the tool")
    rpicam_vid: str = Field("rpicam-vid", description="rpicam: name or path of the tool for the preview stream")

    @model_validator(mode="after")
    def _check_together(self) -> CameraConfig:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height go together: set both or neither")
        if self.backend == "replay" and not self.media:
            raise ValueError("media is missing: replay needs a folder of photos or a video file")
        return self

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height to ask for; None = as the media are."""
        if self.width is not None and self.height is not None:
            return self.width, self.height
        return NATIVE_SIZE[self.backend]

    @property
    def manual(self) -> tuple[float | None, float | None]:
        """Exposure (ms) and gain to ask for; None = automatic."""
        default = MANUAL_EXPOSURE[self.backend] or (None, None)
        return (
            self.exposure if self.exposure is not None else default[0],
            self.gain if self.gain is not None else default[1],
        )


class Config(BaseModel):
    """The whole configuration of one appliance."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    capture_dir: Path = Field(Path("/mnt/storage/camera_capture"), description="hand-off area that containers read")
    archive_dir: Path = Field(Path("/mnt/storage/archive"), description="the mounted disk, or any durable folder")
    captures_folder: Path = Field(Path("captures"), description="folder of captures; relative to the archive")
    state_dir: Path = Field(Path("/var/lib/fieldcam"), description="users, tokens, events, counters")
    run_dir: Path = Field(Path("/run/fieldcam"), description="sockets and heartbeats")
    ring_dir: Path = Field(Path("/mnt/storage/camera_ring"), description="decoded frames for containers; a tmpfs")
    results_dir: Path = Field(Path("/mnt/storage/camera_results"), description="one writable folder per consumer")
    live_backing: Literal["tmpfs", "storage"] = Field("tmpfs", description="whether capture_dir is in RAM or on a disk")
    live_fsync: bool = Field(False, description="make live frames durable too (wears out an SD card)")
    live_max_bytes: int | None = Field(None, ge=1_000_000, description="size of live/; unset = 15 % of RAM when in RAM")
    max_images: int = Field(100, ge=1, le=1_000_000, description="how many frames live/ holds")
    max_capture_age_hours: float | None = Field(None, gt=0, description="age at which captures go; unset = never")
    min_free_bytes: int = Field(64_000_000, ge=0, description="below this much free space the disk counts as low")

    ring: Literal["auto", "on", "off"] = Field("auto", description="decoded frames in RAM; auto: from 3 GB of RAM")
    ring_max_bytes: int | None = Field(None, ge=1_000_000, description="RAM for it; unset = 12 % of RAM, below 512 MB")
    ring_lores_width: Side = Field(640, description="width in pixels of the small frames in the ring")
    consumers: tuple[ServiceName, ...] = Field((), description="services that are expected to give a sign of life")
    consumer_max_silence: Seconds = Field(60.0, description="seconds after which a consumer counts as away")

    default_camera: str = Field("default", description="the camera that uses the roots of both places")
    cameras: dict[str, CameraConfig] = Field(default_factory=dict, description="one table per camera")

    capture_timeout: Seconds = Field(30.0, description="seconds a capture may take, tries and waiting included")
    connection_timeout: Seconds = Field(10.0, description="seconds to find a camera or reach a process")
    status_check_interval: Seconds = Field(5.0, description="seconds between probes of a camera without a loop")
    capture_tries: int = Field(4, ge=1, le=10, description="how often a capture is tried")
    capture_queue: int = Field(8, ge=1, le=64, description="captures that may wait for one camera")
    shot_timeout: Seconds = Field(15.0, description="seconds one try may take beyond its exposure")

    check_interval: Seconds = Field(60.0, description="seconds between health checks of the manager")
    max_image_age: Seconds = Field(10.0, description="seconds after which the newest live frame is too old")
    cleanup_interval: Seconds = Field(300.0, description="seconds between cleanups")
    clock_trust: Literal["ntp", "assume"] = Field("ntp", description="ntp: degraded until synchronised; assume: never")

    local_listener: bool = Field(True, description="serve local clients without a token on the loopback")
    local_port: Port = Field(8001, description="port of the local listener")
    host: str = Field("127.0.0.1", description="address of the token listener")
    port: Port = Field(6407, description="port of the token listener")
    insecure_bind: bool = Field(False, description="allow the token listener off the loopback without TLS")
    gateway_socket: bool = Field(False, description="serve a proxy with TLS on this machine: run_dir/api/gateway.sock")
    allowed_origins: tuple[str, ...] = Field(
        ("http://localhost:3000", "http://localhost:5173"), description="web pages that may call the API"
    )
    debug: bool = Field(False, description="more detail in errors; only on the loopback")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level that is logged")
    log_file: str = Field("", description="file for log lines; empty = standard error, kept by supervisord")

    @field_validator("allowed_origins", "consumers", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        """Accept `a,b` as the reference documents write it."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("default_camera")
    @classmethod
    def _check_default_camera(cls, value: str) -> str:
        if CAMERA_NAME.fullmatch(value) is None:
            raise ValueError("a camera name has 1 to 32 of a-z, 0-9 and -, and starts with a letter or digit")
        return value

    @field_validator("cameras")
    @classmethod
    def _check_camera_names(cls, value: dict[str, CameraConfig]) -> dict[str, CameraConfig]:
        for name in value:
            if CAMERA_NAME.fullmatch(name) is None:
                raise ValueError(
                    f"{name!r}: a camera name has 1 to 32 of a-z, 0-9 and -, and starts with a letter or digit"
                )
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Config:
        for name in ("capture_dir", "archive_dir", "state_dir", "run_dir", "ring_dir", "results_dir"):
            if not getattr(self, name).is_absolute():
                raise ValueError(f"{name} must be an absolute path, not {getattr(self, name)}")
        if self.capture_dir.is_relative_to(self.archive_dir) or self.archive_dir.is_relative_to(self.capture_dir):
            raise ValueError("capture_dir and archive_dir must not lie within each other")
        if self.cameras and self.default_camera not in self.cameras:
            raise ValueError(
                f"default_camera is {self.default_camera!r}, but there is no [cameras.{self.default_camera}]"
            )
        numbers: dict[int, str] = {}
        for name, camera in self.cameras.items():
            if camera.number in numbers:
                raise ValueError(
                    f"cameras.{name}.number is {camera.number}, as cameras.{numbers[camera.number]}.number is: "
                    "give each camera a number of its own"
                )
            numbers[camera.number] = name
        if self.local_listener and self.port == self.local_port:
            raise ValueError(f"port and local_port are both {self.port}: the two listeners need two ports")
        if self.host not in LOOPBACK and not self.insecure_bind:
            raise ValueError(
                f"host is {self.host}: without TLS only the loopback is allowed; put the gateway in front, "
                "or set insecure_bind = true"
            )
        if self.debug and self.host not in LOOPBACK:
            raise ValueError("debug is allowed only when host is on the loopback")
        return self

    @property
    def layout(self) -> Layout:
        """Where everything is."""
        return Layout(
            capture_dir=self.capture_dir,
            archive_dir=self.archive_dir,
            run_dir=self.run_dir,
            ring_dir=self.ring_dir,
            results_dir=self.results_dir,
            state_dir=self.state_dir,
            default_camera=self.default_camera,
            captures_folder=self.captures_folder,
        )

    def camera(self, name: str | None = None) -> tuple[str, CameraConfig]:
        """Return name and configuration of a camera, the default one when no name is given.

        Raises:
            ConfigError: there is no such camera.
        """
        wanted = name or self.default_camera
        try:
            return wanted, self.all_cameras[wanted]
        except KeyError:
            known = ", ".join(sorted(self.all_cameras))
            raise ConfigError(f"there is no camera {wanted!r}; configured are: {known}", key="cameras") from None

    @property
    def all_cameras(self) -> dict[str, CameraConfig]:
        """Every camera by name; one rpicam camera when none is configured."""
        return self.cameras or {self.default_camera: CameraConfig()}

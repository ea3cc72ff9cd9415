# SPDX-License-Identifier: MIT
"""The configuration: one scheme for file, environment and flags.

A setting is one line: name, type, default, what it means. Layers, strongest first (contract section 5): flags,
`FIELDCAM_…` variables, the names of the reference documents, the TOML file. A bad value names its key and the layer
it came from. Keys are flat except for the cameras: `[cameras.<name>]`, in the environment
`FIELDCAM_CAMERAS__<NAME>__<KEY>`; the reference names that speak of a camera mean the default camera.

pydantic does the checking. Its settings package is not used: it merges the layers before it validates, and then no
error can say which layer a bad value came from.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fieldcam.core.errors import ConfigError
from fieldcam.core.layout import Layout
from fieldcam.core.names import CAMERA_NAME

DEFAULT_FILE = Path("/etc/fieldcam/fieldcam.toml")
ENV_PREFIX = "FIELDCAM_"
MAX_PIXELS_SIDE = 16384
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

Port = Annotated[int, Field(ge=1, le=65535)]
Side = Annotated[int, Field(ge=16, le=MAX_PIXELS_SIDE)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
ExposureMs = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
Gain = Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)]
Quality = Annotated[int, Field(ge=1, le=100)]

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
    live_backing: Literal["tmpfs", "storage"] = Field("tmpfs", description="whether capture_dir is in RAM or on a disk")
    live_fsync: bool = Field(False, description="make live frames durable too (wears out an SD card)")
    live_max_bytes: int | None = Field(None, ge=1_000_000, description="size of live/; unset = 15 % of RAM when in RAM")
    max_images: int = Field(100, ge=1, le=1_000_000, description="how many frames live/ holds")
    max_capture_age_hours: float | None = Field(None, gt=0, description="age at which captures go; unset = never")
    min_free_bytes: int = Field(64_000_000, ge=0, description="below this much free space the disk counts as low")

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
    allowed_origins: tuple[str, ...] = Field(
        ("http://localhost:3000", "http://localhost:5173"), description="web pages that may call the API"
    )
    debug: bool = Field(False, description="more detail in errors; only on the loopback")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level that is logged")
    log_file: str = Field("", description="file for log lines; empty = standard error, kept by supervisord")

    @field_validator("allowed_origins", mode="before")
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
        for name in ("capture_dir", "archive_dir", "state_dir", "run_dir"):
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


# --- the layers -------------------------------------------------------------------------------------------------------

_DEFAULT_CAMERA = "cameras.*"  # stands for the default camera, whose name only the merged layers know

REFERENCE_NAMES: Mapping[str, str] = {
    "HOST": "host",
    "PORT": "port",
    "DEBUG": "debug",
    "CAMERA_SERIAL_NUMBER": f"{_DEFAULT_CAMERA}.serial_number",
    "DEFAULT_EXPOSURE": f"{_DEFAULT_CAMERA}.exposure",
    "DEFAULT_GAIN": f"{_DEFAULT_CAMERA}.gain",
    "CAMERA_DEVICE_ID": f"{_DEFAULT_CAMERA}.device_id",
    "CAMERA_WIDTH": f"{_DEFAULT_CAMERA}.width",
    "CAMERA_HEIGHT": f"{_DEFAULT_CAMERA}.height",
    "CAMERA_FPS": f"{_DEFAULT_CAMERA}.fps",
    "CAPTURE_TIMEOUT": "capture_timeout",
    "CONNECTION_TIMEOUT": "connection_timeout",
    "STATUS_CHECK_INTERVAL": "status_check_interval",
    "IMAGE_QUALITY": f"{_DEFAULT_CAMERA}.quality",
    "CAMERA_CAPTURE_DIR": "capture_dir",
    "IMAGE_SAVE_PATH": "captures_folder",
    "CAPTURE_DIR": "captures_folder",
    "MAX_CAPTURE_AGE_HOURS": "max_capture_age_hours",
    "ALLOWED_ORIGINS": "allowed_origins",
    "LOG_LEVEL": "log_level",
    "LOG_FILE": "log_file",
}
IMAGE_FORMATS = frozenset({"jpeg", "jpg"})


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of settings: its values as a tree, and what to call it in a message."""

    values: dict[str, Any]
    source: Callable[[str], str]


def load(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read the configuration.

    Args:
        file: the TOML file; None = `FIELDCAM_CONFIG`, else the deployed one when it is there.
        flags: settings by dotted key, as given on the command line; None values are left out.
        environ: the environment; None = that of this process.

    Raises:
        ConfigError: the file is missing or broken, or a key is unknown or its value not allowed.
    """
    return load_with_sources(file, flags, environ)[0]


def load_with_sources(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Config, Callable[[str], str]]:
    """Read the configuration as `load` does; also return what says, by dotted key, which layer a value came from."""
    environ = os.environ if environ is None else environ
    layers = [
        _flag_layer(flags or {}),
        _environment_layer(environ),
        _reference_layer(environ),
        _file_layer(file, environ),
    ]
    config = _validate(layers)
    return config, lambda key: _source_of(layers, tuple(key.split(".")))


def _flag_layer(flags: Mapping[str, Any]) -> Layer:
    values: dict[str, Any] = {}
    for key, value in flags.items():
        if value is not None:
            _set(values, key, value)
    return Layer(values, lambda key: f"flag --{key.rsplit('.', 1)[-1].replace('_', '-')}")


def _environment_layer(environ: Mapping[str, str]) -> Layer:
    own = {k: v for k, v in environ.items() if k.startswith(ENV_PREFIX) and k != "FIELDCAM_CONFIG"}
    values = _parse_environment(own)
    return Layer(values, lambda key: f"environment variable {ENV_PREFIX}{key.replace('.', '__').upper()}")


def _reference_layer(environ: Mapping[str, str]) -> Layer:
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, key in REFERENCE_NAMES.items():
        if environ.get(name, "") != "":
            _set(values, key, environ[name])
            names[key] = name
    if (image_format := environ.get("IMAGE_FORMAT", "")) and image_format.lower() not in IMAGE_FORMATS:
        raise ConfigError(
            f"IMAGE_FORMAT: {image_format!r} is not offered; images are JPEG (from environment variable IMAGE_FORMAT)",
            key="IMAGE_FORMAT",
        )
    by_leaf = {key.rsplit(".", 1)[-1]: name for key, name in names.items()}
    return Layer(values, lambda key: f"environment variable {by_leaf.get(key.rsplit('.', 1)[-1], key)}")


def _file_layer(file: Path | None, environ: Mapping[str, str]) -> Layer:
    named = file or (Path(environ["FIELDCAM_CONFIG"]) if environ.get("FIELDCAM_CONFIG") else None)
    path = named or DEFAULT_FILE
    try:
        with path.open("rb") as stream:
            values = tomllib.load(stream)
    except FileNotFoundError:
        if named is None:
            return Layer({}, lambda _key: "defaults")
        raise ConfigError(f"configuration file {path} does not exist", key="config") from None
    except OSError as error:
        raise ConfigError(f"configuration file {path} cannot be read: {error.strerror}", key="config") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"configuration file {path} is not valid TOML: {error}", key="config") from None
    return Layer(values, lambda _key: str(path))


def _parse_environment(own: Mapping[str, str]) -> dict[str, Any]:
    """Read `FIELDCAM_…` variables; unknown ones are kept, so that validation refuses them by name."""
    values: dict[str, Any] = {}
    for name, value in own.items():
        if value == "":
            continue
        key = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
        # A camera's name may have dashes, a variable's name may not.
        if key.startswith("cameras."):
            camera, _, leaf = key.removeprefix("cameras.").partition(".")
            key = f"cameras.{camera.replace('_', '-')}.{leaf}" if leaf else key
        _set(values, key, value)
    return values


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    for parent in parents:
        below = tree.setdefault(parent, {})
        if not isinstance(below, dict):
            raise ConfigError(f"{key}: {parent} is not a table", key=key)
        tree = below
    tree[leaf] = value


def _merge(layers: list[Layer]) -> dict[str, Any]:
    """Return one tree, stronger layers first; the nameless default camera gets its name."""
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        _merge_into(merged, layer.values)
    cameras = merged.get("cameras")
    if isinstance(cameras, dict) and "*" in cameras:
        # Merged again under the real name, weakest layer first, so that the order of strength holds.
        name = merged.get("default_camera", "default")
        cameras.pop("*")
        table: dict[str, Any] = {}
        for layer in reversed(layers):
            for alias in ("*", name):
                below = layer.values.get("cameras", {})
                if isinstance(below, dict) and isinstance(below.get(alias), dict):
                    table.update(below[alias])
        cameras[name] = table
    return merged


def _merge_into(target: dict[str, Any], source: Mapping[str, Any]) -> None:
    for key, value in source.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge_into(target[key], value)
        else:
            target[key] = dict(value) if isinstance(value, dict) else value


def _source_of(layers: list[Layer], path: tuple[str, ...]) -> str:
    """Return what to call the layer that set a key."""
    for layer in layers:
        node: Any = layer.values
        for depth, part in enumerate(path):
            if isinstance(node, dict) and part in node:
                node = node[part]
            elif isinstance(node, dict) and depth == 1 and path[0] == "cameras" and "*" in node:
                node = node["*"]
            else:
                break
        else:
            return layer.source(".".join(path))
    return "defaults"


def _validate(layers: list[Layer]) -> Config:
    merged = _merge(layers)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(layers, error)), keys=_keys(error)) from None


def _keys(error: ValidationError) -> list[str]:
    return [".".join(str(part) for part in detail["loc"]) or "config" for detail in error.errors()]


def _explain(layers: list[Layer], error: ValidationError) -> list[str]:
    """Return one line per error: key, value, what is wrong, where it came from."""
    lines = []
    for detail in error.errors():
        path = tuple(str(part) for part in detail["loc"])
        key = ".".join(path) or "configuration"
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            known = CameraConfig.model_fields if path[0] == "cameras" and len(path) > 2 else Config.model_fields
            message = f"unknown key{_closest(path[-1], list(known))}"
        elif isinstance(detail.get("input"), str | int | float | bool):
            message = f"{detail['input']!r} is not allowed: {message}"
        lines.append(f"{key}: {message} (from {_source_of(layers, path)})" if path else message)
    return lines


def _closest(word: str, known: list[str]) -> str:
    found = get_close_matches(word, known, n=1)
    return f"; did you mean {found[0]}?" if found else f"; known are {', '.join(sorted(known))}"

# SPDX-License-Identifier: MIT
"""Where the configuration comes from, and who wins.

Strongest first (contract section 5): flags, `FIELDCAM_…` variables, the names of the reference documents, the TOML
file. A bad value names its key and the layer it came from. A camera's key is `FIELDCAM_CAMERAS__<NAME>__<KEY>` in the
environment; the reference names that speak of a camera mean the default camera.

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
from typing import Any

from pydantic import ValidationError

from fieldcam.core.config import CameraConfig, Config
from fieldcam.core.errors import ConfigError

DEFAULT_FILE = Path("/etc/fieldcam/fieldcam.toml")
ENV_PREFIX = "FIELDCAM_"
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

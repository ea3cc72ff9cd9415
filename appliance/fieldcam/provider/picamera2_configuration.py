# SPDX-License-Identifier: MIT
"""Configurations as Picamera2 has them: dicts that also answer by attribute.

Format names are libcamera's, whose arrays read backwards: `BGR888` is an array of R, G, B. That is what is delivered
unless a program asks for another one (contract section 2: `capture_array` returns RGB); Picamera2's own default for
previews has a fourth byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RGB = "BGR888"
CHANNELS = {RGB: 3, "RGB888": 3, "XBGR8888": 4, "XRGB8888": 4, "YUV420": 1}
# Sizes of Picamera2's three use cases, and its numbers of buffers; None = the full size.
USE_CASES: dict[str, tuple[tuple[int, int] | None, int]] = {
    "preview": ((640, 480), 4),
    "still": (None, 1),
    "video": ((1280, 720), 6),
}
_OF_MAIN = frozenset({"size", "format"})
_STREAM_KEYS = frozenset({"size", "format", "stride", "framesize", "preserve_ar"})


class Configuration(dict[str, Any]):
    """A dict whose keys are attributes, too; `size` and `format` of a camera's configuration are those of `main`."""

    def __getattr__(self, name: str) -> Any:
        """Return the value of a key.

        Raises:
            AttributeError: there is no such key.
        """
        if name in self:
            return self[name]
        if name in _OF_MAIN and "main" in self:
            return self["main"][name]
        raise AttributeError(f"a configuration has no {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        """Set the value of a key that is there already.

        Raises:
            RuntimeError: there is no such key; as Picamera2, against typing errors.
        """
        if name in self:
            self[name] = Configuration(value) if isinstance(value, Mapping) else value
        elif name in _OF_MAIN and "main" in self:
            self["main"][name] = value
        else:
            raise RuntimeError(f"Invalid field {name!r}")

    def enable_lores(self, onoff: bool = True) -> None:
        """Ask for a small picture beside the main one, or not."""
        self["lores"] = stream_settings({}, self["main"]["size"]) if onoff else None

    def enable_raw(self, onoff: bool = True) -> None:
        """Accepted, as every program may ask for it; sensor data never leave the host."""

    def align(self, optimal: bool = True) -> None:  # noqa: ARG002 - Picamera2's signature
        """Make sizes even; nothing else is needed here."""
        for stream in (self, self.get("main"), self.get("lores")):
            if stream and stream.get("size"):
                stream["size"] = _even(stream["size"])


def stream_settings(updates: Mapping[str, Any], size: tuple[int, int]) -> Configuration:
    """Return the settings of one stream.

    Raises:
        ValueError: a key or a size that no stream has; as Picamera2.
    """
    stream = Configuration(size=size, format=RGB)
    for key, value in updates.items():
        if key not in _STREAM_KEYS:
            raise ValueError(f"Bad key {key!r}: a stream has {sorted(_STREAM_KEYS)}")
        if value is not None:
            stream[key] = value
    stream["size"] = _even(stream["size"])
    return stream


def make_configuration(
    use_case: str,
    full_size: tuple[int, int],
    main: Mapping[str, Any] | None,
    lores: Mapping[str, Any] | None,
    others: Mapping[str, Any],
) -> Configuration:
    """Return a configuration for `preview`, `still` or `video`.

    Args:
        use_case: which of them.
        main: settings of the picture.
        lores: settings of the small picture; None = not asked for.
        full_size: of the camera's frames; (0, 0) when that is not known, and then means the full size.
        others: what else Picamera2 takes; it is kept as it is and changes nothing.

    Raises:
        ValueError, RuntimeError: as Picamera2, for keys that no stream has, and streams that are not there.
    """
    default_size, buffers = USE_CASES[use_case]
    main_stream = stream_settings(main or {}, default_size or full_size)
    plays = None if use_case == "still" else "main"
    config = Configuration(
        use_case=use_case,
        transform=None,
        colour_space=None,
        buffer_count=buffers,
        queue=True,
        main=main_stream,
        lores=None if lores is None else stream_settings(lores, main_stream["size"]),
        raw=None,  # sensor data never leave the host
        controls={},
        display=plays,
        encode=plays,
        sensor=None,
    )
    for key, value in others.items():
        if key not in config:
            raise TypeError(f"create_{use_case}_configuration() has no argument {key!r}")
        if key != "raw":
            config[key] = value
    for use in ("display", "encode"):
        if config[use] is not None and config.get(config[use]) is None:
            raise RuntimeError(f"{use.capitalize()} stream {config[use]} was not defined")
    return config


def checked(config: Mapping[str, Any]) -> Configuration:
    """Return a configuration that a program made, with streams of its own.

    Raises:
        RuntimeError: it has no main stream, or sizes that are none; as Picamera2.
    """
    main = config.get("main")
    if not isinstance(main, Mapping):
        raise RuntimeError("'main' key expected in camera configuration")
    result = Configuration(config)
    for name in ("main", "lores"):
        stream = result.get(name)
        if stream is None:
            continue
        try:
            result[name] = stream_settings(stream, (0, 0))
        except (TypeError, ValueError) as error:
            raise RuntimeError(f"stream {name}: {error}") from None
    return result


def _even(size: Any) -> tuple[int, int]:
    try:
        width, height = (int(side) for side in size)
    except (TypeError, ValueError):
        raise ValueError(f"size is {size!r}: (width, height) is possible") from None
    if width < 0 or height < 0:
        raise ValueError(f"size is {size!r}: sides are not negative")
    return width - width % 2, height - height % 2

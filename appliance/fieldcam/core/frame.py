# SPDX-License-Identifier: MIT
"""A frame on its way: what a camera delivers (`Shot`), what is asked for, and what is written beside it (`Sidecar`)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fieldcam.core.clock import Instant, rfc3339

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SIDECAR_SCHEMA = 1
Kind = Literal["live", "capture"]


@dataclass(frozen=True, slots=True)
class Shot:
    """One exposure, as the camera delivered it.

    Exactly one of `jpeg` and `pixels` is set: a camera that makes JPEG hands over its own bytes, one that makes pixels
    leaves the encoding to the pipeline.

    Attributes:
        exposed_at_ns: CLOCK_BOOTTIME at the start of the exposure, in nanoseconds.
        width, height: real dimensions of the image, in pixels.
        jpeg: a whole JPEG.
        pixels: BGR, uint8, shape (height, width, 3).
        exposure_ms: exposure the camera reports, in milliseconds; None when it does not say.
        gain: gain the camera reports (1.0 = none); None when it does not say.
        quality: JPEG quality of `jpeg` where known.
        settings: everything else the camera reports.
    """

    exposed_at_ns: int
    width: int
    height: int
    jpeg: bytes | None = None
    pixels: npt.NDArray[np.uint8] | None = None
    exposure_ms: float | None = None
    gain: float | None = None
    quality: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CaptureRequest:
    """What somebody asked of one capture. Everything is optional; None means as configured.

    Attributes:
        kind: `capture` is kept in the archive; `live` goes to the rolling frames.
        exposure_ms, gain, quality, width, height: hold for this capture only.
        not_before_ns: CLOCK_BOOTTIME before which the exposure must not have begun; 0 takes the newest fresh frame.
    """

    kind: Kind = "capture"
    exposure_ms: float | None = None
    gain: float | None = None
    quality: int | None = None
    width: int | None = None
    height: int | None = None
    not_before_ns: int | None = None
    sample_no: str | None = None
    submission_no: str | None = None
    description: str | None = None
    user_id: int | str | None = None
    job_id: int | str | None = None
    x_position: float | None = None
    y_position: float | None = None
    z_position: float | None = None
    idempotency_key: str | None = None
    request_sha256: str | None = None


FROZEN_AFTER = 3  # identical frames in a row; two may be chance with a dark scene and a coarse sensor


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The JSON beside every image (contract section 1). Readers tolerate unknown keys; the catalog is rebuilt from it.

    Attributes:
        id: number of a capture, minted by the capture process; None in `live/`.
        captured_at: start of the exposure, RFC 3339 UTC with milliseconds.
        timestamp: the same in seconds since the epoch.
        monotonic_ns: the same on CLOCK_BOOTTIME, in nanoseconds; comparable within `boot_id`.
        sequence: rises with every frame of a camera within a boot, across restarts of the process; gaps mean nothing.
        exposure: milliseconds, as the camera reports it.
        identical_frames: how many frames directly before this one had the same image or the same sensor time; 0 for a
            camera whose frames may rightly repeat. A camera that froze goes on counting here.
        time_quality: `synchronized`, `assumed` (the operator vouches for the clock) or `unsynchronized`.
    """

    filename: str
    camera: str
    kind: Kind
    captured_at: str
    timestamp: float
    boot_id: str
    monotonic_ns: int
    sequence: int
    width: int
    height: int
    file_size: int
    sha256: str
    backend: str
    simulated: bool
    time_quality: str
    schema: int = SIDECAR_SCHEMA
    id: int | None = None
    format: str = "JPEG"
    quality: int | None = None
    exposure: float | None = None
    gain: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    identical_frames: int = 0
    idempotency_key: str | None = None
    request_sha256: str | None = None
    sample_no: str | None = None
    submission_no: str | None = None
    description: str | None = None
    user_id: int | str | None = None
    job_id: int | str | None = None
    x_position: float | None = None
    y_position: float | None = None
    z_position: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the sidecar as plain data."""
        return dataclasses.asdict(self)

    def to_json(self) -> bytes:
        """Return the sidecar as it is written."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1).encode() + b"\n"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Sidecar:
        """Read a sidecar, tolerating keys of newer releases.

        Raises:
            ValueError: the data lacks a key that every sidecar has, or it is not a JSON object.
        """
        if not isinstance(data, Mapping):
            raise ValueError("a sidecar is a JSON object")
        known = {f.name for f in dataclasses.fields(cls)}
        try:
            sidecar = cls(**{key: value for key, value in data.items() if key in known})
        except TypeError as error:
            raise ValueError(f"not a sidecar: {error}") from None
        for names, kinds in _KINDS:
            for name in names:
                value = getattr(sidecar, name)
                if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                    raise ValueError(f"not a sidecar: {name} is {value!r}")
        return sidecar

    @classmethod
    def from_json(cls, text: bytes | str) -> Sidecar:
        """Read a sidecar file.

        Raises:
            ValueError: the text is not a sidecar.
        """
        return cls.from_dict(json.loads(text))

    @property
    def is_frozen(self) -> bool:
        """Whether the camera gave the same image too often to be believed."""
        return self.identical_frames >= FROZEN_AFTER

    @property
    def exposed_at(self) -> Instant:
        """The start of the exposure on both clocks."""
        return Instant(self.boot_id, self.monotonic_ns, round(self.timestamp * 1e9))


# What readers count and compare with; a planted or damaged file must not surprise them later.
_KINDS: tuple[tuple[tuple[str, ...], tuple[type, ...]], ...] = (
    (("filename", "camera", "kind", "captured_at", "boot_id", "sha256", "backend", "time_quality"), (str,)),
    (("monotonic_ns", "sequence", "width", "height", "file_size", "schema", "identical_frames"), (int,)),
    (("timestamp",), (int, float)),
    (("simulated",), (bool,)),
    (("id",), (int, type(None))),
    (("settings",), (Mapping,)),
)


def instant_fields(moment: Instant) -> dict[str, Any]:
    """Return the sidecar's time fields for the start of an exposure."""
    return {
        "captured_at": rfc3339(moment.wall_ns),
        "timestamp": moment.wall_ns // 1_000_000 / 1000,
        "boot_id": moment.boot_id,
        "monotonic_ns": moment.boottime_ns,
    }

# SPDX-License-Identifier: MIT
"""One image as the catalog knows it: made from a sidecar, and from nothing else, so that it can be made again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fieldcam.core import names
from fieldcam.core.errors import CatalogError
from fieldcam.core.frame import Sidecar

_CAPTURED_AT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"0|-?[1-9]\d{0,17}")
_SQLITE_INT = 2**63

# Everything about an image that never changes; `id`, `thumbnail_path`, `state` and `digest` come on top.
VALUE_COLUMNS = (
    "job_id",
    "user_id",
    "filename",
    "captured_at",
    "x_position",
    "y_position",
    "z_position",
    "exposure_time",
    "gain",
    "file_size",
    "width",
    "height",
    "metadata",
    "camera",
    "kind",
    "sha256",
    "sample_no",
    "submission_no",
    "description",
    "backend",
    "simulated",
    "boot_id",
    "monotonic_ns",
    "sequence",
)
_IN_METADATA = (
    "schema",
    "timestamp",
    "time_quality",
    "quality",
    "settings",
    "idempotency_key",
    "request_sha256",
)


@dataclass(frozen=True, slots=True)
class ImageRow:
    """A row of `images`.

    Attributes:
        id: minted by capture for captures; by the manager, from `LIVE_ID_BASE` upwards, for live frames.
        thumbnail_path: relative to the archive; None until it is made.
        captured_at: RFC 3339 UTC with milliseconds.
        exposure_time: milliseconds.
        metadata: what the sidecar says beyond the columns, with the names of contract section 4 (`format`, `quality`,
            `cameraConnected`, `simulatedMode`, `settings`).
        state: `present` or `removed`.
    """

    id: int
    job_id: int | str | None
    user_id: int | str | None
    filename: str
    thumbnail_path: str | None
    captured_at: str
    x_position: float | None
    y_position: float | None
    z_position: float | None
    exposure_time: float | None
    gain: float | None
    file_size: int
    width: int
    height: int
    metadata: Mapping[str, Any]
    camera: str
    kind: str
    sha256: str
    sample_no: str | None
    submission_no: str | None
    description: str | None
    backend: str
    simulated: bool
    boot_id: str
    monotonic_ns: int
    sequence: int
    state: str


ROW_COLUMNS = tuple(ImageRow.__dataclass_fields__)


def values_of(sidecar: Sidecar) -> tuple[Any, ...]:
    """Return the values of `VALUE_COLUMNS`.

    Raises:
        ValueError: the sidecar is damaged: a field has a type or value that none of ours has.
    """
    _check(sidecar)
    metadata = {
        "format": "JPG" if sidecar.format == "JPEG" else sidecar.format,
        "cameraConnected": not sidecar.simulated,
        "simulatedMode": sidecar.simulated,
        **{key: getattr(sidecar, key) for key in _IN_METADATA},
    }
    special = {
        "job_id": None if sidecar.job_id is None else str(sidecar.job_id),
        "user_id": None if sidecar.user_id is None else str(sidecar.user_id),
        "exposure_time": sidecar.exposure,
        "metadata": json.dumps(metadata, ensure_ascii=False, sort_keys=True, separators=(",", ":")),
        "simulated": int(sidecar.simulated),
    }
    return tuple(_as_stored(column, special.get(column, getattr(sidecar, column, None))) for column in VALUE_COLUMNS)


_REAL = frozenset({"x_position", "y_position", "z_position", "exposure_time", "gain"})


def _as_stored(column: str, value: Any) -> Any:
    if isinstance(value, str):
        value.encode()  # JSON can hold half a surrogate pair, SQLite cannot; UnicodeEncodeError is a ValueError
    # 100 and 100.0 are one number in SQLite's REAL columns, and must be one in the digest.
    return float(value) if column in _REAL and value is not None else value


def digest_of(row_id: int | None, values: Sequence[Any]) -> str:
    """Return the check value of a row: a changed bit in any of its values changes it."""
    text = json.dumps([row_id, *values], ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def row_from(values: Sequence[Any]) -> ImageRow:
    """Return a row read as `ROW_COLUMNS`.

    Raises:
        CatalogError: the row is damaged.
    """
    row = dict(zip(ROW_COLUMNS, values, strict=True))
    try:
        row["metadata"] = json.loads(row["metadata"])
        if not isinstance(row["metadata"], dict):
            raise ValueError("metadata is no object")
    except (ValueError, TypeError) as error:
        raise CatalogError(f"row {row['id']} is damaged: {error}", cause="damaged") from None
    row["simulated"] = bool(row["simulated"])
    for key in ("job_id", "user_id"):
        row[key] = _number_or_text(row[key])
    return ImageRow(**row)


def _number_or_text(value: Any) -> int | str | None:
    return int(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def _is_name(value: Any) -> bool:
    stem, dot, suffix = str(value).rpartition(".")
    return bool(dot) and suffix == "jpg" and names.parse(stem) is not None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _SQLITE_INT


def _is_measure(value: Any) -> bool:
    return value is None or (type(value) in {int, float} and abs(value) < float("inf"))


def _is_text(value: Any) -> bool:
    return value is None or type(value) is str


def _is_key(value: Any) -> bool:
    return value is None or type(value) in {int, str}


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "filename": _is_name,
    "camera": lambda value: names.CAMERA_NAME.fullmatch(str(value)) is not None,
    "kind": lambda value: value in {"live", "capture"},
    "captured_at": lambda value: _CAPTURED_AT.fullmatch(str(value)) is not None,
    "sha256": lambda value: _SHA256.fullmatch(str(value)) is not None,
    **dict.fromkeys(("width", "height", "file_size", "monotonic_ns", "sequence"), _is_count),
    "simulated": lambda value: type(value) is bool,
    **dict.fromkeys(("exposure", "gain", "x_position", "y_position", "z_position"), _is_measure),
    **dict.fromkeys(("sample_no", "submission_no", "description", "backend", "boot_id", "time_quality"), _is_text),
    **dict.fromkeys(("user_id", "job_id"), _is_key),
}


def _check(sidecar: Sidecar) -> None:
    for key, allows in _CHECKS.items():
        value = getattr(sidecar, key)
        if not allows(value):
            raise ValueError(f"{key} is {value!r}")
    if sidecar.kind == "capture" and not (_is_count(sidecar.id) and sidecar.id):
        raise ValueError(f"id is {sidecar.id!r}")

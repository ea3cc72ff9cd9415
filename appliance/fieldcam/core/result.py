# SPDX-License-Identifier: MIT
"""What a consumer says: a result about a frame, and a sign that it lives (docs/results.md has both formats).

A consumer is somebody else's program in a container, so everything here is read as if it were hostile: whatever the
bytes, `from_json` gives a value whose every field has its type and range, or raises `ValueError` and nothing else.
What the manager must never meet later is refused here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from fieldcam.core.clock import Instant
from fieldcam.core.names import CAMERA_NAME, SERVICE_NAME, parse
from fieldcam.core.plain_json import check_json, dump, parse_object, shown

SCHEMA = 1
MAX_RESULT_BYTES = 64 * 1024  # of what a consumer writes
MAX_KEPT_BYTES = MAX_RESULT_BYTES + 1024  # the manager fills in camera, id and image_id
MAX_BEAT_BYTES = 8 * 1024
MAX_WAITING = 10_000  # files that may wait in a consumer's folder; beyond it the oldest go
BEAT_NAME = "heartbeat.json"
RESULT_NAME = re.compile(r"result_[A-Za-z0-9._-]{1,128}\.json")

_INT_LIMIT = 2**63
_BOOT_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_FILENAME = re.compile(r"[A-Za-z0-9._-]{1,255}")
_Made = TypeVar("_Made", "Result", "Beat")
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Result:
    """One result of one consumer. An object of this class is always valid.

    Attributes:
        service: name of the consumer.
        camera: whose frame it is about; None = the default camera, whatever its name.
        at: when the result was made, RFC 3339 UTC with milliseconds.
        boot_id, monotonic_ns: the same on CLOCK_BOOTTIME.
        data: what the consumer found; a JSON object of its own shape.
        sequence, filename: of the frame it is about, where there is one; a frame of the ring has no file yet.
        image_id: id of the capture it is about; None for a live frame.

    Raises:
        ValueError: a field has a type or value that is not allowed.
    """

    service: str
    camera: str | None
    at: str
    boot_id: str
    monotonic_ns: int
    data: Mapping[str, Any]
    sequence: int | None = None
    filename: str | None = None
    image_id: int | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        _check(self, _RESULT_CHECKS)
        check_json("data", self.data)
        if len(self.to_json()) > MAX_KEPT_BYTES - 64:
            raise ValueError(f"a result has at most {MAX_RESULT_BYTES} bytes")

    @property
    def key(self) -> str:
        """What tells this result from every other: a digest of all it says, but for `image_id`.

        The manager fills that in, and the key must stay the same whether it is made of what the consumer wrote or of
        what the manager kept.
        """
        said = {name: value for name, value in self.to_dict().items() if name not in {"image_id", "schema"}}
        return hashlib.blake2b(dump(said, sort_keys=True), digest_size=16).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {name: getattr(self, name) for name in _RESULT_FIELDS}

    def to_json(self) -> bytes:
        """Return the result as it is written."""
        return dump(self.to_dict()) + b"\n"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Result:
        """Read a result, tolerating keys of newer releases.

        Raises:
            ValueError: it is none.
        """
        return _read(
            cls, {"camera": None, **data}, {"at": _as_utc, "filename": _none_if_empty, "camera": _none_if_empty}
        )

    @classmethod
    def from_json(cls, text: bytes | str, limit: int = MAX_RESULT_BYTES) -> Result:
        """Read a result file, whoever wrote it.

        Args:
            text: the file.
            limit: bytes it may have.

        Raises:
            ValueError: it is none; nothing else is ever raised, whatever the text.
        """
        return cls.from_dict(parse_object(text, limit))


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life of a consumer. An object of this class is always valid.

    Attributes:
        boottime_ns: CLOCK_BOOTTIME of this beat.
        at: the same in wall time, for people; RFC 3339 UTC with milliseconds.
        detail: whatever the consumer wants to say of itself.

    Raises:
        ValueError: a field has a type or value that is not allowed.
    """

    service: str
    boot_id: str
    boottime_ns: int
    at: str
    pid: int
    detail: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        _check(self, _BEAT_CHECKS)
        check_json("detail", self.detail)
        if len(self.to_json()) > MAX_BEAT_BYTES:
            raise ValueError(f"a sign of life has at most {MAX_BEAT_BYTES} bytes")

    def age_seconds(self, now: Instant) -> float:
        """Return how long ago this was said; infinite when it was in another boot."""
        return (now.boottime_ns - self.boottime_ns) / 1e9 if self.boot_id == now.boot_id else float("inf")

    def to_json(self) -> bytes:
        """Return the beat as it is written."""
        return dump({name: getattr(self, name) for name in _BEAT_FIELDS}) + b"\n"

    @classmethod
    def from_json(cls, text: bytes | str) -> Beat:
        """Read a beat, whoever wrote it.

        Raises:
            ValueError: it is none; nothing else is ever raised, whatever the text.
        """
        return _read(cls, parse_object(text, MAX_BEAT_BYTES), {"at": _as_utc})


_RESULT_FIELDS = tuple(entry.name for entry in dataclasses.fields(Result))
_BEAT_FIELDS = tuple(entry.name for entry in dataclasses.fields(Beat))


# --- checks -----------------------------------------------------------------------------------------------------------


def _matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: type(value) is str and pattern.fullmatch(value) is not None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _INT_LIMIT


def _is_utc(value: Any) -> bool:
    return type(value) is str and _AT.fullmatch(value) is not None and _as_utc(value) == value


def _is_filename(value: Any) -> bool:
    if type(value) is not str or _FILENAME.fullmatch(value) is None:
        return False
    stem, dot, suffix = value.rpartition(".")
    return bool(dot) and suffix == "jpg" and parse(stem) is not None


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


_RESULT_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "schema": lambda value: type(value) is int and value == SCHEMA,
    "service": _matches(SERVICE_NAME),
    "camera": _or_none(_matches(CAMERA_NAME)),
    "at": _is_utc,
    "boot_id": _matches(_BOOT_ID),
    "monotonic_ns": _is_count,
    "sequence": _or_none(_is_count),
    "filename": _or_none(_is_filename),
    "image_id": _or_none(lambda value: _is_count(value) and value > 0),
}
_BEAT_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "schema": lambda value: type(value) is int and value == SCHEMA,
    "service": _matches(SERVICE_NAME),
    "boot_id": _matches(_BOOT_ID),
    "boottime_ns": _is_count,
    "at": _is_utc,
    "pid": _is_count,
}


def _check(made: Any, checks: Mapping[str, Callable[[Any], bool]]) -> None:
    for name, allows in checks.items():
        value = getattr(made, name)
        if not allows(value):
            raise ValueError(f"{name} is {shown(value)}")


# --- reading and writing ----------------------------------------------------------------------------------------------


def _read(cls: type[_Made], data: Mapping[str, Any], prepare: Mapping[str, Callable[[Any], Any]]) -> _Made:
    fields = dataclasses.fields(cls)
    values = {entry.name: data[entry.name] for entry in fields if entry.name in data}
    for entry in fields:
        has_default = entry.default is not dataclasses.MISSING or entry.default_factory is not dataclasses.MISSING
        if entry.name not in values and not has_default:
            raise ValueError(f"{entry.name} is missing")
    for name, make in prepare.items():
        if name in values:
            values[name] = make(values[name])
    return cls(**values)


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


def _as_utc(value: Any) -> Any:
    """Return a time in UTC with milliseconds, however it was written; what is no text is left for the check."""
    if type(value) is not str:
        return value
    if _RFC3339.fullmatch(value) is None:
        raise ValueError(f"at is {shown(value)}, not a time such as 2026-01-13T10:30:45.123Z")
    try:
        moment = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"at is {shown(value)}: there is no such time") from None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

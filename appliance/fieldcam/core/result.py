# SPDX-License-Identifier: MIT
"""What a consumer says: a result about a frame, and a sign that it lives (docs/results.md has both formats).

A consumer is somebody else's program in a container, so everything here is read as if it were hostile: whatever the
bytes, `from_json` gives a value whose every field has its type and range, or raises `ValueError` and nothing else.
What the manager must never meet later is refused here: NaN, half surrogate pairs, numbers beyond 64 bits, keys that
stand twice, deep nesting.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from fieldcam.core.clock import Instant
from fieldcam.core.names import CAMERA_NAME, SERVICE_NAME, parse

SCHEMA = 1
MAX_RESULT_BYTES = 64 * 1024  # of what a consumer writes
MAX_KEPT_BYTES = MAX_RESULT_BYTES + 1024  # the manager fills in camera, id and image_id
MAX_BEAT_BYTES = 8 * 1024
MAX_DEPTH = 20
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
        _check_json("data", self.data)
        if len(self.to_json()) > MAX_KEPT_BYTES - 64:
            raise ValueError(f"a result has at most {MAX_RESULT_BYTES} bytes")

    @property
    def key(self) -> str:
        """What tells this result from every other: a digest of all it says, but for `image_id`.

        The manager fills that in, and the key must stay the same whether it is made of what the consumer wrote or of
        what the manager kept.
        """
        said = {name: value for name, value in self.to_dict().items() if name not in {"image_id", "schema"}}
        return hashlib.blake2b(_dump(said, sort_keys=True), digest_size=16).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {name: getattr(self, name) for name in _RESULT_FIELDS}

    def to_json(self) -> bytes:
        """Return the result as it is written."""
        return _dump(self.to_dict()) + b"\n"

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
        return cls.from_dict(_parse(text, limit))


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
        _check_json("detail", self.detail)
        if len(self.to_json()) > MAX_BEAT_BYTES:
            raise ValueError(f"a sign of life has at most {MAX_BEAT_BYTES} bytes")

    def age_seconds(self, now: Instant) -> float:
        """Return how long ago this was said; infinite when it was in another boot."""
        return (now.boottime_ns - self.boottime_ns) / 1e9 if self.boot_id == now.boot_id else float("inf")

    def to_json(self) -> bytes:
        """Return the beat as it is written."""
        return _dump({name: getattr(self, name) for name in _BEAT_FIELDS}) + b"\n"

    @classmethod
    def from_json(cls, text: bytes | str) -> Beat:
        """Read a beat, whoever wrote it.

        Raises:
            ValueError: it is none; nothing else is ever raised, whatever the text.
        """
        return _read(cls, _parse(text, MAX_BEAT_BYTES), {"at": _as_utc})


def read_plain_file(path: str | Path, limit: int, *, folder: int | None = None) -> bytes:
    """Read a file that a stranger may have put there: no link is followed, nothing but a plain file is waited for.

    Args:
        path: the file; relative to `folder` when that is given.
        limit: bytes it may have.
        folder: descriptor of an open folder.

    Raises:
        ValueError: it is no plain file, or larger.
        OSError: it cannot be opened or read; a link is ELOOP.
    """
    # O_NONBLOCK: opening a pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=folder)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("no plain file")
        if facts.st_size > limit:
            raise ValueError(f"larger than {limit} bytes")
        found = b""
        while len(found) <= limit and (part := os.read(descriptor, limit + 1 - len(found))):
            found += part
    finally:
        os.close(descriptor)
    if len(found) > limit:
        raise ValueError(f"larger than {limit} bytes")
    return found


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
            raise ValueError(f"{name} is {_shown(value)}")


def _check_json(name: str, value: Any) -> None:
    """Make sure that every program reads the same in it. Level by level: a recursion could be made to overflow."""
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a JSON object")
    level: list[Any] = [value]
    nodes = 0
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                for key in node:
                    _check_text(name, key)
                below.extend(node.values())
            elif isinstance(node, list | tuple):
                below.extend(node)
            else:
                _check_scalar(name, node)
            # A list that holds itself grows from level to level; what fits in the size has fewer values than bytes.
            if len(below) > MAX_RESULT_BYTES:
                raise ValueError(f"{name} has too many values")
        nodes += len(below)
        if nodes > MAX_RESULT_BYTES:
            raise ValueError(f"{name} has too many values")
        if not below:
            return
        level = below
    raise ValueError(f"{name} is nested more than {MAX_DEPTH} levels deep")


def _check_scalar(name: str, value: Any) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        _check_text(name, value)
    elif isinstance(value, int):
        if abs(value) >= _INT_LIMIT:
            raise ValueError(f"{name} has a whole number beyond 64 bits")
    elif isinstance(value, float):
        if not abs(value) < float("inf"):
            raise ValueError(f"{name} has a number that JSON does not have: {value}")
    else:
        raise ValueError(f"{name} has a value of type {type(value).__name__}, which JSON does not have")


def _check_text(name: str, text: Any) -> None:
    if not isinstance(text, str):
        raise ValueError(f"{name} has a key of type {type(text).__name__}, which JSON does not have")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} has half of a surrogate pair") from None


# --- reading and writing ----------------------------------------------------------------------------------------------


def _dump(value: Any, *, sort_keys: bool = False) -> bytes:
    # A dict of another type than dict (an OrderedDict …) is one for json, too.
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=sort_keys)
    return text.encode()


def _parse(text: bytes | str, limit: int) -> dict[str, Any]:
    data = text.encode() if isinstance(text, str) else text
    if len(data) > limit:
        raise ValueError(f"larger than {limit} bytes")
    try:
        value = json.loads(data.decode(), parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


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
        raise ValueError(f"at is {_shown(value)}, not a time such as 2026-01-13T10:30:45.123Z")
    try:
        moment = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"at is {_shown(value)}: there is no such time") from None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _shown(value: Any) -> str:
    """Return a value as a message may hold it: short, and on one line."""
    return repr(value)[:80] if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"

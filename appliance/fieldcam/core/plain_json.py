# SPDX-License-Identifier: MIT
"""JSON of strangers, without the parts that two programs read differently, or that stop a program.

Refused are NaN and Infinity, half surrogate pairs, numbers beyond 64 bits, keys that stand twice, deep nesting.
"""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 20
MAX_VALUES = 65_536  # what fits in the largest text that is read has fewer values than bytes

_INT_LIMIT = 2**63


def dump(value: Any, *, sort_keys: bool = False) -> bytes:
    """Return a value that was checked as JSON on one line."""
    # A dict of another type than dict (an OrderedDict …) is one for json, too.
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=sort_keys)
    return text.encode()


def parse_object(text: bytes | str, limit: int) -> dict[str, Any]:
    """Read a JSON object of at most `limit` bytes. What its values are is left to `check_json`.

    Raises:
        ValueError: it is none; nothing else is ever raised, whatever the text.
    """
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


def check_json(name: str, value: Any) -> None:
    """Make sure that a value is a JSON object that every program reads alike.

    Level by level: a recursion could be made to overflow.

    Raises:
        ValueError: it is not; the message begins with `name`.
    """
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
            if len(below) > MAX_VALUES:
                raise ValueError(f"{name} has too many values")
        nodes += len(below)
        if nodes > MAX_VALUES:
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


def shown(value: Any) -> str:
    """Return a value as a message may hold it: short, and on one line."""
    return repr(value)[:80] if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found

# SPDX-License-Identifier: MIT
"""JSON without the parts that two programs read differently.

NaN and Infinity, duplicate keys, bytes that are no UTF-8, deep nesting and numbers of thousands of digits are refused;
answers never contain them either.
"""

from __future__ import annotations

import json
from typing import Any

from flask import Request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from fieldcam.core.errors import RequestInvalidError

MAX_DEPTH = 20


class StrictRequest(Request):
    """A request whose JSON body is read strictly; an empty body counts as `{}`."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:  # noqa: ARG002
        """Return the body; the arguments are those of the base and change nothing.

        Raises:
            RequestEntityTooLarge: it is longer than allowed.
            UnsupportedMediaType: there is a body, and it is not said to be plain JSON.
            RequestInvalidError: it is not a JSON object, or one that is refused.
        """
        data = self.get_data(cache=True)
        limit = self.max_content_length
        # A chunked body is silently cut off at the limit, and its beginning might be a whole object.
        if self.content_length is None and limit is not None and len(data) >= limit:
            raise RequestEntityTooLarge
        if not data.strip():
            return {}
        if self.mimetype != "application/json":
            raise UnsupportedMediaType("the body must be JSON: send Content-Type: application/json")
        if self.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType("the body must not be compressed")
        return parse_object(data)


class StrictJSONProvider(DefaultJSONProvider):
    """Writes answers: keys as given, no NaN, no Infinity."""

    sort_keys = False
    compact = True

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Return the text."""
        return super().dumps(obj, **{"allow_nan": False, "separators": (",", ":")} | kwargs)


def parse_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RequestInvalidError: it is none, or it has something that is refused.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except UnicodeDecodeError:
        raise RequestInvalidError("body: is not UTF-8") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        # JSONDecodeError names the position; the other ValueErrors are numbers of thousands of digits.
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "a number is too long"
        raise RequestInvalidError(f"body: is not valid JSON: {reason}") from None
    if not isinstance(value, dict):
        raise RequestInvalidError("body: must be a JSON object")
    _check_depth(value)
    return value


def _refuse_constant(name: str) -> Any:
    raise RequestInvalidError(f"body: {name} is not allowed in JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise RequestInvalidError(f"{twice[:64]}: stands twice in the body", field=twice[:64])
    return found


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> RequestInvalidError:
    return RequestInvalidError(f"body: is nested more than {MAX_DEPTH} levels deep")

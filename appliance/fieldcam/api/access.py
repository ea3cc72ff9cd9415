# SPDX-License-Identifier: MIT
"""Who may call which view. Every view carries a mark; `create_app` fails on one that does not.

The token listener denies by default: without a token nobody learns whether a route exists.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from flask import Flask, Response, g, request
from werkzeug.exceptions import NotFound

from fieldcam.api.auth_store import Role, Token, may
from fieldcam.api.context import context
from fieldcam.api.listeners import Listener, check_local_caller, listener_of_request, preflight
from fieldcam.core.errors import AuthError, TokenInvalidError

View = TypeVar("View", bound=Callable[..., Any])
_MARK = "fieldcam_access"


@dataclass(frozen=True, slots=True)
class Access:
    """A mark.

    Attributes:
        kind: `local` (local listener only, no token), `open` (any listener, no token), `token` (token listener only).
        role: for `token`: the least role.
    """

    kind: Literal["local", "open", "token"]
    role: Role = "viewer"


def local(view: View) -> View:
    """Mark a view of the local listener."""
    return _marked(view, Access("local"))


def open_to_all(view: View) -> View:
    """Mark a view that anybody may call."""
    return _marked(view, Access("open"))


def token(role: Role) -> Callable[[View], View]:
    """Mark a view that needs a token of at least this role."""
    return lambda view: _marked(view, Access("token", role))


def access_of(app: Flask, endpoint: str) -> Access | None:
    """Return the mark of a view."""
    return getattr(app.view_functions[endpoint], _MARK, None)


def require_marks(app: Flask) -> None:
    """Make sure that every view is marked.

    Raises:
        RuntimeError: one is not; a mistake in the program.
    """
    bare = sorted({rule.rule for rule in app.url_map.iter_rules() if access_of(app, rule.endpoint) is None})
    if bare:
        raise RuntimeError(f"views without an access mark: {', '.join(bare)}")


def check(app: Flask) -> Response | None:
    """Let the request pass, or answer it; runs before every view, also before 404 and 405 are found out.

    Raises:
        TokenInvalidError, AuthError: the caller may not.
        NotFound: the route is not for this listener.
    """
    is_local = listener_of_request() is Listener.LOCAL
    if is_local:
        check_local_caller()
    if (answer := preflight()) is not None:
        return answer
    mark = access_of(app, request.url_rule.endpoint) if request.url_rule is not None else None
    if mark is not None and mark.kind == "open":
        return None
    if is_local:
        if mark is not None and mark.kind == "token":
            raise NotFound
        return None
    caller = _authenticate()
    if mark is not None and mark.kind == "local":
        raise NotFound
    if mark is not None and not may(caller.role, mark.role):
        raise AuthError(f"this needs a token of role {mark.role}; yours is {caller.role}")
    g.caller = caller
    return None


def caller() -> Token | None:
    """Return whose token the request came with; None on the local listener and for open views."""
    return getattr(g, "caller", None)


def _authenticate() -> Token:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise TokenInvalidError("a valid token is needed")
    return context().tokens.check(text.strip())


def _marked(view: View, access: Access) -> View:
    setattr(view, _MARK, access)
    return view

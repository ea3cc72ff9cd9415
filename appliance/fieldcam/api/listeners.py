# SPDX-License-Identifier: MIT
"""Which listener a request came in by, and what the local one asks of its callers.

The socket decides, never the Host header: that one is the caller's to write. The local listener has no token, so a web
page must not be able to drive it through somebody's browser: Host and Origin are checked (DNS rebinding, cross-site
requests), and a peer that is not on this machine is refused.
"""

from __future__ import annotations

import ipaddress
import socket
from enum import Enum

from flask import Response, request

from fieldcam.api.context import context
from fieldcam.core.errors import AuthError

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
PREFLIGHT_SECONDS = 600
ALLOWED_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Range")


class Listener(Enum):
    """The listeners. The gateway's has the rules of the token listener."""

    LOCAL = "local"
    TOKEN = "token"  # noqa: S105 - a name, no secret
    GATEWAY = "gateway"


def listener_of_request() -> Listener:
    """Return the listener of this request; the one that asks for a token when in doubt."""
    config = context().config
    accepted: socket.socket | None = request.environ.get("gunicorn.socket")
    if accepted is not None and accepted.family == socket.AF_UNIX:
        return Listener.GATEWAY
    if not config.local_listener or accepted is None or accepted.family not in {socket.AF_INET, socket.AF_INET6}:
        return Listener.TOKEN
    address, port = accepted.getsockname()[:2]
    if port == config.local_port and ipaddress.ip_address(address).is_loopback:
        return Listener.LOCAL
    return Listener.TOKEN


def client_address() -> str:
    """Return the address of the client; empty when it is not known.

    A forwarded one is believed on the gateway's socket only, which nobody but the proxy can open. The last entry of
    X-Forwarded-For is what the proxy itself saw; those before it are the client's to invent.
    """
    if listener_of_request() is not Listener.GATEWAY:
        return request.remote_addr or ""
    forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    try:
        return str(ipaddress.ip_address(forwarded))
    except ValueError:
        return ""


def check_local_caller() -> None:
    """Refuse whoever is not a local program or a page that may.

    Raises:
        AuthError: the peer is not on this machine, or Host or Origin is foreign.
    """
    config = context().config
    try:
        is_local = ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        is_local = False
    if not is_local:
        raise AuthError("this listener answers programs on this machine only")
    hosts = {f"{name}:{config.local_port}" for name in LOCAL_NAMES}
    if config.local_port == 80:
        hosts |= set(LOCAL_NAMES)
    if request.headers.get("Host", "").lower() not in hosts:
        raise AuthError(f"Host: is not allowed; call this listener as http://localhost:{config.local_port}")
    origin = request.headers.get("Origin")
    if origin is not None and origin not in {f"http://{host}" for host in hosts} and not _is_allowed(origin):
        raise AuthError("Origin: is not allowed; allowed_origins in the configuration names the pages that are")
    if origin is None and _is_foreign_embed():
        raise AuthError("Sec-Fetch-Site: a page of another site may not use this listener")


def _is_foreign_embed() -> bool:
    """Return whether a browser says that a page of another site embeds this; following a link to it is no harm."""
    site, mode = request.headers.get("Sec-Fetch-Site"), request.headers.get("Sec-Fetch-Mode")
    return site == "cross-site" and mode != "navigate"


def _is_allowed(origin: str) -> bool:
    return origin in context().config.allowed_origins


def preflight() -> Response | None:
    """Return the answer to a CORS preflight of an allowed origin; it is the same whatever route it asks about."""
    origin = request.headers.get("Origin")
    if request.method != "OPTIONS" or origin is None or "Access-Control-Request-Method" not in request.headers:
        return None
    if not _is_allowed(origin):
        return None
    answer = Response(status=204)
    answer.headers["Access-Control-Allow-Methods"] = "GET, HEAD, POST, PUT, DELETE"
    answer.headers["Access-Control-Allow-Headers"] = ", ".join(ALLOWED_HEADERS)
    answer.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
    return answer


def add_cors(answer: Response) -> None:
    """Let an allowed page read the answer; never with credentials, which no listener takes from a cookie."""
    answer.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin is not None and _is_allowed(origin):
        answer.headers["Access-Control-Allow-Origin"] = origin
        answer.headers["Access-Control-Expose-Headers"] = (
            "ETag, X-Age, X-Camera, X-Captured-At, X-Sequence, X-Simulated, X-Timestamp"
        )

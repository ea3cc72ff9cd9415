# SPDX-License-Identifier: MIT
"""Device tokens: who may use the token listener.

A token is `fc_<id>_<secret>`; only the SHA-256 of its secret is kept (256 random bits need no slow hash). Every check
opens the file anew: that costs a fraction of a millisecond, and a token revoked by a command is refused from the next
request on. The journal is DELETE and synchronous EXTRA: an issued token and, above all, a revocation survive a power
cut.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast
from urllib.parse import quote

from fieldcam.core.clock import Clock, rfc3339
from fieldcam.core.errors import AuthUnavailableError, RequestInvalidError, TokenInvalidError

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")  # each may do what those before it may

BUSY_SECONDS = 5.0
MAX_NAME = 64
_TOKEN = re.compile(r"fc_(?P<id>[0-9a-f]{12})_(?P<secret>[A-Za-z0-9_-]{43})")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    sha256 TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT
) STRICT
"""
_COLUMNS = "id, name, role, created_at, expires_at, revoked_at"
_NO_ONE = "0" * 64


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept; times are RFC 3339 UTC."""

    id: str
    name: str
    role: Role
    created_at: str
    expires_at: str | None
    revoked_at: str | None


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token; `text` is what its owner sends, and is nowhere else."""

    text: str
    token: Token


def may(role: Role, needed: Role) -> bool:
    """Return whether a role includes another."""
    return ROLES.index(role) >= ROLES.index(needed)


class AuthStore:
    """The database of tokens.

    Args:
        path: `Layout.auth`; made by the first `issue`.
        clock: time.

    Every method raises `AuthUnavailableError` when the file cannot be used.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def issue(self, name: str, role: Role, *, lifetime_seconds: float | None = None) -> IssuedToken:
        """Make a token.

        Args:
            name: whose it is, in words.
            role: what it may do.
            lifetime_seconds: how long it holds; None = until it is revoked.

        Raises:
            RequestInvalidError: the name is empty, too long or not printable.
        """
        if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
            raise RequestInvalidError(f"name: {name!r} is not allowed; 1 to {MAX_NAME} printable characters")
        now_ns = self._clock.wall_ns()
        expires = None if lifetime_seconds is None else rfc3339(now_ns + int(lifetime_seconds * 1e9))
        # os.urandom behind both: an id is no secret, but two tokens must not share one.
        token = Token(secrets.token_hex(6), name, role, rfc3339(now_ns), expires, None)
        secret = secrets.token_urlsafe(32)
        self._make()
        with self._open() as connection, connection:
            connection.execute(
                "INSERT INTO tokens (id, name, role, sha256, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
                (token.id, token.name, token.role, _sha256(secret), token.created_at, token.expires_at),
            )
        return IssuedToken(f"fc_{token.id}_{secret}", token)

    def tokens(self) -> list[Token]:
        """Return all tokens, oldest first."""
        if not self._exists():
            return []
        with self._open() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM tokens ORDER BY created_at, id").fetchall()  # noqa: S608
        return [_token(row) for row in rows]

    def revoke(self, token_id: str) -> Token:
        """Refuse a token from now on; one that was revoked before stays as it was.

        Raises:
            RequestInvalidError: there is no such token.
        """
        found: list[Token] = []
        if self._exists():
            with self._open() as connection, connection:
                connection.execute(
                    "UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL",
                    (rfc3339(self._clock.wall_ns()), token_id),
                )
                rows = connection.execute(f"SELECT {_COLUMNS} FROM tokens WHERE id = ?", (token_id,))  # noqa: S608
                found = [_token(row) for row in rows]
        if not found:
            raise RequestInvalidError(f"id: there is no token {token_id!r}; `fieldcam token list` shows them")
        return found[0]

    def check(self, text: str) -> Token:
        """Return the token that this is.

        Raises:
            TokenInvalidError: it is none, or revoked, or expired; the message never says which.
        """
        match = _TOKEN.fullmatch(text)
        if match is None or not self._exists():
            raise _refusal()
        with self._open() as connection:
            row = connection.execute(f"SELECT {_COLUMNS}, sha256 FROM tokens WHERE id = ?", (match["id"],)).fetchone()  # noqa: S608
        known = str(row[-1]) if row is not None else _NO_ONE
        if not hmac.compare_digest(known, _sha256(match["secret"])) or row is None:
            raise _refusal()
        token = _token(row[:-1])
        if token.revoked_at is not None or (token.expires_at or "~") <= rfc3339(self._clock.wall_ns()):
            raise _refusal()
        return token

    def _exists(self) -> bool:
        try:
            self._path.stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise AuthUnavailableError(f"{self._path} cannot be read: {error.strerror}") from error
        return True

    def _make(self) -> None:
        """Make folder and file, for their owner only. Made by root, they belong to whom the folder belongs."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return
        except OSError as error:
            raise AuthUnavailableError(f"{self._path} cannot be made: {error.strerror}") from error
        try:
            if os.geteuid() == 0:
                owner = self._path.parent.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        finally:
            os.close(descriptor)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        # mode=rw: a journal left by a killed command can be rolled back by whoever comes next.
        try:
            uri = f"file:{quote(str(self._path))}?mode=rw"
            with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as connection:
                connection.execute("PRAGMA journal_mode = DELETE").fetchone()
                connection.execute("PRAGMA synchronous = EXTRA")
                connection.execute("PRAGMA trusted_schema = OFF")
                connection.execute(_SCHEMA)
                yield connection
        except sqlite3.Error as error:
            raise AuthUnavailableError(f"{self._path} cannot be used: {error}") from error


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _token(row: tuple[str | None, ...]) -> Token:
    token_id, name, role, created_at, expires_at, revoked_at = row
    return Token(str(token_id), str(name), cast("Role", role), str(created_at), expires_at, revoked_at)


def _refusal() -> TokenInvalidError:
    return TokenInvalidError("a valid token is needed")

# SPDX-License-Identifier: MIT
"""api.auth_store: tokens are shown once, and refused as soon as they are revoked or expired."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fieldcam.api.auth_store import AuthStore, may
from fieldcam.core.errors import AuthUnavailableError, RequestInvalidError, TokenInvalidError

START_NS = 1_768_300_000_000_000_000


class SettableClock:
    """A clock that stands still until it is moved."""

    wall = START_NS

    def boottime_ns(self) -> int:
        return self.wall

    def wall_ns(self) -> int:
        return self.wall

    def boot_id(self) -> str:
        return "boot"


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def store(tmp_path: Path, clock: SettableClock) -> AuthStore:
    return AuthStore(tmp_path / "auth" / "auth.db", clock)


def test_an_issued_token_is_recognised(store: AuthStore) -> None:
    issued = store.issue("laptop", "operator")

    found = store.check(issued.text)

    assert found == issued.token
    assert (found.name, found.role) == ("laptop", "operator")


def test_a_token_has_the_documented_form(store: AuthStore) -> None:
    issued = store.issue("laptop", "viewer")

    prefix, token_id, secret = issued.text.split("_", 2)

    assert (prefix, token_id, len(secret)) == ("fc", issued.token.id, 43)


def test_the_secret_is_nowhere_in_the_file(store: AuthStore, tmp_path: Path) -> None:
    secret = store.issue("laptop", "viewer").text.split("_", 2)[2]

    content = b"".join(path.read_bytes() for path in (tmp_path / "auth").iterdir())

    assert secret.encode() not in content


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[:-1],
        lambda text: text + "A",
        lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"),
        lambda text: "fc_000000000000_" + text.split("_", 2)[2],
        lambda text: text.upper(),
        lambda text: text + "\n",
    ],
)
def test_anything_but_the_token_is_refused(store: AuthStore, change: object) -> None:
    text = store.issue("laptop", "viewer").text

    with pytest.raises(TokenInvalidError):
        store.check(change(text))  # type: ignore[operator]


def test_without_a_database_everything_is_refused_and_none_is_made(store: AuthStore, tmp_path: Path) -> None:
    with pytest.raises(TokenInvalidError):
        store.check("fc_000000000000_" + "A" * 43)

    assert list(tmp_path.iterdir()) == []


def test_a_revoked_token_is_refused_and_still_listed(store: AuthStore) -> None:
    issued = store.issue("laptop", "viewer")

    revoked = store.revoke(issued.token.id)

    assert revoked.revoked_at is not None
    assert [token.id for token in store.tokens()] == [issued.token.id]
    with pytest.raises(TokenInvalidError):
        store.check(issued.text)


def test_revoking_twice_keeps_the_first_time(store: AuthStore, clock: SettableClock) -> None:
    issued = store.issue("laptop", "viewer")
    first = store.revoke(issued.token.id)
    clock.wall += 10**12

    second = store.revoke(issued.token.id)

    assert second == first


def test_revoking_an_unknown_token_says_so(store: AuthStore) -> None:
    store.issue("laptop", "viewer")

    with pytest.raises(RequestInvalidError, match="no token 'nope'"):
        store.revoke("nope")


def test_a_token_holds_until_it_expires(store: AuthStore, clock: SettableClock) -> None:
    issued = store.issue("laptop", "viewer", lifetime_seconds=60)
    clock.wall += 59_000_000_000
    store.check(issued.text)

    clock.wall += 1_000_000_000

    with pytest.raises(TokenInvalidError):
        store.check(issued.text)


@pytest.mark.parametrize("name", ["", "a" * 65, "line\nbreak", "\x1b[31m"])
def test_a_name_that_would_spoil_a_list_is_refused(store: AuthStore, name: str) -> None:
    with pytest.raises(RequestInvalidError, match="name"):
        store.issue(name, "viewer")


def test_the_file_is_for_its_owner_only(store: AuthStore, tmp_path: Path) -> None:
    store.issue("laptop", "viewer")

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "auth", tmp_path / "auth" / "auth.db")]

    assert modes == [0o700, 0o600]


def test_a_damaged_database_lets_nobody_in_and_says_which_file(store: AuthStore, tmp_path: Path) -> None:
    text = store.issue("laptop", "viewer").text
    (tmp_path / "auth" / "auth.db").write_bytes(b"not a database at all" * 400)

    with pytest.raises(AuthUnavailableError, match=r"auth\.db"):
        store.check(text)


def test_each_role_may_do_what_those_below_it_may() -> None:
    allowed = [(role, needed) for role in ("viewer", "operator", "admin") for needed in ("viewer", "operator", "admin")
               if may(role, needed)]  # fmt: skip

    assert allowed == [
        ("viewer", "viewer"),
        ("operator", "viewer"),
        ("operator", "operator"),
        ("admin", "viewer"),
        ("admin", "operator"),
        ("admin", "admin"),
    ]

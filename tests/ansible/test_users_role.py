# SPDX-License-Identifier: MIT
"""The role `users`: what is wrong is said before anything is changed, secrets are not shown, and rules are narrow."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.conftest import CHECKOUT, play, preflight, render_role

ROLE = CHECKOUT / "roles" / "users"
BODY = base64.b64encode(bytes(range(70, 102))).decode().rstrip("=")
ED25519 = f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{BODY} ada@desk"
RSA = "ssh-rsa AAAAB3NzaC1yc2E" + "A" * 360 + "== old"
SECRET_LINE = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ"  # how each begins; no key
PRIVATE = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET_LINE}\n-----END OPENSSH PRIVATE KEY-----\n"


def rules(scratch: Path, **inputs: Any) -> str:
    folder = render_role(ROLE, {"etc/sudoers.d/50-fieldcam": "rules"}, scratch, mode=0o600, **inputs)
    return (folder / "rules").read_text(encoding="utf-8")


def operator(*keys: str, **more: Any) -> dict[str, Any]:
    return {"users_operators": [{"name": "ada", "ssh_keys": list(keys), **more}]}


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"users_operators": [{"name": "../x"}]}, ["../x", "users_operators"]),
        ({"users_operators": [{"name": "ada\nroot"}]}, ["not names of accounts"]),
        ({"users_operators_absent": ["-f"]}, ["-f", "users_operators_absent"]),
        ({"users_ids": {"fieldcam": "0"}}, ["users_ids", "from 100 on"]),
        ({"users_operators": [{"name": "ada"}, {"name": "bob"}, {"name": "ada"}]}, ["ada stands there more than once"]),
        (operator("ssh-ed25519 AAAA"), ["ada", "not a public key"]),
        (operator(ED25519 + "\nssh-ed25519 x"), ["ada", "not a public key"]),
        (operator("ssh-dss AAAAB3NzaC1kc3M" + "A" * 400), ["ada", "no ssh-dss"]),
        ({"users_sudo_commands": ["ALL"]}, ["users_sudo_commands", "ALL"]),
        ({"users_sudo_commands": ["/bin/systemctl restart *"]}, ["users_sudo_commands", "restart *"]),
        ({"users_sudo_commands": ["/bin/a, /bin/sh"]}, ["users_sudo_commands", "/bin/sh"]),
        ({"users_operators": [{"name": "daemon"}]}, ["daemon", "belongs to the system"]),
        ({"users_operators": [{"name": "fieldcam-api"}]}, ["fieldcam-api", "belongs to the system"]),
        (operator(ED25519, groups=["nobody-has-this"]), ["nobody-has-this", "no group"]),
        (operator(ED25519) | {"users_operators_absent": ["ada"]}, ["ada", "users_operators_absent"]),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_changed(
    inputs: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    run = play(ROLE, [preflight(ROLE)], tmp_path, **inputs)

    said = " ".join(run.output.split())
    assert run.status == 2, run.output
    assert [word for word in words if word not in said] == [], run.output
    assert "changed=0" in run.output


def test_keys_as_they_stand_in_pub_files_are_taken(tmp_path: Path) -> None:
    run = play(
        ROLE,
        [preflight(ROLE)],
        tmp_path,
        **operator(ED25519, ED25519 + "\n", f'from="192.0.2.0/24",no-pty {ED25519}', RSA),
    )

    assert run.status == 0, run.output


@pytest.mark.parametrize("keys", [[ED25519, PRIVATE], PRIVATE], ids=["in a list", "instead of a list"])
def test_a_private_key_is_refused_and_not_shown(keys: Any, tmp_path: Path) -> None:
    run = play(ROLE, [preflight(ROLE)], tmp_path, "-vvv", users_operators=[{"name": "ada", "ssh_keys": keys}])

    assert run.status == 2
    assert "ada - in ssh_keys stands a private key" in " ".join(run.output.split())
    assert SECRET_LINE not in run.output


def test_rules_name_commands_for_some_and_all_for_those_who_have_all(tmp_path: Path) -> None:
    operators = [{"name": "bob"}, {"name": "ada", "sudo": False}, {"name": "root2", "sudo": True}]

    text = rules(tmp_path, users_operators=operators)

    verbs = ("start", "stop", "restart")
    found = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert found == [
        "Cmnd_Alias FIELDCAM = " + ", ".join(f"/usr/bin/systemctl {do} fieldcam.service" for do in verbs),
        "ada ALL=(root) NOPASSWD: FIELDCAM",
        "bob ALL=(root) NOPASSWD: FIELDCAM",
        "root2 ALL=(ALL:ALL) NOPASSWD: ALL",
    ]


def test_without_operators_there_is_no_rule(tmp_path: Path) -> None:
    text = rules(tmp_path)

    assert [line for line in text.splitlines() if line and not line.startswith("#")] == []

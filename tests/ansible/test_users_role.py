# SPDX-License-Identifier: MIT
"""The role `users`: what is wrong is said before anything is changed, secrets are not shown, and rules are narrow."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.conftest import CHECKOUT, Run, ansible

ROLE = CHECKOUT / "roles" / "users"
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars_files: [{role}/defaults/main.yml, {role}/vars/main.yml]
  vars:
    ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}"
  tasks:
    - {task}
"""
PREFLIGHT = f"ansible.builtin.import_tasks: {ROLE}/tasks/preflight.yml"
RENDER = f'ansible.builtin.template: {{src: "{ROLE}/templates/etc/sudoers.d/50-fieldcam.j2", dest: "%s", mode: "0600"}}'
BODY = base64.b64encode(bytes(range(70, 102))).decode().rstrip("=")
ED25519 = f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{BODY} ada@desk"
RSA = "ssh-rsa AAAAB3NzaC1yc2E" + "A" * 360 + "== old"
SECRET_LINE = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ"  # how each begins; no key
PRIVATE = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET_LINE}\n-----END OPENSSH PRIVATE KEY-----\n"


def play(scratch: Path, task: str, *words: str, **inputs: Any) -> Run:
    """Run one task with the role's defaults and these inputs."""
    (scratch / "play.yml").write_text(PLAY.format(role=ROLE, task=task), encoding="utf-8")
    (scratch / "inputs.json").write_text(json.dumps(inputs), encoding="utf-8")
    given = ["-i", "localhost,", "-e", f"@{scratch / 'inputs.json'}", *words, str(scratch / "play.yml")]
    return ansible(*given, scratch=scratch / "home")


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
    run = play(tmp_path, PREFLIGHT, **inputs)

    said = " ".join(run.output.split())
    assert run.status == 2, run.output
    assert [word for word in words if word not in said] == [], run.output
    assert "changed=0" in run.output


def test_keys_as_they_stand_in_pub_files_are_taken(tmp_path: Path) -> None:
    run = play(tmp_path, PREFLIGHT, **operator(ED25519, ED25519 + "\n", f'from="192.0.2.0/24",no-pty {ED25519}', RSA))

    assert run.status == 0, run.output


@pytest.mark.parametrize("keys", [[ED25519, PRIVATE], PRIVATE], ids=["in a list", "instead of a list"])
def test_a_private_key_is_refused_and_not_shown(keys: Any, tmp_path: Path) -> None:
    run = play(tmp_path, PREFLIGHT, "-vvv", users_operators=[{"name": "ada", "ssh_keys": keys}])

    assert run.status == 2
    assert "ada - in ssh_keys stands a private key" in " ".join(run.output.split())
    assert SECRET_LINE not in run.output


def test_rules_name_commands_for_some_and_all_for_those_who_have_all(tmp_path: Path) -> None:
    operators = [{"name": "bob"}, {"name": "ada", "sudo": False}, {"name": "root2", "sudo": True}]

    run = play(tmp_path, RENDER % (tmp_path / "rules"), users_operators=operators)

    assert run.status == 0, run.output
    text = (tmp_path / "rules").read_text(encoding="utf-8")
    verbs = ("start", "stop", "restart")
    rules = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert rules == [
        "Cmnd_Alias FIELDCAM = " + ", ".join(f"/usr/bin/systemctl {do} fieldcam.service" for do in verbs),
        "ada ALL=(root) NOPASSWD: FIELDCAM",
        "bob ALL=(root) NOPASSWD: FIELDCAM",
        "root2 ALL=(ALL:ALL) NOPASSWD: ALL",
    ]


def test_without_operators_there_is_no_rule(tmp_path: Path) -> None:
    play(tmp_path, RENDER % (tmp_path / "rules"))

    text = (tmp_path / "rules").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line and not line.startswith("#")] == []

# SPDX-License-Identifier: MIT
"""The look at the inventory: what it finds, what it lets pass, and that nothing is touched before it has looked."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.ansible.conftest import CHECKOUT, Run, ansible
from tests.ansible.role_files import role, role_names

PROGRAM = CHECKOUT / "roles" / "fleet" / "files" / "inventory.py"


def _program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fleet_inventory", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


inventory = _program()


def host(*names: str, **values: Any) -> dict[str, Any]:
    """Return a host with variables; those without a value are only named."""
    return {"names": [*names, *values], "values": values}


def test_addresses_of_examples_are_nobodys() -> None:
    hosts = {
        "a": host(ansible_host="192.0.2.11"),
        "b": host(ansible_host="camera.example.org"),
        "c": host(ansible_host="2001:db8::7"),
        "d": host(ansible_host="10.1.2.3"),
        "e": host(ansible_host="camera.lan"),
    }

    problems = list(inventory.address_problems(hosts))

    assert [problem.partition(":")[0] for problem in problems] == ["a", "b", "c"]
    assert "192.0.2.11" in problems[0]


def test_two_hosts_with_one_address_are_named_together() -> None:
    hosts = {
        "a": host(ansible_host="10.0.0.1"),
        "b": host(ansible_host="10.0.0.1"),
        "c": host(ansible_host="10.0.0.1", ansible_port=2222),
        "10.0.0.1": host(),
    }

    problems = list(inventory.address_problems(hosts))

    assert len(problems) == 1
    assert problems[0].startswith("a, b, 10.0.0.1: all have the address 10.0.0.1,")


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("appliance_archiv_dir", "did you mean appliance_archive_dir?"),
        ("aplliance_port", "did you mean appliance_port?"),
        ("appliance_port_", "did you mean appliance_port?"),
        ("appliance_colour_of_the_box", "roles/appliance/README.md"),
    ],
)
def test_a_misspelt_input_is_named_with_the_one_that_was_meant(variable: str, meant: str) -> None:
    problems = list(inventory.name_problems({"a": host(variable)}, inventory.inputs_of(CHECKOUT / "roles")))

    assert len(problems) == 1
    assert problems[0].startswith(f"a: {variable} is ")
    assert meant in problems[0]


@pytest.mark.parametrize(
    "variable", ["appliance_port", "ansible_host", "site_name", "greenhouse_temperature", "vault_operator_password"]
)
def test_inputs_and_variables_of_ones_own_pass(variable: str) -> None:
    problems = list(inventory.name_problems({"a": host(variable)}, inventory.inputs_of(CHECKOUT / "roles")))

    assert problems == []


def test_what_is_left_of_the_example_is_named_with_its_place_and_once_for_all_hosts() -> None:
    value = [{"name": "ada", "ssh_keys": ["ssh-ed25519 CHANGE_ME"]}]
    hosts = {name: host(users_operators=value) for name in ("a", "b", "c")}

    problems = list(inventory.placeholder_problems(hosts))

    assert problems == [
        "all 3 hosts: users_operators[0].ssh_keys[0] still has the word CHANGE_ME of the example: put in your own value"
    ]


def test_required_inputs_are_missed_when_they_are_absent_or_empty_but_not_when_they_come_later() -> None:
    required = {"users_operators": "Who may log in"}
    later = {"names": ["users_operators"], "values": {}}
    hosts = {"absent": host(), "empty": host(users_operators=[]), "there": host(users_operators=[1]), "later": later}

    problems = list(inventory.required_problems(hosts, required))

    assert problems == ["absent, empty: users_operators is missing (Who may log in)"]


def test_two_cameras_with_one_number_are_named() -> None:
    cameras = {"stage": {"number": 0}, "overview": {"backend": "rpicam"}, "north": {"number": 2}}

    problems = list(inventory.camera_problems({"a": host(appliance_cameras=cameras)}))

    assert len(problems) == 1
    assert "stage, overview all have the number 0" in problems[0]


def test_a_canary_that_is_no_camera_is_named() -> None:
    problems = list(inventory.group_problems({"canary": ["a", "z"]}, {"a": host()}))

    assert len(problems) == 1
    assert problems[0].startswith("group canary: z is not in the group cameras")


def test_a_secret_that_no_file_sets_is_named_with_the_file_that_uses_it(tmp_path: Path) -> None:
    folder = tmp_path / "group_vars" / "all"
    folder.mkdir(parents=True)
    (folder / "fleet.yml").write_text('a: "{{ vault_known }}"\nb: "{{ vault_unknown }}"\n# vault_in_a_comment\n')
    (folder / "vault.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n6162 vault_not_read\n")

    problems = list(inventory.secret_problems({"a": host("vault_known")}, [tmp_path]))

    assert len(problems) == 1
    assert problems[0].startswith("vault_unknown is used in fleet.yml, but set nowhere")


def test_the_look_asks_for_the_inputs_of_every_role() -> None:
    pattern = role("fleet").internals["__fleet_looked_at"]

    assert [name for name in role_names() if not re.match(pattern, f"{name}_x")] == []


def test_two_hundred_hosts_are_looked_at_in_seconds(tmp_path: Path) -> None:
    names = [f"own_{number}" for number in range(40)] + ["appliance_port"]
    hosts = {
        f"camera-{number}": {"names": names, "values": {"ansible_host": json.dumps(f"10.0.{number}.1")}}
        for number in range(200)
    }
    asked = {"roles": str(CHECKOUT / "roles"), "sources": [str(tmp_path)], "groups": {}, "hosts": hosts}
    started = time.monotonic()

    said = subprocess.run(
        ["python3", PROGRAM], input=json.dumps(asked), capture_output=True, text=True, check=True,
        env={"PATH": str(Path(shutil.which("ansible-playbook") or "/usr/bin/python3").parent) + ":/usr/bin:/bin"},
    )  # fmt: skip

    assert json.loads(said.stdout) == {"problems": []}
    assert time.monotonic() - started < 20


def deploy(inventory_folder: Path, scratch: Path, *words: str) -> Run:
    return ansible("site.yml", "-i", str(inventory_folder), *words, scratch=scratch)


def write(folder: Path, name: str, content: Any) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def test_everything_that_is_wrong_is_said_in_one_list_before_any_host_is_touched(tmp_path: Path) -> None:
    fleet = tmp_path / "inventory"
    machines = {name: {"ansible_host": "127.0.0.1", "ansible_port": 1} for name in ("a", "b")}
    write(fleet, "hosts.yml", {"cameras": {"hosts": machines}, "canary": {"hosts": {"z": None}}})
    write(fleet, "group_vars/all.yml", {"appliance_archiv_dir": "/srv", "site": "{{ vault_site }}"})

    run = deploy(fleet, tmp_path)

    said = " ".join(run.output.split())
    assert run.status == 2
    assert "a, b: all have the address 127.0.0.1 port 1" in said
    assert "all 2 hosts: appliance_archiv_dir is no input of the role appliance: did you mean" in said
    assert "group canary: z is not in the group cameras" in said
    assert "vault_site is used in all.yml, but set nowhere" in said
    assert "unreachable=1" not in said
    assert "Traceback" not in said


def test_limit_does_not_go_round_the_look(tmp_path: Path) -> None:
    fleet = tmp_path / "inventory"
    write(fleet, "hosts.yml", {"cameras": {"hosts": {"a": {"appliance_prot": 1}, "b": {}}}})

    run = deploy(fleet, tmp_path, "--limit", "b")

    assert run.status == 2
    assert "did you mean appliance_port?" in run.output


def test_a_host_that_does_not_answer_is_said_to_be_unreachable(tmp_path: Path) -> None:
    fleet = tmp_path / "inventory"
    write(fleet, "hosts.yml", {"cameras": {"hosts": {"a": {"ansible_host": "127.0.0.1", "ansible_port": 1}}}})

    run = deploy(fleet, tmp_path)

    assert run.status == 4
    assert "unreachable=1" in run.output
    assert "Connection refused" in run.output or "UNREACHABLE" in run.output


def test_the_example_says_what_has_to_be_put_in_and_is_ready_when_that_was_done(tmp_path: Path) -> None:
    fleet = tmp_path / "inventory"
    shutil.copytree(CHECKOUT / "inventory" / "example", fleet)

    before = ansible("playbooks/check_inventory.yml", "-i", str(fleet), scratch=tmp_path)
    for file in fleet.rglob("*.yml"):
        text = file.read_text(encoding="utf-8").replace("192.0.2.", "10.0.2.")
        file.write_text(re.sub("(- |: )CHANGE_ME", r"\1mine", text), encoding="utf-8")
    after = ansible("playbooks/check_inventory.yml", "-i", str(fleet), scratch=tmp_path)

    said = " ".join(before.output.split())
    assert before.status == 2
    for words in ("192.0.2.11 is an address for examples", "ansible_user still has the word CHANGE_ME",
                  "users_operators[0].ssh_keys[0] still has"):  # fmt: skip
        assert words in said
    assert after.status == 0, after.output


def test_a_wrong_vault_password_is_said_before_any_host_is_touched(tmp_path: Path) -> None:
    fleet = tmp_path / "inventory"
    write(fleet, "hosts.yml", {"cameras": {"hosts": {"a": {"ansible_host": "127.0.0.1", "ansible_port": 1}}}})
    write(fleet, "group_vars/all/vault.yml", {"vault_become_password": "secret"})
    for name in ("right", "wrong"):
        (tmp_path / name).write_text(f"{name}\n", encoding="utf-8")
    vault = fleet / "group_vars" / "all" / "vault.yml"
    command = [sys.executable, "-m", "ansible", "vault", "encrypt", "--vault-password-file", str(tmp_path / "right")]
    command.append(str(vault))
    subprocess.run(command, check=True, capture_output=True, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})

    wrong = deploy(fleet, tmp_path, "--vault-password-file", str(tmp_path / "wrong"))
    none = deploy(fleet, tmp_path)

    assert (wrong.status, none.status) == (4, 4)
    assert "Decryption failed" in wrong.output
    assert "no vault secrets" in none.output
    assert "secret" not in wrong.output.replace("vault secrets", "")

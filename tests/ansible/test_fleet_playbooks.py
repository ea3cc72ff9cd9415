# SPDX-License-Identifier: MIT
"""Playbooks over several hosts: order, what stops them, and what they say. The role `appliance` is a stand-in here.

Its hosts are folders of this machine: a link to a deployment, and a `fieldcam` that says what it is told to.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from fieldcam.api.auth_store import AuthStore
from fieldcam.backup.archive import read_archive
from fieldcam.core.clock import SystemClock
from tests.ansible.conftest import CHECKOUT, Run, ansible
from tests.appliance_tree import deployed_tree

FIELDCAM = """#!/bin/sh
cat "$(dirname "$0")/../../said.json"
"""
# Makes a deployment of the name `release` and the current one; does what `mishaps` says of the host.
ROLE = """
- name: Note the order
  ansible.builtin.shell: echo {{ inventory_hostname }} {{ tasks_from }} >> {{ log }}
- name: Fail before anything is changed
  ansible.builtin.fail:
    msg: |
      {{ release }} was taken back: serves no new frames

      old serves again.
  when: mishaps[inventory_hostname] | default('') == 'taken back'
- name: Lay the deployment beside the others
  ansible.builtin.command: cp -a {{ home }}/deployments/old {{ home }}/deployments/{{ release }}
  args: {creates: "{{ home }}/deployments/{{ release }}"}
- name: Say how it is
  ansible.builtin.copy:
    content: "{{ says | to_json }}"
    dest: "{{ home }}/deployments/{{ release }}/said.json"
    mode: "0644"
  vars:
    says: "{{ lookup('ansible.builtin.file', home ~ '/deployments/old/said.json') | from_json
           | combine({'status': 'unhealthy'} if mishaps[inventory_hostname] | default('') == 'dead' else {}) }}"
- name: Make it the current one
  ansible.builtin.file:
    src: deployments/{{ release }}
    dest: "{{ home }}/current"
    state: link
"""


@dataclass
class Fleet:
    """Hosts below a folder, and the playbooks run on them."""

    folder: Path

    def add(self, name: str, **variables: Any) -> None:
        """Make a host that serves the deployment `old`."""
        deployment = self.folder / name / "deployments" / "old"
        (deployment / "venv" / "bin").mkdir(parents=True)
        said = {
            "status": "healthy", "api": True, "reasons": [], "latest_image_age": 0.4, "simulated": True, "cameras": [],
        }  # fmt: skip
        (deployment / "said.json").write_text(json.dumps(said), encoding="utf-8")
        command = deployment / "venv" / "bin" / "fieldcam"
        command.write_text(FIELDCAM, encoding="utf-8")
        command.chmod(0o755)
        (self.folder / name / "current").symlink_to("deployments/old")
        self.hosts[name] = {"home": str(self.folder / name), **variables}

    def __post_init__(self) -> None:
        """Make the stand-in of the role, which knows the same inputs."""
        self.hosts: dict[str, dict[str, Any]] = {}
        self.canaries: list[str] = []
        self.token = ""
        role = self.folder / "roles" / "appliance"
        (role / "tasks").mkdir(parents=True)
        for name in ("main", "rollback"):
            text = ROLE.replace("{{ tasks_from }}", name)
            (role / "tasks" / f"{name}.yml").write_text(text, encoding="utf-8")

    def play(self, playbook: str, *words: str, mishaps: dict[str, str] | None = None, release: str = "new") -> Run:
        """Run a playbook on all hosts."""
        common = {
            "ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "appliance_become": False, "appliance_install_dir": "{{ home }}", "appliance_archive_dir": "/",
            "appliance_python": "{{ ansible_playbook_python }}", "release": release, "mishaps": mishaps or {},
            "log": str(self.folder / "log"), "fleet_status_file": str(self.folder / "status.json"),
        }  # fmt: skip
        groups: dict[str, Any] = {"cameras": {"hosts": self.hosts, "vars": common}}
        if self.canaries:
            groups["canary"] = {"hosts": dict.fromkeys(self.canaries)}
        hosts = self.folder / "hosts.yml"
        hosts.write_text(yaml.safe_dump(groups, sort_keys=False, width=10_000), encoding="utf-8")
        environ = {"ANSIBLE_ROLES_PATH": f"{self.folder / 'roles'}:{CHECKOUT / 'roles'}"}
        file = playbook if playbook.startswith("/") else f"playbooks/{playbook}"
        return ansible(f"{file}.yml", "-i", str(hosts), *words, scratch=self.folder, environ=environ)

    def order(self) -> list[str]:
        """Return what the stand-in did, in order."""
        log = self.folder / "log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def serves(self, name: str) -> str:
        """Return the deployment that a host serves."""
        return (self.folder / name / "current").readlink().name


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def rows(run: Run) -> dict[str, list[str]]:
    """Return the rows of the last table by host."""
    table = run.output[run.output.rindex("  ----") : run.output.index("PLAY RECAP")]
    lines = table.split("\n\n")[0].splitlines()[1:]
    return {row[0]: row[1:] for row in (re.split(r"\s{2,}", line.strip()) for line in lines)}


def test_the_table_of_status_has_a_row_for_each_host_also_for_one_that_does_not_answer(fleet: Fleet) -> None:
    fleet.add("a")
    fleet.add("b", ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)

    run = fleet.play("fleet_status")

    assert run.status == 0, run.output
    assert rows(run)["a"][:3] == ["old", "healthy", "0.4 s"]
    assert rows(run)["b"][1] == "unreachable"
    assert "2 hosts: 1 healthy, 1 unreachable" in run.output
    told = json.loads((fleet.folder / "status.json").read_text(encoding="utf-8"))
    assert [(row["host"], row["health"]) for row in told["hosts"]] == [("a", "healthy"), ("b", "unreachable")]


def test_a_status_that_must_be_good_fails_when_it_is_not(fleet: Fleet) -> None:
    fleet.add("a")
    fleet.add("b", ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)

    run = fleet.play("fleet_status", "-e", "fleet_status_strict=true")

    assert run.status == 2
    assert "Not well: b." in run.output


def test_an_update_begins_with_the_canaries_and_goes_on_in_batches(fleet: Fleet) -> None:
    for name in "abcde":
        fleet.add(name)
    fleet.canaries = ["d"]

    run = fleet.play("update_release", "-e", "fleet_batch=2")

    assert run.status == 0, run.output
    names = [line.split()[0] for line in fleet.order()]
    assert names[:2] == ["d", "a"]
    assert sorted(names[2:4]) == ["b", "c"]
    assert names[4:] == ["e"]
    assert {name: fleet.serves(name) for name in "abcde"} == dict.fromkeys("abcde", "new")
    assert {row[0] for row in rows(run).values() if len(row) > 3} == {"updated"}
    assert "5 hosts: 5 updated" in run.output


def test_a_bad_canary_stops_everything_and_is_told_with_its_reason(fleet: Fleet) -> None:
    for name in "abc":
        fleet.add(name)
    fleet.canaries = ["b"]

    run = fleet.play("update_release", mishaps={"b": "taken back"})

    assert run.status == 2
    assert fleet.order() == ["b main"]
    assert {name: fleet.serves(name) for name in "abc"} == dict.fromkeys("abc", "old")
    assert "1 old one serves" in run.output
    assert "2 not reached" in run.output
    assert "serves no new frames" in run.output


def test_a_batch_that_is_not_well_stops_those_to_come_and_its_other_hosts_are_told_of(fleet: Fleet) -> None:
    for name in "abcdef":
        fleet.add(name)

    run = fleet.play("update_release", "-e", "fleet_batch=2", mishaps={"c": "dead"})

    assert run.status == 2
    assert sorted(line.split()[0] for line in fleet.order()) == ["a", "b", "c"]
    assert "1 failed" in run.output
    assert "3 not reached" in run.output
    assert "c: not as it was meant" in run.output


def test_a_host_that_does_not_answer_stops_the_batches_after_it_and_is_told_of(fleet: Fleet) -> None:
    fleet.add("a", ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    fleet.add("b")

    run = fleet.play("update_release")

    assert run.status != 0
    assert fleet.order() == []
    assert "1 unreachable" in run.output
    assert "1 not reached" in run.output


def test_an_update_again_changes_nothing_and_says_so(fleet: Fleet) -> None:
    fleet.add("a")

    fleet.play("update_release")
    run = fleet.play("update_release")

    assert run.status == 0, run.output
    assert "1 host: 1 unchanged" in run.output


def test_limit_leaves_the_other_hosts_out_of_the_report(fleet: Fleet) -> None:
    for name in "abc":
        fleet.add(name)

    run = fleet.play("update_release", "--limit", "b")

    assert run.status == 0, run.output
    assert fleet.order() == ["b main"]
    assert "1 host: 1 updated" in run.output


def test_a_rollback_takes_all_hosts_at_once_and_says_where_they_are(fleet: Fleet) -> None:
    for name in "ab":
        fleet.add(name)

    run = fleet.play("rollback_release", release="older")

    assert run.status == 0, run.output
    assert sorted(fleet.order()) == ["a rollback", "b rollback"]
    assert {name: fleet.serves(name) for name in "ab"} == {"a": "older", "b": "older"}
    assert "2 hosts: 2 returned" in run.output


@pytest.fixture
def real(fleet: Fleet) -> Iterator[Fleet]:
    """A host `a` whose commands are the real ones, and a host `b` where nothing is deployed."""
    with deployed_tree() as tree:
        fleet.add("a", appliance_config_dir=str(tree.root))
        fleet.add("b", appliance_config_dir=str(tree.root))
        (fleet.folder / "b" / "current").unlink()
        command = fleet.folder / "a" / "deployments" / "old" / "venv" / "bin" / "fieldcam"
        command.unlink()
        command.symlink_to(Path(sys.executable).parent / "fieldcam")
        fleet.token = AuthStore(tree.config.layout.auth, SystemClock()).issue("device", "viewer").text
        yield fleet


def test_a_backup_of_each_host_lands_here_and_one_that_fails_is_told_of(real: Fleet) -> None:
    folder = real.folder / "backups"

    run = real.play("backup", "-e", f"fleet_backup_dir={folder}")

    made = sorted((folder / "a").iterdir())
    assert run.status == 2
    assert rows(run)["a"] == ["done", str(made[0])]
    assert rows(run)["b"] == ["failed", "nothing is deployed here"]
    assert [path.suffix for path in made] == [".gz", ".sha256"]
    assert {oct(path.stat().st_mode & 0o777) for path in made} == {"0o600"}
    assert oct((folder / "a").stat().st_mode & 0o777) == "0o700"
    assert "state/auth.db" in read_archive(made[0]).files
    assert real.token not in run.output


@pytest.mark.parametrize("playbook", ["restore", "decommission_host"])
def test_what_cannot_be_undone_is_done_to_named_hosts_only(real: Fleet, playbook: str) -> None:
    before = sorted(real.folder.joinpath("a").rglob("*"))

    run = real.play(playbook, "-e", "fleet_confirm=other")

    assert run.status == 2
    assert "a was not named in fleet_confirm" in " ".join(run.output.split())
    assert sorted(real.folder.joinpath("a").rglob("*")) == before


def test_a_host_that_a_deployment_lost_is_in_its_last_table(fleet: Fleet, tmp_path: Path) -> None:
    fleet.add("a")
    fleet.add("b")
    playbook = tmp_path / "play.yml"
    playbook.write_text(
        "- hosts: cameras\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.group_by: {key: fleet_machines}\n"
        "    - ansible.builtin.fail: {msg: lost}\n      when: inventory_hostname == 'b'\n"
        "- hosts: cameras\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.import_role: {name: fleet, tasks_from: status}\n",
        encoding="utf-8",
    )

    run = fleet.play(str(playbook.with_suffix("")))

    assert run.status == 2
    assert rows(run)["b"] == ["-", "failed", "-", "-", "-", "-", "see above"]
    assert "2 hosts: 1 failed, 1 healthy" in run.output

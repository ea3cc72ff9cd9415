# SPDX-License-Identifier: MIT
"""A deployed machine, looked at from outside: the same tests for every Molecule scenario and for a real Pi.

Run by `make test-host INVENTORY=inventory/<yours>` and by Molecule; without `--hosts` nothing here is collected, so
that `make test` never looks at the machine it runs on. What is expected comes from the inventory and the defaults of
the roles, with Ansible's own precedence: what is switched off must be absent. Nothing on the host is changed but for
one picture that is taken.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
ROLES = ("host", "users", "storage", "camera", "docker", "appliance", "gateway", "consumers")

# Roles are listed for their defaults alone: tags keep their tasks away.
ASK_FOR_INPUTS = """
- hosts: cameras
  gather_facts: false
  roles: {roles}
  tasks:
    - ansible.builtin.copy:
        content: >-
          {{% set told = {{}} %}}
          {{% for name in names %}}
          {{% set _ = told.update({{name: lookup('ansible.builtin.vars', name, default=none) | to_json
                                          | default('null')}}) %}}
          {{% endfor %}}
          {{{{ told | to_json }}}}
        dest: "{folder}/{{{{ inventory_hostname }}}}.json"
        mode: "0600"
      delegate_to: localhost
      become: false
      vars:
        ansible_connection: local
        ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}"
        names: {names}
"""


def pytest_configure(config: pytest.Config) -> None:
    """Everything is looked at as root."""
    if config.getoption("hosts"):
        config.option.sudo = True
        os.environ.setdefault("ANSIBLE_CONFIG", str(CHECKOUT / "ansible.cfg"))
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # ansible-inventory
        # Connections are shared in the folder that Ansible has for that.
        Path("~/.ansible/cp").expanduser().mkdir(mode=0o700, parents=True, exist_ok=True)


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Look at machines only when they are named."""
    return None if config.getoption("hosts") else True


class Machine:
    """One host and what is expected of it."""

    def __init__(self, host: Any, told: Mapping[str, Any]) -> None:
        self.host = host
        self._told = told

    def __getitem__(self, name: str) -> Any:
        """Return an input of a role, as it holds for this host."""
        return self._told[name]

    def run(self, command: str, *words: str) -> Any:
        """Run a command as root and return how it ended."""
        return self.host.run(command, *words)

    def out(self, command: str, *words: str) -> str:
        """Run a command as root that has to succeed; return what it printed."""
        ran = self.host.run(command, *words)
        assert ran.rc == 0, f"{command} {words}: {ran.rc}\n{ran.stdout}\n{ran.stderr}\n{self.journal()}"
        return str(ran.stdout)

    def python(self, program: str, *words: str) -> Any:
        """Run a program with the host's own Python; return the JSON it prints."""
        return json.loads(self.out("python3 -c %s" + " %s" * len(words), program, *words))

    def journal(self) -> str:
        """Return the last words of the appliance."""
        return str(self.host.run("journalctl --no-pager --lines 30 --unit fieldcam.service").stdout)

    @property
    def address(self) -> str:
        """Return where the host is reached from here."""
        return str(self._told["ansible_host"] or self.name)

    @property
    def name(self) -> str:
        """Return what the inventory calls the host."""
        return str(self._told["inventory_hostname"])

    @property
    def is_container(self) -> bool:
        """Return whether kernel and clock are somebody else's."""
        return bool(self.host.run("systemd-detect-virt --container --quiet").rc == 0)

    @property
    def commands(self) -> str:
        """Return the folder with our commands."""
        return f"{self['appliance_install_dir']}/current/venv/bin"

    def fieldcam(self, *words: str) -> Any:
        """Run a command of ours that prints JSON."""
        config = f"{self['appliance_config_dir']}/fieldcam.toml"
        line = " ".join(["%s"] * (len(words) + 1))
        return json.loads(self.out(f"{line} --config %s --json", f"{self.commands}/fieldcam", *words, config))


@pytest.fixture(scope="session")
def all_told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Ask Ansible once what holds for each host."""
    inventory = request.config.getoption("ansible_inventory")
    assert inventory, "give --ansible-inventory, from which hosts and expectations come"
    folder = tmp_path_factory.mktemp("told")
    roles = [name for name in ROLES if (CHECKOUT / "roles" / name / "tasks" / "main.yml").exists()]
    names = ["inventory_hostname", "ansible_host", "ansible_port", "ansible_user", "group_names"]
    for role in roles:
        specs = yaml.safe_load((CHECKOUT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
        for entry in specs["argument_specs"].values():
            names += list(entry.get("options", {}))
    playbook = folder / "ask.yml"
    listed = json.dumps([{"role": role, "tags": ["never"]} for role in roles])
    playbook.write_text(ASK_FOR_INPUTS.format(roles=listed, folder=folder, names=json.dumps(names)), encoding="utf-8")
    environ = {
        **os.environ,
        "ANSIBLE_ROLES_PATH": str(CHECKOUT / "roles"),
    }
    asked = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", str(inventory), str(playbook)],
        env=environ, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stdout + asked.stderr

    def told(name: str) -> Any:
        raw = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        return {key: json.loads(value) for key, value in raw.items()}

    return told


@pytest.fixture(scope="module")
def machine(host: Any, all_told: Callable[[str], Any]) -> Machine:
    """The machine that a test looks at."""
    return Machine(host, cast("Mapping[str, Any]", all_told(host.backend.host)))

# SPDX-License-Identifier: MIT
"""Ansible as a user runs it, and the role's templates rendered by it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

# Renders what the role renders, with the role's own defaults and internals, and touches nothing else.
RENDER = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars_files:
    - {role}/defaults/main.yml
    - {role}/vars/main.yml
  vars:
    ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}"
    role_path: {role}
    __appliance_release: 0.1.0-0123456789
    __appliance_revision: 0.1.0-0123456789-abcdef0123
    __appliance_found: {{problems: [], tools: {{}}, python: 3.11.2}}
  tasks:
    - ansible.builtin.template:
        src: {role}/templates/etc/fieldcam/{{{{ item }}}}.j2
        dest: {target}/{{{{ item | basename }}}}
        mode: "0644"
      loop: [fieldcam.toml, supervisord.conf, conf.d/image-sync-manager.conf, conf.d/capture-api.conf,
             conf.d/appliance-watchdog.conf]
    - ansible.builtin.template:
        src: {role}/templates/etc/fieldcam/conf.d/host-camera-capture.conf.j2
        dest: {target}/{{{{ item.value }}}}.conf
        mode: "0644"
      loop: "{{{{ __appliance_camera_programs | dict2items }}}}"
    - ansible.builtin.template:
        src: {role}/templates/etc/systemd/system/fieldcam.service.j2
        dest: {target}/fieldcam.service
        mode: "0644"
    - ansible.builtin.template:
        src: {role}/templates/etc/tmpfiles.d/fieldcam.conf.j2
        dest: {target}/tmpfiles
        mode: "0644"
"""


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    status: int
    output: str


def ansible(
    *words: str, cwd: Path = CHECKOUT, scratch: Path, environ: Mapping[str, str] | None = None, seconds: float = 110
) -> Run:
    """Run ansible-playbook with nothing of this shell's environment but PATH."""
    run = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", *words],
        cwd=cwd,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(scratch),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOME": str(scratch / "ansible"),
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "PWD": str(cwd),
            **(environ or {}),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=seconds,
    )
    return Run(run.returncode, run.stdout)


def render(target: Path, **inputs: Any) -> Path:
    """Render every template of the role with these inputs into a folder and return it."""
    target.mkdir(parents=True, exist_ok=True)
    (target / "templates").symlink_to(CHECKOUT / "roles" / "appliance" / "templates")  # where lookups look
    playbook = target / "render.yml"
    playbook.write_text(RENDER.format(role=CHECKOUT / "roles" / "appliance", target=target), encoding="utf-8")
    values = target / "inputs.json"
    values.write_text(json.dumps(inputs), encoding="utf-8")
    run = ansible("-i", "localhost,", "-e", f"@{values}", str(playbook), scratch=target / "home")
    assert run.status == 0, run.output
    return target


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the role renders with its defaults alone."""
    return render(tmp_path_factory.mktemp("rendered"))

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

# With the role's own defaults and internals.
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
  tasks: {tasks}
"""
FILES = {
    "etc/fieldcam/fieldcam.toml": "fieldcam.toml",
    "etc/fieldcam/supervisord.conf": "supervisord.conf",
    "etc/fieldcam/conf.d/image-sync-manager.conf": "image-sync-manager.conf",
    "etc/fieldcam/conf.d/capture-api.conf": "capture-api.conf",
    "etc/fieldcam/conf.d/appliance-watchdog.conf": "appliance-watchdog.conf",
    "etc/systemd/system/fieldcam.service": "fieldcam.service",
    "etc/tmpfiles.d/fieldcam.conf": "tmpfiles",
}
CAMERA_FILES = {"etc/fieldcam/conf.d/host-camera-capture.conf": "{{ item.value }}.conf"}


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


def rendering(role: Path, files: Mapping[str, str], *, loop: str | None = None) -> list[dict[str, Any]]:
    """Return tasks that render templates of a role; `unpacking` and `unpack` bring them into a folder.

    A task of ansible.builtin.template starts three programs for each file, a second in all; a lookup starts none.

    Args:
        role: its folder.
        files: template, below the role's templates and without .j2: name of the file, which may use `item`.
        loop: what to render all of them for, an expression.
    """
    return [
        {
            "ansible.builtin.set_fact": {
                "__rendered": "{{ __rendered | default({}) | combine({__name: lookup('ansible.builtin.template', "
                f"'{role}/templates/{template}.j2') | string}}) }}}}"
            },
            "vars": {"__name": name},
        }
        | ({"loop": loop} if loop else {})
        for template, name in files.items()
    ]


def unpacking(target: Path) -> dict[str, Any]:
    """Return the task that brings what was rendered into a folder."""
    file = str(target / "rendered.json")
    return {"ansible.builtin.copy": {"content": "{{ __rendered | to_json }}", "dest": file, "mode": "0600"}}


def unpack(target: Path, mode: int = 0o644) -> Path:
    """Make files of what was rendered, and return their folder."""
    for name, content in json.loads((target / "rendered.json").read_bytes()).items():
        (target / name).write_text(content, encoding="utf-8")
        (target / name).chmod(mode)
    return target


def render(target: Path, **inputs: Any) -> Path:
    """Render every template of the role with these inputs into a folder and return it."""
    role = CHECKOUT / "roles" / "appliance"
    target.mkdir(parents=True, exist_ok=True)
    (target / "templates").symlink_to(role / "templates")  # where lookups look
    playbook = target / "render.yml"
    cameras = rendering(role, CAMERA_FILES, loop="{{ __appliance_camera_programs | dict2items }}")
    tasks = json.dumps([*rendering(role, FILES), *cameras, unpacking(target)])
    playbook.write_text(RENDER.format(role=role, tasks=tasks), encoding="utf-8")
    values = target / "inputs.json"
    values.write_text(json.dumps(inputs), encoding="utf-8")
    run = ansible("-i", "localhost,", "-e", f"@{values}", str(playbook), scratch=target / "home")
    assert run.status == 0, run.output
    return unpack(target)


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the role renders with its defaults alone."""
    return render(tmp_path_factory.mktemp("rendered"))

# SPDX-License-Identifier: MIT
"""Ansible as a user runs it, tasks of a role run by themselves, and its templates rendered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

APPLIANCE = CHECKOUT / "roles" / "appliance"
VARIABLES = {
    "__appliance_release": "0.1.0-0123456789",
    "__appliance_revision": "0.1.0-0123456789-abcdef0123",
    "__appliance_found": {"problems": [], "tools": {}, "python": "3.11.2"},
}
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


def play(
    role: Path,
    tasks: Sequence[Mapping[str, Any]],
    scratch: Path,
    *words: str,
    inventory: str = "localhost,",
    hosts: str = "localhost",
    variables: Mapping[str, Any] | None = None,
    **inputs: Any,
) -> Run:
    """Run tasks on this machine with a role's own defaults and internals.

    Args:
        role: its folder.
        tasks: what to do; `preflight(role)` is one.
        scratch: a folder for plays of this role; it is made.
        words: more for the command line.
        inventory, hosts: as Ansible has them; each host is this machine.
        variables: what other tasks of the role would have found.
        inputs: what a user sets.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    for name in ("templates", "files"):  # where lookups look
        if (role / name).is_dir() and not (scratch / name).exists():
            (scratch / name).symlink_to(role / name)
    own = {"ansible_python_interpreter": "{{ ansible_playbook_python }}", "role_path": str(role)}
    written = {
        "hosts": hosts,
        "connection": "local",
        "gather_facts": False,
        "vars_files": [f"{role}/defaults/main.yml", f"{role}/vars/main.yml"],
        "vars": own | dict(variables or {}),
        "tasks": [*tasks],
    }
    (scratch / "play.yml").write_text(json.dumps([written]), encoding="utf-8")
    (scratch / "inputs.json").write_text(json.dumps(inputs), encoding="utf-8")
    given = ["-i", inventory, "-e", f"@{scratch / 'inputs.json'}", *words, str(scratch / "play.yml")]
    return ansible(*given, scratch=scratch / "home")


def preflight(role: Path) -> dict[str, str]:
    """Return the task that looks before a role changes anything."""
    return {"ansible.builtin.import_tasks": f"{role}/tasks/preflight.yml"}


def rendering(role: Path, files: Mapping[str, str], *, loop: str | None = None) -> list[dict[str, Any]]:
    """Return tasks that render templates of a role into `__rendered`.

    A task of ansible.builtin.template starts three programs for each file, a second in all; a lookup starts none.

    Args:
        role: its folder.
        files: template, below the role's templates and without .j2: name of the file, which may use `item`.
        loop: what to render all of them for, an expression.
    """
    return [
        keeping("__name", f"lookup('ansible.builtin.template', '{role}/templates/{template}.j2') | string")
        | {"vars": {"__name": name}}
        | ({"loop": loop} if loop else {})
        for template, name in files.items()
    ]


def keeping(name: str, content: str) -> dict[str, Any]:
    """Return a task that puts what an expression says under a name (an expression, too) into `__rendered`."""
    rendered = f"{{{{ __rendered | default({{}}) | combine({{{name}: {content}}}) }}}}"
    return {"ansible.builtin.set_fact": {"__rendered": rendered}}


def render_role(
    role: Path,
    files: Mapping[str, str],
    scratch: Path,
    *,
    before: Sequence[Mapping[str, Any]] = (),
    more: Sequence[Mapping[str, Any]] = (),
    mode: int = 0o644,
    **options: Any,
) -> Path:
    """Render templates of a role into a folder, and return it.

    Args:
        role, files: as in `rendering`.
        scratch: the folder.
        before: tasks to run first.
        more: tasks that render more, of `rendering` and `keeping`.
        mode: that of the files.
        options: as for `play`.
    """
    file = scratch / "rendered.json"
    write = {"ansible.builtin.copy": {"content": "{{ __rendered | to_json }}", "dest": str(file), "mode": "0600"}}
    run = play(role, [*before, *rendering(role, files), *more, write], scratch, **options)
    assert run.status == 0, run.output
    for name, content in json.loads(file.read_bytes()).items():
        (scratch / name).write_text(content, encoding="utf-8")
        (scratch / name).chmod(mode)
    return scratch


def render(target: Path, **inputs: Any) -> Path:
    """Render every template of the role `appliance` with these inputs into a folder and return it."""
    cameras = rendering(APPLIANCE, CAMERA_FILES, loop="{{ __appliance_camera_programs | dict2items }}")
    return render_role(APPLIANCE, FILES, target, more=cameras, variables=VARIABLES, **inputs)


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the role renders with its defaults alone."""
    return render(tmp_path_factory.mktemp("rendered"))

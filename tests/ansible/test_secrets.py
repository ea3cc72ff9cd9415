# SPDX-License-Identifier: MIT
"""No two hosts have a secret in common: deployed twenty times into empty roots, everything that is secret is new."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.conftest import CHECKOUT, ansible
from tests.requirements import require_commands

HOSTS = 20
# What makes secrets and identities, in the order of the role; the program is that of the environment tests run in.
PLAYBOOK = """
- hosts: hosts
  connection: local
  gather_facts: false
  vars_files:
    - {role}/defaults/main.yml
    - {role}/vars/main.yml
  tasks:
    - ansible.builtin.import_tasks: {role}/tasks/folders.yml
    - ansible.builtin.import_tasks: {role}/tasks/token.yml
"""
MAKER = """
- hosts: hosts
  connection: local
  gather_facts: false
  vars_files:
    - {role}/defaults/main.yml
    - {role}/vars/main.yml
  tasks:
    - ansible.builtin.file: {{path: "{{{{ gateway_config_dir }}}}", state: directory, mode: "0700"}}
    - ansible.builtin.template:
        src: {role}/templates/etc/fieldcam/gateway/names.j2
        dest: "{{{{ gateway_config_dir }}}}/names"
        mode: "0644"
    - ansible.builtin.template:
        src: {role}/templates/usr/local/sbin/fieldcam-certificate.j2
        dest: "{{{{ gateway_config_dir }}}}/maker"
        mode: "0755"
    - ansible.builtin.command:
        argv: ["{{{{ gateway_config_dir }}}}/maker"]
        creates: "{{{{ gateway_config_dir }}}}/tls.key"
"""
FOLDERS = {
    "capture_dir": "camera_capture", "archive_dir": "archive", "state_dir": "lib", "run_dir": "run", "ring_dir": "ring",
    "results_dir": "results", "install_dir": "opt", "config_dir": "etc", "log_dir": "log",
}  # fmt: skip


def inputs(roots: Path) -> dict[str, Any]:
    """Return what the roles are given; each host has a root of its own."""
    root = f"{roots}/{{{{ inventory_hostname }}}}"
    return {
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "appliance_become": False,
        **{f"appliance_{key}": f"{root}/{name}" for key, name in FOLDERS.items()},
        "__appliance_installed": {"stat": {"exists": True}},
        "__appliance_release_venv": sys.prefix,
        "__appliance_deployment_dir": f"{root}/deployment",
        "gateway_config_dir": f"{root}/gateway",
        "gateway_server_names": ["camera.example"],
    }


def deploy(scratch: Path, playbook: str, role: str) -> list[Path]:
    """Run tasks of a role for hosts whose roots are empty, and return the roots."""
    names = [f"host-{number}" for number in range(1, HOSTS + 1)]
    roots = [scratch / "roots" / name for name in names]
    for root in roots:
        (root / "deployment").mkdir(parents=True)
        keys = ("capture_dir", "archive_dir", "state_dir", "run_dir", "ring_dir", "results_dir")
        lines = [f"{key} = {json.dumps(str(root / FOLDERS[key]))}" for key in keys]
        lines += ["[cameras.default]", 'backend = "simulated"']
        (root / "deployment" / "fieldcam.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (scratch / "hosts").write_text("[hosts]\n" + "\n".join(names) + "\n", encoding="utf-8")
    (scratch / "playbook.yml").write_text(playbook.format(role=CHECKOUT / "roles" / role), encoding="utf-8")
    (scratch / "inputs.json").write_text(json.dumps(inputs(scratch / "roots")), encoding="utf-8")
    words = ["-i", str(scratch / "hosts"), "-e", f"@{scratch / 'inputs.json'}", str(scratch / "playbook.yml")]

    run = ansible(*words, scratch=scratch)

    assert run.status == 0, run.output
    for root in roots:
        secret = root / "etc" / "secrets" / "deploy.token"
        if secret.exists():
            assert secret.read_text(encoding="utf-8").strip() not in run.output
    return roots


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_twenty_deployments_have_twenty_tokens_and_forty_ids(tmp_path: Path) -> None:
    roots = deploy(tmp_path, PLAYBOOK, "appliance")

    tokens = {(root / "etc" / "secrets" / "deploy.token").read_text(encoding="utf-8") for root in roots}
    hashes = {(root / "lib" / "auth" / "auth.db").read_bytes() for root in roots}
    ids = {
        json.loads((root / place / ".fieldcam-volume").read_text(encoding="utf-8"))["id"]
        for root in roots
        for place in ("camera_capture", "archive")
    }

    assert len(tokens) == len(hashes) == HOSTS
    assert len(ids) == 2 * HOSTS
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.glob("roots/*/etc/secrets/*")} == {"0o600"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_twenty_gateways_have_twenty_keys(tmp_path: Path) -> None:
    require_commands("openssl")

    roots = deploy(tmp_path, MAKER, "gateway")

    openssl = shutil.which("openssl") or "openssl"
    keys = {
        subprocess.run(
            [openssl, "pkey", "-in", str(root / "gateway" / "tls.key"), "-pubout"],
            check=True, capture_output=True, text=True,
        ).stdout
        for root in roots
    }  # fmt: skip
    assert len(keys) == HOSTS
    assert {oct((root / "gateway" / "tls.key").stat().st_mode & 0o777) for root in roots} == {"0o600"}

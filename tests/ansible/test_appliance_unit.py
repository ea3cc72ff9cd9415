# SPDX-License-Identifier: MIT
"""fieldcam.service and the folders made at each start: systemd accepts them, and no value changes what they mean."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.conftest import CHECKOUT, ansible, render
from tests.requirements import require_commands

MOST_EXPOSURE = 3.0


def unit(folder: Path, **inputs: Any) -> Path:
    """Render the unit with these inputs and return its file."""
    return render(folder, **inputs) / "fieldcam.service"


def settings(file: Path) -> list[tuple[str, str]]:
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if re.match(r"[A-Z]\w+=", line)]
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


def test_the_exposure_is_at_most_three(rendered: Path) -> None:
    require_commands("systemd-analyze")

    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSURE * 10:.0f}", "fieldcam.service"],
        cwd=rendered, capture_output=True, text=True, check=False, env={"SYSTEMD_COLORS": "0", "PATH": "/usr/bin"},
    )  # fmt: skip

    found = re.search(r"Overall exposure level for fieldcam\.service: ([\d.]+)", said.stdout)
    assert found is not None, said.stderr
    print(found[0])  # the figure belongs into the log of each run
    assert float(found[1]) <= MOST_EXPOSURE
    assert said.returncode == 0


def test_systemd_accepts_the_unit(rendered: Path, tmp_path: Path) -> None:
    require_commands("systemd-analyze")
    # It looks whether the program is there; here it is not.
    text = (rendered / "fieldcam.service").read_text(encoding="utf-8")
    text = re.sub(r'(?m)^ExecStart="[^"]+"', "ExecStart=/bin/true", text)
    (tmp_path / "fieldcam.service").write_text(text, encoding="utf-8")

    said = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(tmp_path / "fieldcam.service")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (said.returncode, said.stderr) == (0, "")


def test_it_starts_after_the_places_and_never_gives_up(rendered: Path) -> None:
    found = dict(settings(rendered / "fieldcam.service"))

    assert "fieldcam-handoff.service" in found["After"]
    assert "fieldcam-handoff.service" in found["Wants"]
    assert (found["Restart"], found["StartLimitIntervalSec"], found["WatchdogSec"]) == ("always", "0", "60")
    assert "Requires" not in found


def test_a_mount_point_is_no_mount_of_the_sandbox(rendered: Path, tmp_path: Path) -> None:
    other = unit(tmp_path, appliance_archive_dir="/archive", appliance_capture_dir="/var/live")

    def writable(file: Path) -> set[str]:
        return {value.strip('-"') for key, value in settings(file) if key == "ReadWritePaths"}

    state = {"/var/lib/fieldcam", "/run/fieldcam", "/var/log/fieldcam"}
    assert writable(rendered / "fieldcam.service") == {"/mnt/storage", *state}
    assert writable(other) == {"/mnt/storage", "/archive", "/var/live", *state}


@pytest.mark.parametrize(
    ("media", "home", "bound"),
    [
        ("/home/ann/my photos", "tmpfs", ['-"/home/ann/my photos"']),
        ("/srv/video.mp4", "yes", ['-"/srv/video.mp4"']),
        ('/x"\nExecStart=/bin/sh', "yes", []),
        ("/home/a\nUser=b", "yes", []),
        ("/a:/etc", "yes", []),
    ],
)
def test_media_are_seen_in_the_sandbox_and_a_strange_name_means_nothing(
    tmp_path: Path, media: str, home: str, bound: list[str]
) -> None:
    found = settings(unit(tmp_path, appliance_cameras={"default": {"backend": "replay", "media": media}}))

    assert [value for key, value in found if key == "BindReadOnlyPaths"] == bound
    assert [value for key, value in found if key == "ProtectHome"] == [home]
    assert [key for key, _ in found if key in {"User", "ExecStart"}] == ["ExecStart"]


def test_percent_signs_and_spaces_in_paths_stay_what_they_are(tmp_path: Path) -> None:
    folder = render(tmp_path, appliance_state_dir="/var/lib/50% x", appliance_run_dir="/run/f c")

    assert ("ReadWritePaths", '-"/var/lib/50%% x"') in settings(folder / "fieldcam.service")
    assert 'd "/run/f c/manager" 2750 fieldcam-manager fieldcam -' in (folder / "tmpfiles").read_text("utf-8")


def test_folders_at_start_belong_to_the_process_that_writes_them(tmp_path: Path) -> None:
    cameras = {"default": {"backend": "simulated"}, "north": {"backend": "simulated", "number": 1}}

    text = (render(tmp_path, appliance_cameras=cameras) / "tmpfiles").read_text(encoding="utf-8")

    assert re.findall(r"^d (.*)$", text, re.MULTILINE) == [
        '"/run/fieldcam" 0755 root root -',
        '"/run/fieldcam/cameras" 0755 root root -',
        '"/run/fieldcam/cameras/default" 2750 fieldcam-capture fieldcam -',
        '"/run/fieldcam/cameras/north" 2750 fieldcam-capture fieldcam -',
        '"/run/fieldcam/manager" 2750 fieldcam-manager fieldcam -',
        '"/run/fieldcam/api" 2750 fieldcam-api fieldcam-gateway -',
    ]


SECRETS = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars_files: [{role}/defaults/main.yml, {role}/vars/main.yml, {inputs}]
  tasks:
    - ansible.builtin.include_tasks: "{role}/tasks/{{{{ item.1 }}}}.yml"
      vars: {{root: "{folder}/{{{{ item.0 }}}}"}}
      loop: "{{{{ range(20) | product(['folders', 'token']) | list }}}}"
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_deployments_into_empty_roots_have_twenty_secrets_of_each_kind(tmp_path: Path) -> None:
    names = ("install", "config", "log", "run", "state", "capture", "archive")
    inputs = {f"appliance_{name}_dir": f"{{{{ root }}}}/{name}" for name in names} | {
        "ansible_python_interpreter": sys.executable,
        "appliance_become": False,
        "__appliance_release_venv": sys.prefix,
        "__appliance_deployment_dir": "{{ root }}",
        "__appliance_installed": {"stat": {"exists": True}},
    }
    (tmp_path / "inputs.yml").write_text(json.dumps(inputs), encoding="utf-8")
    playbook = tmp_path / "secrets.yml"
    role = CHECKOUT / "roles" / "appliance"
    text = SECRETS.format(role=role, folder=tmp_path, inputs=tmp_path / "inputs.yml")
    playbook.write_text(text, encoding="utf-8")
    for number in range(20):
        root = tmp_path / str(number)
        root.mkdir()
        (root / "fieldcam.toml").write_text(f'state_dir = "{root}/state"\n', encoding="utf-8")

    run = ansible("-i", "localhost,", str(playbook), scratch=tmp_path / "home", seconds=500)

    assert run.status == 0, run.output
    roots = [tmp_path / str(number) for number in range(20)]
    tokens = {(root / "config" / "secrets" / "deploy.token").read_text("utf-8") for root in roots}
    markers = {
        (root / kind / ".fieldcam-volume").read_text("utf-8") for root in roots for kind in ("capture", "archive")
    }
    assert len(tokens) == 20
    assert len(markers) == 40
    assert not any(token.strip() in run.output for token in tokens)

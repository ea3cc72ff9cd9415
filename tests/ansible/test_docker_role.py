# SPDX-License-Identifier: MIT
"""The role `docker`: what it renders is accepted by a daemon, and what is wrong is said before anything is changed."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.conftest import CHECKOUT, Run, keeping, play, preflight, render_role
from tests.requirements import require_commands

ROLE = CHECKOUT / "roles" / "docker"
FACTS = {
    "distribution": "Debian", "distribution_major_version": "13", "distribution_release": "trixie",
    "service_mgr": "systemd",
}  # fmt: skip
VARIABLES = {"ansible_facts": FACTS}
FILES = {
    "etc/docker/daemon.json": "daemon.json",
    "etc/apt/sources.list.d/docker.sources": "docker.sources",
    "etc/systemd/system/docker.service.d/fieldcam-data-root.conf": "fieldcam-data-root.conf",
    "etc/systemd/system/fieldcam-docker-prune.service": "fieldcam-docker-prune.service",
    "etc/systemd/system/fieldcam-docker-prune.timer": "fieldcam-docker-prune.timer",
}


def rendered(scratch: Path, **inputs: Any) -> Path:
    validator = keeping("'validator.sh'", "__docker_validator")
    return render_role(ROLE, FILES, scratch, more=[validator], variables=VARIABLES, **inputs)


def look(scratch: Path, **inputs: Any) -> Run:
    """Run the preflight on a machine that seems to be a Debian with systemd."""
    return play(ROLE, [preflight(ROLE)], scratch, variables=VARIABLES, **inputs)


def daemon_json(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "daemon.json").read_text(encoding="utf-8"))
    return loaded


def validate(folder: Path) -> subprocess.CompletedProcess[str]:
    """Have a daemon of this machine check the file, as the role does."""
    # A validator of Ansible gets its percent signs doubled.
    script = (folder / "validator.sh").read_text(encoding="utf-8").replace("%%", "%")
    command = ["/bin/sh", "-c", script, "sh", str(folder / "daemon.json")]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_the_defaults_bound_logs_and_shield_containers(tmp_path: Path) -> None:
    written = daemon_json(rendered(tmp_path / "a"))

    assert written.pop("labels")[0].startswith("fieldcam.configuration=")
    assert written == {
        "data-root": "/var/lib/docker",
        "icc": False,
        "ip": "127.0.0.1",
        "live-restore": True,
        "log-driver": "json-file",
        "log-opts": {"max-file": "3", "max-size": "10m"},
        "no-new-privileges": True,
        "userland-proxy": False,
    }


def test_settings_are_merged_and_null_takes_one_away(tmp_path: Path) -> None:
    own = {"log-opts": {"max-size": "1m"}, "icc": None, "labels": ["room=4"], "registry-mirrors": ["https://m.example"]}

    written = daemon_json(rendered(tmp_path / "a", docker_daemon_config=own))

    assert written["log-opts"] == {"max-file": "3", "max-size": "1m"}
    assert "icc" not in written
    assert written["labels"][0] == "room=4"
    assert written["registry-mirrors"] == ["https://m.example"]


def test_another_log_driver_gets_no_options_it_does_not_know(tmp_path: Path) -> None:
    written = daemon_json(rendered(tmp_path / "a", docker_daemon_config={"log-driver": "journald"}))

    assert written["log-driver"] == "journald"
    assert "log-opts" not in written


def test_the_label_changes_with_the_settings_and_only_with_them(tmp_path: Path) -> None:
    labels = [
        daemon_json(rendered(tmp_path / name, **inputs))["labels"]
        for name, inputs in [
            ("a", {"docker_daemon_config": {"debug": True, "mtu": 1400}}),
            ("b", {"docker_daemon_config": {"mtu": 1400, "debug": True}}),
            ("c", {"docker_daemon_config": {"mtu": 1401, "debug": True}}),
        ]
    ]

    assert labels[0] == labels[1]
    assert labels[0] != labels[2]


@pytest.mark.parametrize("value", ['a"}\n{"hosts":["tcp://0.0.0.0:1"]', "\\", "\u00e9 ; # %(x)s"])
def test_no_value_can_change_the_structure(tmp_path: Path, value: str) -> None:
    written = daemon_json(rendered(tmp_path / "a", docker_daemon_config={"labels": [value], "bip": value}))

    assert written["bip"] == value
    assert written["labels"][0] == value
    assert "hosts" not in written


def test_a_daemon_accepts_the_defaults_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    require_commands("dockerd")

    good = validate(rendered(tmp_path / "a"))
    with_level = validate(rendered(tmp_path / "b", docker_daemon_config={"log-level": "warn"}))
    bad = validate(rendered(tmp_path / "c", docker_daemon_config={"no-such-setting": 1}))

    assert (good.returncode, with_level.returncode) == (0, 0), good.stderr + with_level.stderr
    assert bad.returncode == 1
    assert "no-such-setting" in bad.stderr


def test_the_repository_is_named_with_its_key(tmp_path: Path) -> None:
    lines = (rendered(tmp_path / "a") / "docker.sources").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(": ", 1) for line in lines if not line.startswith("#"))

    assert fields == {
        "Types": "deb",
        "URIs": "https://download.docker.com/linux/debian",
        "Suites": "trixie",
        "Components": "stable",
        "Signed-By": "/etc/apt/keyrings/docker.asc",
    }


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    require_commands("systemd-analyze")
    folder = rendered(tmp_path / "a")

    done = subprocess.run(["systemd-analyze", "calendar", "weekly"], check=False, capture_output=True, text=True)
    timer = (folder / "fieldcam-docker-prune.timer").read_text(encoding="utf-8")

    assert done.returncode == 0
    assert "OnCalendar=weekly" in timer
    drop_in = (folder / "fieldcam-data-root.conf").read_text(encoding="utf-8")
    assert "RequiresMountsFor=/var/lib/docker" in drop_in


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"docker_data_root": "docker"}, ["docker_data_root", "absolute path"]),
        ({"docker_data_root": "/a/../etc"}, ["docker_data_root"]),
        ({"docker_data_root": "/a\nExecStart=/bin/sh"}, ["docker_data_root"]),
        ({"docker_log_max_size": "10 MB"}, ["docker_log_max_size", "10m"]),
        ({"docker_daemon_config": {"hosts": ["tcp://0.0.0.0:2375"]}}, ["hosts", "ssh"]),
        ({"docker_prune_schedule": "x\ny"}, ["docker_prune_schedule", "weekly"]),
        ({"docker_source": "vendor"}, ["docker_vendor_key_sha256", "sha256sum"]),
        ({"docker_source": "vendor", "docker_vendor_key_sha256": "a" * 64, "docker_vendor_key": "/nowhere"},
         ["docker_vendor_key: /nowhere", "does not exist"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_changed(
    inputs: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    run = look(tmp_path / "a", **inputs)

    assert run.status == 2
    assert [word for word in words if word not in " ".join(run.output.split())] == []
    assert "changed=0" in run.output


def test_a_key_other_than_the_checked_one_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key.asc"
    key.write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n", encoding="utf-8")
    right = hashlib.sha256(key.read_bytes()).hexdigest()
    vendor = {"docker_source": "vendor", "docker_vendor_key": str(key)}

    wrong = look(tmp_path / "a", **vendor, docker_vendor_key_sha256="0" * 64)
    good = look(tmp_path / "b", **vendor, docker_vendor_key_sha256=right)

    assert (wrong.status, right in wrong.output) == (2, True)
    # What comes next depends on the machine: whether Docker of the other source is there.
    assert "docker_vendor_key" not in good.output

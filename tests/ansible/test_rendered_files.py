# SPDX-License-Identifier: MIT
"""What the role renders is accepted by its readers, and no value can change its structure."""

from __future__ import annotations

import configparser
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fieldcam.core.config_sources import load
from tests.ansible.conftest import render

NASTY = 'a"b\'c\\d\n[cameras.evil]\nbackend = "simulated" # %(here)s ; ${x} \u00e9\U0001f600\t'


def supervisor_files(folder: Path) -> configparser.RawConfigParser:
    """Read all of supervisord's files as supervisord does, but strictly: no section and no option comes twice."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=True)
    for file in sorted(folder.glob("*.conf")):
        parser.read_string(file.read_text(encoding="utf-8"), source=str(file))
    return parser


def test_the_defaults_alone_make_a_configuration_that_loads(rendered: Path) -> None:
    config = load(rendered / "fieldcam.toml", environ={})

    assert config.capture_dir == Path("/mnt/storage/camera_capture")
    assert (config.local_port, config.port, config.host) == (8001, 6407, "127.0.0.1")
    assert [(name, camera.backend) for name, camera in config.cameras.items()] == [("default", "rpicam")]


def test_only_what_is_set_is_written(rendered: Path) -> None:
    written = tomllib.loads((rendered / "fieldcam.toml").read_text(encoding="utf-8"))

    assert "max_capture_age_hours" not in written
    assert "max_images" not in written


def test_supervisord_has_the_programs_of_the_contract_and_no_port(rendered: Path) -> None:
    files = supervisor_files(rendered)

    assert {name for name in files.sections() if ":" in name} == {
        "program:host-camera-capture",
        "program:capture-api",
        "program:image-sync-manager",
        "eventlistener:appliance-watchdog",
        "rpcinterface:supervisor",
    }
    assert "inet_http_server" not in files.sections()
    assert (files["unix_http_server"]["chmod"], files["unix_http_server"]["chown"]) == ("0770", "root:fieldcam-control")


def test_each_program_has_the_user_of_its_rights_and_none_is_root(rendered: Path) -> None:
    files = supervisor_files(rendered)

    users = {name.partition(":")[2]: files[name]["user"] for name in files.sections() if "user" in files[name]}

    assert users == {
        "host-camera-capture": "fieldcam-capture",
        "capture-api": "fieldcam-api",
        "image-sync-manager": "fieldcam-manager",
        "appliance-watchdog": "fieldcam-manager",
        "": "root",
    }


def test_without_root_nobody_becomes_anybody(tmp_path: Path) -> None:
    files = supervisor_files(render(tmp_path, appliance_become=False))

    assert [name for name in files.sections() if "user" in files[name]] == []
    assert files["unix_http_server"]["chmod"] == "0700"


def test_a_program_runs_with_the_code_and_the_configuration_of_its_own_deployment(rendered: Path) -> None:
    files = supervisor_files(rendered)

    for name in (name for name in files.sections() if name.startswith(("program:", "eventlistener:"))):
        assert "/opt/fieldcam/releases/0.1.0-0123456789/venv/bin/" in files[name]["command"], name
        assert "current" not in files[name]["command"] + files[name]["environment"], name
        assert "/deployments/0.1.0-0123456789-abcdef0123/fieldcam.toml" in files[name]["environment"], name


def test_programs_are_kept_alive_and_their_logs_bounded(rendered: Path) -> None:
    files = supervisor_files(rendered)

    for name in (name for name in files.sections() if name.startswith(("program:", "eventlistener:"))):
        program = files[name]
        assert (program["autorestart"], program["startsecs"], program["stopwaitsecs"]) == ("true", "1", "10"), name
        assert int(program["startretries"]) >= 1_000_000, name
        assert (program["killasgroup"], "stopasgroup" in program) == ("true", False), name
        log = "stdout" if name.startswith("program:") else "stderr"
        assert (program[f"{log}_logfile_maxbytes"], program[f"{log}_logfile_backups"]) == ("1MB", "2"), name
        assert "token" not in program["environment"].lower(), name


def test_each_camera_has_a_program_of_its_own_and_the_default_one_the_documented_name(tmp_path: Path) -> None:
    cameras = {"stage": {"backend": "simulated"}, "north-2": {"backend": "simulated", "number": 1}}

    files = supervisor_files(render(tmp_path, appliance_cameras=cameras, appliance_default_camera="stage"))

    commands = {name: shlex.split(files[name]["command"]) for name in files.sections() if "host-camera" in name}
    assert {name: command[-1] for name, command in commands.items()} == {
        "program:host-camera-capture": "stage",
        "program:host-camera-capture-north-2": "north-2",
    }


@pytest.mark.parametrize("value", [NASTY, "[program:x]\ncommand=/bin/sh", "%(ENV_HOME)s", "a ; b # c"])
def test_no_string_can_change_the_structure_of_the_configuration(tmp_path: Path, value: str) -> None:
    cameras: dict[str, Any] = {"default": {"backend": "replay", "media": value, "number": 3}}
    plain = {"appliance_log_file": value, "appliance_host": value, "appliance_allowed_origins": [value, "http://b"]}

    folder = render(tmp_path, appliance_cameras=cameras, **plain)

    written = tomllib.loads((folder / "fieldcam.toml").read_text(encoding="utf-8"))
    assert written["cameras"] == cameras
    assert (written["log_file"], written["host"], written["allowed_origins"]) == (value, value, [value, "http://b"])


def test_a_percent_sign_in_a_path_is_a_percent_sign_for_supervisord(tmp_path: Path) -> None:
    from supervisor.options import expand

    folder = render(tmp_path, appliance_log_dir="/var/log/50%(x)s off", appliance_install_dir="/opt/f c/%d")
    files = supervisor_files(folder)

    assert expand(files["program:capture-api"]["stdout_logfile"], {}, "x") == "/var/log/50%(x)s off/capture-api.log"
    command = shlex.split(expand(files["program:image-sync-manager"]["command"], {}, "x"))
    assert command[-1] == "/opt/f c/%d/deployments/0.1.0-0123456789-abcdef0123/fieldcam.toml"


def test_a_real_supervisord_accepts_the_files(rendered: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "conf.d").mkdir()
    for file in rendered.glob("*.conf"):
        text = file.read_text(encoding="utf-8")
        for folder in ("/var/log/fieldcam", "/run/fieldcam", "/var/lib/fieldcam"):
            text = text.replace(folder, str(tmp_path))
        place = tmp_path if file.name == "supervisord.conf" else tmp_path / "conf.d"
        # Users and groups that a test has no need of.
        text = "".join(line for line in text.splitlines(True) if not line.startswith(("user=", "chown=")))
        (place / file.name).write_text(text, encoding="utf-8")
    ask = "import sys; from supervisor.options import ServerOptions; o = ServerOptions(); o.realize(sys.argv[1:]); "
    ask += "print(sorted(g.name for g in o.process_group_configs))"

    said = subprocess.run(
        [sys.executable, "-c", ask, "-c", str(tmp_path / "supervisord.conf")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert said.returncode == 0, said.stderr
    assert said.stdout == "['appliance-watchdog', 'capture-api', 'host-camera-capture', 'image-sync-manager']\n"

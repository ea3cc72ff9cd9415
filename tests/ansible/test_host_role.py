# SPDX-License-Identifier: MIT
"""The role `host`: bad values and ways to be locked out are refused, and what looks at a machine never fails."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.conftest import CHECKOUT, Run, play, render_role
from tests.requirements import require_commands

ROLE = CHECKOUT / "roles" / "host"
FOUND = {
    "machine_id": "0" * 31 + "1", "bits": 64, "ram_mb": 4000, "free_mb": 9000, "may_set_clock": True, "watchdogs": [],
    "sshd": True, "sshd_reads_dropins": True, "key_holders": [], "compilers": [], "package_lists": True,
    "old_journal": False,
}  # fmt: skip
VARIABLES = {
    "ansible_facts": {"distribution": "Debian", "distribution_major_version": "13", "architecture": "aarch64"},
    "__host_connected": {"stdout_lines": ["pi", ""]},
}
# Machines are described and not looked at: `facts` says what differs from FOUND.
DESCRIBE = {
    "ansible.builtin.set_fact": {"__host_found": "{{ found | combine(facts[inventory_hostname] | default({})) }}"}
}
TEMPLATES = [
    "etc/ssh/sshd_config.d/10-fieldcam.conf", "etc/chrony/chrony.conf", "etc/apt/apt.conf.d/90fieldcam-updates",
    "etc/sysctl.d/90-fieldcam.conf", "etc/systemd/journald.conf.d/90-fieldcam.conf",
]  # fmt: skip


def check(scratch: Path, name: str, *, hosts: str = "one", facts: Any = None, **inputs: Any) -> Run:
    """Run the asserts of a task file, without the tasks that look at the machine."""
    tasks = yaml.safe_load((ROLE / "tasks" / name).read_text(encoding="utf-8"))
    wanted = [DESCRIBE, *(task for task in tasks if "ansible.builtin.assert" in task)]
    given = {"found": FOUND, "facts": facts or {}} | inputs
    return play(ROLE, wanted, scratch, inventory="one,two", hosts=hosts, variables=VARIABLES, **given)


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the role renders with its defaults alone."""
    return render(tmp_path_factory.mktemp("rendered"))


def render(target: Path, **inputs: Any) -> Path:
    names = {name: name.replace("/", "_") for name in TEMPLATES}
    given = {"found": FOUND, "facts": {}} | inputs
    return render_role(ROLE, names, target, before=[DESCRIBE], mode=0o600, variables=VARIABLES, **given)


def settings_of(file: Path) -> list[tuple[str, str]]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [(name, value) for name, _, value in (line.partition(" ") for line in lines if line and line[0] != "#")]


BAD: dict[str, Any] = {
    "host_packages": ["curl; reboot"],
    "host_hostname": "a b",
    "host_timezone": "../../etc/shadow",
    "host_time_servers": ["a\nallow all"],
    "host_time_makestep": "1\nallow all",
    "host_journal_max_use": "lots",
    "host_updates_origins": ['a"; Unattended-Upgrade::Automatic-Reboot "true'],
    "host_updates_reboot_time": "25:00",
    "host_watchdog_seconds": 5,
    "host_sshd_undo_seconds": 1,
    "host_sshd_allow_users": ["a b"],
    "host_sshd_options": {"Banner": "a\nPermitRootLogin yes"},
    "host_sysctl_extra": {"kernel.panic": "1\nkernel.sysrq = 1"},
    "host_modules_off": ["a\ninstall b /bin/sh"],
    "host_services_off": ["ssh"],
    "host_login_umask": "27",
}


def test_all_values_that_could_change_the_structure_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    run = check(tmp_path, "preflight.yml", **BAD)

    said = run.output.partition("Not allowed")[2]
    assert run.status == 2, run.output
    assert [name for name in BAD if name not in said] == [], run.output


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"host_time_pools": []}, ["both empty", "host_time_enabled"]),
        ({"host_sshd_options": {"Match": "all"}}, ["host_sshd_options", "no Match"]),
        ({"host_sshd_options": {"passwordauthentication": "yes"}}, ["host_sshd_password_authentication"]),
        ({"facts": {"one": {"bits": 32}}}, ["64-bit image", "32 bits"]),
        ({"facts": {"one": {"ram_mb": 200}}}, ["200 MB of memory", "host_required_ram_mb"]),
        ({"facts": {"one": {"free_mb": 20}}}, ["20 MB free", "host_required_free_mb"]),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_changed(
    inputs: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    run = check(tmp_path, "preflight.yml", **inputs)

    said = " ".join(run.output.split())
    assert run.status == 2, run.output
    assert [word for word in words if word not in said] == [], run.output


def test_the_defaults_pass_on_two_machines_and_copies_of_one_card_do_not(tmp_path: Path) -> None:
    other = {"two": {"machine_id": "0" * 31 + "2"}}

    fine = check(tmp_path / "fine", "preflight.yml", hosts="all", facts=other)
    copies = check(tmp_path / "copies", "preflight.yml", hosts="all")

    assert fine.status == 0, fine.output
    assert copies.status == 2
    assert "one and two have one machine id" in copies.output
    assert "systemd-machine-id-setup" in copies.output


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "Nobody could log in by ssh any more"),
        ({"facts": {"one": {"key_holders": ["ada"]}}}, ""),
        ({"facts": {"one": {"key_holders": ["ada"]}}, "host_sshd_allow_users": ["bob"]}, "of host_sshd_allow_users"),
        ({"users_operators": [{"name": "ada", "ssh_keys": ["x"]}]}, ""),
        ({"users_operators": [{"name": "ada"}]}, "Nobody could log in"),
        ({"host_sshd_password_authentication": True}, ""),
        ({"facts": {"one": {"sshd_reads_dropins": False, "key_holders": ["ada"]}}}, "Put that line at its top"),
    ],
)
def test_where_ansible_comes_by_other_means_somebody_must_still_be_able_to_log_in(
    inputs: dict[str, Any], words: str, tmp_path: Path
) -> None:
    run = check(tmp_path, "access.yml", **inputs)

    assert run.status == (2 if words else 0), run.output
    assert words in " ".join(run.output.split())


def test_sshd_takes_keys_only_and_each_setting_stands_once(rendered: Path) -> None:
    settings = settings_of(rendered / "etc_ssh_sshd_config.d_10-fieldcam.conf")

    values = dict(settings)
    assert len(values) == len(settings)
    assert (values["PasswordAuthentication"], values["AuthenticationMethods"]) == ("no", "publickey")
    assert values["PermitRootLogin"] == "no"
    assert "AllowUsers" not in values


def test_settings_of_the_inventory_win_and_are_not_written_twice(tmp_path: Path) -> None:
    folder = render(tmp_path, host_sshd_options={"MaxAuthTries": 6}, host_sshd_allow_users=["ada", "bob"])

    settings = settings_of(folder / "etc_ssh_sshd_config.d_10-fieldcam.conf")
    assert [value for name, value in settings if name == "MaxAuthTries"] == ["6"]
    assert ("AllowUsers", "ada bob") in settings


def test_the_kernel_reboots_after_a_crash_and_forwarding_is_left_to_containers(rendered: Path) -> None:
    text = (rendered / "etc_sysctl.d_90-fieldcam.conf").read_text(encoding="utf-8")

    lines = text.splitlines()
    assert {"kernel.panic = 10", "kernel.panic_on_oops = 1", "kernel.core_pattern = |/bin/false"} <= set(lines)
    assert "forward" not in text


def test_updates_come_from_security_only_and_do_not_reboot(rendered: Path) -> None:
    require_commands("apt-config")

    file = str(rendered / "etc_apt_apt.conf.d_90fieldcam-updates")
    said = subprocess.run(["apt-config", "-c", file, "dump"], capture_output=True, text=True, check=True).stdout

    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in said
    origins = [line for line in said.splitlines() if line.startswith("Unattended-Upgrade::Origins-Pattern:: ")]
    assert len(origins) == 3
    assert all("Security" in line or "Raspberry Pi" in line for line in origins)


def health(folder: Path, **tools: str) -> dict[str, list[str]]:
    """Run files/health.py where these tools are, each a shell script."""
    folder.mkdir(exist_ok=True)
    for name, script in tools.items():
        tool = folder / name.replace("_", "-")
        tool.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        tool.chmod(0o755)
    run = subprocess.run(
        [sys.executable, str(ROLE / "files" / "health.py"), "80"],
        env={"PATH": f"{folder}:{os.defpath}"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, list[str]] = json.loads(run.stdout)
    return found


def test_low_voltage_heat_and_old_firmware_are_said(tmp_path: Path) -> None:
    found = health(
        tmp_path,
        vcgencmd='case $1 in get_throttled) echo throttled=0x50005;; *) echo "temp=84.5\'C";; esac',
        rpi_eeprom_update="printf 'BOOTLOADER: update available\\n   CURRENT: Mon 1 Jan 2024\\n'; exit 1",
    )

    assert len([line for line in found["wrong"] if "voltage" in line]) == 2
    assert [line for line in found["wrong"] if "84.5 degrees" in line]
    assert [line for line in found["wrong"] if "rpi-eeprom-update -a" in line]


@pytest.mark.parametrize(
    "script",
    ["exit 1", "echo throttled=maybe temp=warm", "printf '\\377\\376'", "echo failed >&2; exit 255"],
)
def test_what_a_tool_says_in_words_not_known_is_left_out(script: str, tmp_path: Path) -> None:
    found = health(tmp_path, vcgencmd=script, rpi_eeprom_update=script)

    assert [line for line in found["wrong"] if "voltage" in line or "firmware" in line] == []


def test_settings_that_this_kernel_has_not_or_has_otherwise_are_named() -> None:
    panic = Path("/proc/sys/kernel/panic").read_text(encoding="ascii").strip()
    asked = {"kernel.panic": panic, "kernel.pid_max": 1, "kernel.no_such_thing": 1}

    run = subprocess.run(
        [sys.executable, str(ROLE / "files" / "sysctl.py"), json.dumps(asked)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    said = json.loads(run.stdout)
    assert list(said["differ"]) == ["kernel.pid_max"]
    assert said["missing"] == ["kernel.no_such_thing"]


def test_one_look_says_all_that_the_role_asks_for() -> None:
    run = subprocess.run(
        [sys.executable, str(ROLE / "files" / "look.py")], capture_output=True, text=True, check=True
    )  # fmt: skip

    assert set(json.loads(run.stdout)) == set(FOUND)


# --- what runs is older than what is written


def changed_since(scratch: Path, moment: str, *files: Path) -> list[str]:
    """Ask as the tasks do, of a systemd that names this moment."""
    (scratch / "systemctl").write_text(f"#!/bin/sh\necho '{moment}'\n", encoding="utf-8")
    (scratch / "systemctl").chmod(0o755)
    command = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))["__host_newer"]
    done = subprocess.run(
        [*command, "ExecMainStartTimestamp", "a.service", *files],
        env={"PATH": f"{scratch}:{os.environ['PATH']}", "TZ": "Asia/Tokyo"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.parametrize(
    ("moment", "is_newer"),
    [
        ("Fri 2026-01-16 10:30:45.500000 UTC", False),
        ("Fri 2026-01-16 10:30:44.400000 UTC", True),
        ("", False),  # it does not run, so it will read them
    ],
)
def test_settings_are_newer_than_what_was_started_before_they_were_written(
    tmp_path: Path, moment: str, is_newer: bool
) -> None:
    settings = tmp_path / "settings.conf"
    settings.touch()
    written = dt.datetime(2026, 1, 16, 10, 30, 45, tzinfo=dt.UTC).timestamp()
    os.utime(settings, (written, written))

    assert changed_since(tmp_path, moment, settings) == ([str(settings)] if is_newer else [])


def test_settings_that_are_not_there_yet_are_not_newer(tmp_path: Path) -> None:
    assert changed_since(tmp_path, "Fri 2026-01-16 10:30:45.500000 UTC", tmp_path / "missing.conf") == []

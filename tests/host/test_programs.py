# SPDX-License-Identifier: MIT
"""The appliance runs under systemd and supervisord, as what it is meant to run as."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.host.conftest import Machine


def expected_programs(machine: Machine) -> dict[str, str]:
    """Return each program and the user it runs as."""
    capture = {
        "host-camera-capture" if camera == machine["appliance_default_camera"] else f"host-camera-capture-{camera}"
        for camera in machine["appliance_cameras"]
    }
    return dict.fromkeys(capture, machine["appliance_capture_user"]) | {
        "image-sync-manager": machine["appliance_manager_user"],
        "appliance-watchdog": machine["appliance_manager_user"],
        "capture-api": machine["appliance_api_user"],
    }


def supervised(machine: Machine) -> dict[str, tuple[str, int]]:
    """Return state and pid of each program."""
    config = f"{machine['appliance_config_dir']}/supervisord.conf"
    ran = machine.run("%s -m supervisor.supervisorctl -c %s status", f"{machine.commands}/python", config)
    rows = [line.split() for line in ran.stdout.splitlines() if line.strip()]
    return {row[0]: (row[1], int(row[3].rstrip(",")) if row[1] == "RUNNING" else 0) for row in rows}


def test_the_unit_is_active_and_starts_at_boot(machine: Machine) -> None:
    unit = machine.host.service("fieldcam.service")

    assert unit.is_running, machine.journal()
    assert unit.is_enabled


def test_exactly_the_programs_of_the_contract_run(machine: Machine) -> None:
    states = {name: state for name, (state, _) in supervised(machine).items()}

    assert states == dict.fromkeys(expected_programs(machine), "RUNNING"), machine.journal()


def test_each_program_runs_as_its_own_user_without_any_privilege(machine: Machine) -> None:
    found = {}
    for name, (_, pid) in supervised(machine).items():
        status = dict(line.split(":\t", 1) for line in machine.out("cat %s", f"/proc/{pid}/status").splitlines()
                      if ":\t" in line)  # fmt: skip
        uid = status["Uid"].split()
        user = machine.out("id -un %s", uid[0]).strip()
        found[name] = (user, len(set(uid)), int(status["CapEff"], 16), status["NoNewPrivs"].strip())

    assert found == {name: (user, 1, 0, "1") for name, user in expected_programs(machine).items()}


def test_nothing_of_ours_runs_outside_the_unit(machine: Machine) -> None:
    inside = set(machine.out("cat /sys/fs/cgroup/system.slice/fieldcam.service/cgroup.procs").split())
    all_of_ours = machine.run("pgrep --full %s", f"^{machine['appliance_install_dir']}/").stdout.split()

    assert set(all_of_ours) <= inside


def test_programs_are_given_nothing_but_what_they_need(machine: Machine) -> None:
    allowed = {"PATH", "HOME", "LANG", "FIELDCAM_CONFIG", "APPLIANCE_CONFIG", "APPLIANCE_REVISION"}
    for name, (_, pid) in supervised(machine).items():
        raw = machine.out("cat %s", f"/proc/{pid}/environ")
        names = {line.partition("=")[0] for line in raw.split("\0") if line}
        # supervisord and systemd add their own.
        others = {one for one in names - allowed if not re.match(r"SUPERVISOR_|LC_CTYPE$|USER$|LOGNAME$|SHELL$", one)}
        assert others <= {"NOTIFY_SOCKET", "WATCHDOG_USEC", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID",
                          "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE", "WATCHDOG_PID"}, name  # fmt: skip
        assert "fc_" not in raw, f"{name} has a token in its environment"


def test_current_is_a_deployment_whose_release_is_complete(machine: Machine) -> None:
    install = Path(machine["appliance_install_dir"])

    deployment = Path(machine.out("readlink -f %s", str(install / "current")).strip())
    release = Path(machine.out("readlink -f %s", str(install / "current" / "venv")).strip())

    assert deployment.parent == install / "deployments"
    assert release.parent.parent == install / "releases"
    assert machine.run("test -s %s", str(release.parent / "complete")).rc == 0
    assert deployment.name.startswith(release.parent.name)


def test_code_belongs_to_root_and_nobody_else_can_write_it(machine: Machine) -> None:
    folder = machine["appliance_install_dir"]

    assert machine.out("find %s ! -type l -perm /022", folder) == ""
    assert machine.out("find %s ! -user root", folder) == ""


def test_supervisord_has_no_port_and_its_configuration_is_for_root(machine: Machine) -> None:
    text = machine.out("cat %s", f"{machine['appliance_config_dir']}/supervisord.conf")

    assert "inet_http_server" not in re.sub(r"(?m)^\s*[;#].*$", "", text)


def test_the_configuration_in_use_is_accepted_by_the_program(machine: Machine) -> None:
    config = f"{machine['appliance_config_dir']}/fieldcam.toml"

    machine.out("%s config check --config %s", f"{machine.commands}/fieldcam", config)


def test_the_doctor_finds_nothing_that_failed(machine: Machine) -> None:
    config = f"{machine['appliance_config_dir']}/fieldcam.toml"

    ran = machine.run("%s doctor --config %s", f"{machine.commands}/fieldcam", config)

    assert ran.rc == 0, ran.stdout


@pytest.mark.parametrize("name", ["fieldcam", "supervisorctl"])
def test_operators_have_the_commands(machine: Machine, name: str) -> None:
    folder = machine["appliance_commands_dir"]
    there = machine.out("ls %s", folder).split()

    assert any(one == name or one.endswith(f"-{name}") for one in there), there

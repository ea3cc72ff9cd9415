# SPDX-License-Identifier: MIT
"""Accounts, groups, and who may read and write what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.host.conftest import Machine
from tests.host.test_programs import supervised

PROBE = Path(__file__).parent / "programs" / "probe.py"
# What starts or supervises the unit; everything else is its sandbox.
NOT_SANDBOX = ("Exec", "Type", "Restart", "Watchdog", "Notify", "KillMode", "Timeout", "PIDFile", "RuntimeDirectory",
               "StateDirectory", "LogsDirectory", "Environment", "OOM", "User", "Group", "Supplementary", "KillSignal",
               "SendSIG", "FileDescriptorStoreMax", "UMask", "Standard", "SyslogIdentifier")  # fmt: skip


def groups_of(machine: Machine, user: str) -> set[str]:
    return set(machine.out("id -nG %s", user).split())


@pytest.mark.parametrize(
    ("key", "primary", "also"),
    [
        ("appliance_capture_user", "appliance_store_group", {"appliance_group"}),
        ("appliance_manager_user", "appliance_store_group", {"appliance_group", "appliance_control_group"}),
        ("appliance_api_user", "appliance_group", {"appliance_gateway_group"}),
    ],
)
def test_services_are_users_that_nobody_can_be(machine: Machine, key: str, primary: str, also: set[str]) -> None:
    user = machine.host.user(machine[key])

    assert user.exists
    assert user.uid < 1000
    assert (user.group, user.shell) == (machine[primary], "/usr/sbin/nologin")
    assert user.password in {"!", "*", "!*", "!!"}
    devices = {"video", "render"} if key == "appliance_capture_user" else set()
    assert groups_of(machine, user.name) - devices == {machine[name] for name in {primary, *also}}


def test_capture_reaches_the_cameras_and_nobody_else_of_ours_does(machine: Machine) -> None:
    for key in ("appliance_manager_user", "appliance_api_user"):
        assert groups_of(machine, machine[key]) & {"video", "render", "gpio", "i2c", "spi"} == set()
    assert "video" in groups_of(machine, machine["appliance_capture_user"])


def test_nobody_is_in_the_group_docker_unless_that_was_said(machine: Machine) -> None:
    ran = machine.run("getent group docker")
    members = set(filter(None, ran.stdout.strip().rpartition(":")[2].split(",")))

    assert members <= set(machine["docker_group_members"] or [])


def test_operators_can_log_in_with_their_keys(machine: Machine) -> None:
    for operator in machine["users_operators"]:
        name = operator["name"]
        home = machine.host.user(name).home
        keys = machine.out("cat %s", f"{home}/.ssh/authorized_keys")
        assert [key for key in operator.get("ssh_keys", []) if key.strip() not in keys] == [], name
        listed = machine.run("sudo -l -U %s", name).stdout
        may_everything = "(ALL" in listed and "ALL\n" in listed + "\n" and "may run the following" in listed
        assert may_everything == operator.get("sudo", False), listed


def test_operators_that_are_to_be_absent_are(machine: Machine) -> None:
    assert [name for name in machine["users_operators_absent"] if machine.host.user(name).exists] == []


def test_sudoers_are_well_formed_and_for_root_only(machine: Machine) -> None:
    for file in machine.out("find /etc/sudoers.d -name '*fieldcam*'").split():
        machine.out("visudo --check --file=%s", file)
        assert oct(machine.host.file(file).mode) == "0o440"


@pytest.mark.parametrize(
    ("path", "owner", "group", "mode"),
    [
        ("{appliance_config_dir}", "root", "{appliance_group}", 0o750),
        ("{appliance_config_dir}/secrets", "root", "root", 0o700),
        ("{appliance_install_dir}", "root", "root", 0o755),
        ("{appliance_log_dir}", "root", "{appliance_group}", 0o750),
        ("{appliance_state_dir}", "root", "{appliance_group}", 0o750),
        ("{appliance_state_dir}/events", "{appliance_manager_user}", "{appliance_group}", 0o2750),
        ("{appliance_state_dir}/cameras/{camera}", "{appliance_capture_user}", "{appliance_group}", 0o2750),
        ("{appliance_run_dir}", "root", "root", 0o755),
        ("{appliance_run_dir}/cameras/{camera}", "{appliance_capture_user}", "{appliance_group}", 0o2750),
        ("{appliance_run_dir}/manager", "{appliance_manager_user}", "{appliance_group}", 0o2750),
        ("{appliance_run_dir}/api", "{appliance_api_user}", "{appliance_gateway_group}", 0o2750),
        ("{appliance_run_dir}/supervisor.sock", "root", "{appliance_control_group}", 0o770),
        ("{appliance_results_dir}", "root", "{appliance_store_group}", 0o755),
    ],
)  # fmt: skip
def test_folders_have_the_modes_of_the_table(machine: Machine, path: str, owner: str, group: str, mode: int) -> None:
    names = {key: machine[key] for key in (
        "appliance_config_dir", "appliance_install_dir", "appliance_log_dir", "appliance_state_dir",
        "appliance_run_dir", "appliance_results_dir", "appliance_group",
        "appliance_store_group", "appliance_control_group", "appliance_gateway_group", "appliance_capture_user",
        "appliance_manager_user", "appliance_api_user",
    )}  # fmt: skip
    names["camera"] = machine["appliance_default_camera"]
    found = machine.host.file(path.format(**names))

    assert found.exists
    assert (found.user, found.group, oct(found.mode)) == (owner.format(**names), group.format(**names), oct(mode))


def test_tokens_and_users_can_be_read_by_the_api_alone(machine: Machine) -> None:
    folder = machine.host.file(f"{machine['appliance_state_dir']}/auth")

    assert (folder.user, oct(folder.mode)) == (machine["appliance_api_user"], "0o700")


def test_secrets_can_be_read_by_root_alone(machine: Machine) -> None:
    folder = f"{machine['appliance_config_dir']}/secrets"

    assert machine.out("find %s -type f -perm /077", folder) == ""
    assert machine.out("find %s ! -user root", folder) == ""


def test_nothing_of_ours_can_be_written_by_everybody(machine: Machine) -> None:
    folders = [machine[key] for key in (
        "appliance_config_dir", "appliance_install_dir", "appliance_log_dir", "appliance_state_dir",
        "appliance_run_dir", "appliance_capture_dir", "appliance_archive_dir", "appliance_ring_dir",
        "appliance_results_dir",
    )]  # fmt: skip
    where = " ".join(["%s"] * len(folders))

    assert machine.out(f"find {where} ! -type l -perm -o+w", *folders) == ""


def test_nothing_on_the_system_belongs_to_nobody(machine: Machine) -> None:
    containers = str(machine["appliance_consumer_uid"])
    found = machine.out(
        "find /etc /opt /usr /var/lib /var/log /mnt -xdev \\( -nouser -o -nogroup \\) ! -uid %s "
        "! -path '/var/lib/docker/*' ! -path '/var/lib/containerd/*'",
        containers,
    )

    assert found == ""


def test_whoever_owns_the_api_can_do_nothing_else(machine: Machine) -> None:
    pids = {name: pid for name, (_, pid) in supervised(machine).items() if name != "capture-api"}
    pids["supervisord"] = int(machine.out("systemctl show --property=MainPID --value fieldcam.service"))
    live = f"{machine['appliance_capture_dir']}/live"
    config, state = machine["appliance_config_dir"], machine["appliance_state_dir"]
    asked = {
        "folders": {
            "live": live,
            "the hand-off area": machine["appliance_capture_dir"],
            "the archive": machine["appliance_archive_dir"],
            "captures": f"{machine['appliance_archive_dir']}/{machine['appliance_captures_folder'] or 'captures'}",
            "the ring": machine["appliance_ring_dir"],
            "results": machine["appliance_results_dir"],
            "the code": f"{machine['appliance_install_dir']}/current/",
            "the configuration": config,
            "the state": state,
            "the events": f"{state}/events",
            "the settings of the camera": f"{state}/cameras/{machine['appliance_default_camera']}",
            "the logs": machine["appliance_log_dir"],
            "/etc": "/etc",
            "/usr/local/bin": "/usr/local/bin",
            "units": "/etc/systemd/system",
            "cron": "/etc/cron.d",
            "the home of root": "/root",
        },
        "secrets": {
            "the token for deployments": f"{config}/secrets/deploy.token",
            "password hashes": "/etc/shadow",
            "the key of the machine": "/etc/ssh/ssh_host_ed25519_key",
            "the configuration of supervisord": f"{config}/supervisord.conf",
        },
        "files": [f"{machine['appliance_archive_dir']}/catalog.db", f"{state}/events/events.db",
                  f"{machine['appliance_capture_dir']}/.fieldcam-volume", "/etc/passwd"],
        "sockets": [f"{machine['appliance_run_dir']}/supervisor.sock", "/run/docker.sock",
                    "/run/containerd/containerd.sock"],
        "processes": pids,
        "image": f"{live}/" + machine.out("ls %s | tail -1", live).strip(),
        "own_folder": f"{state}/auth",
        "mount": machine["appliance_capture_dir"],
    }  # fmt: skip
    lines = machine.out("systemctl cat fieldcam.service").splitlines()
    inside = [line for line in lines if "=" in line and not line.lstrip().startswith(("#", ";"))]
    start = next(number for number, line in enumerate(lines) if line.strip() == "[Service]")
    service = [line for line in lines[start:] if line in inside and not line.startswith(NOT_SANDBOX)]
    service = [line for line in service if not line.startswith(("WantedBy", "Alias"))]
    properties = " ".join(["--property=%s"] * len(service))

    ran = machine.run(
        f"systemd-run --pipe --wait --quiet --collect {properties} --property=NoNewPrivileges=yes "
        "--property=User=%s --property=Group=%s python3 -c %s %s",
        *service, machine["appliance_api_user"], machine["appliance_group"], PROBE.read_text(encoding="utf-8"),
        json.dumps(asked),
    )  # fmt: skip

    assert ran.rc == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["uid"] == machine.host.user(machine["appliance_api_user"]).uid
    assert found["attempts"] >= 40
    assert found["succeeded"] == []

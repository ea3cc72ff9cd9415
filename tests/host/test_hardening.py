# SPDX-License-Identifier: MIT
"""Settings of sshd, kernel, journal, updates, and the sandbox of each unit."""

from __future__ import annotations

import json
import re

import pytest

from tests.host.conftest import Machine

MOST_EXPOSED = {"fieldcam.service": 3.0, "nginx.service": 4.0}
MOST_EXPOSED_HELPER = 3.0


def sshd(machine: Machine) -> dict[str, str]:
    """Return what sshd is really set to."""
    lines = machine.out("sshd -T").splitlines()
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}


def test_sshd_lets_nobody_in_by_guessing(machine: Machine) -> None:
    if not machine["host_sshd_enabled"]:
        pytest.skip("host_sshd_enabled is false")

    found = sshd(machine)

    root = machine["host_sshd_permit_root_login"]
    if machine["ansible_user"] == "root" and root == "no":
        root = "prohibit-password"  # else nobody could deploy any more
    expected = {
        "passwordauthentication": "yes" if machine["host_sshd_password_authentication"] else "no",
        "kbdinteractiveauthentication": "no",
        "permitemptypasswords": "no",
        "x11forwarding": "no",
        "allowagentforwarding": "no",
        "allowtcpforwarding": "yes" if machine["host_sshd_tcp_forwarding"] else "no",
        "permitrootlogin": "without-password" if root == "prohibit-password" else root,  # sshd has its older name
        "permittunnel": "no",
        "loglevel": "VERBOSE",
    }
    assert {key: found[key] for key in expected} == expected
    assert int(found["maxauthtries"]) <= 3
    assert int(found["logingracetime"]) <= 60


def test_sshd_offers_no_crypto_of_yesterday(machine: Machine) -> None:
    if not machine["host_sshd_enabled"] or machine["host_sshd_legacy_crypto"]:
        pytest.skip("host_sshd_enabled is false, or host_sshd_legacy_crypto true")
    found = sshd(machine)

    assert not re.search(r"sha1|nistp|group1-|group14-sha1", found["kexalgorithms"])
    assert not re.search(r"cbc|3des|arcfour", found["ciphers"])
    assert not re.search(r"md5|sha1|umac-64", found["macs"])


def test_the_kernel_has_the_settings_that_it_lets_be_set(machine: Machine) -> None:
    if not machine["host_sysctl_enabled"]:
        pytest.skip("host_sysctl_enabled is false")
    wanted = {**machine["host_sysctl"], **machine["host_sysctl_extra"]}
    if machine.is_container:
        wanted = {key: value for key, value in wanted.items() if key.startswith("net.")}
    names = " ".join(["%s"] * len(wanted))

    lines = machine.out(f"sysctl --ignore {names}", *wanted).splitlines()

    found = {line.partition(" = ")[0]: line.partition(" = ")[2].split() for line in lines}
    assert {key: words for key, words in found.items() if words != str(wanted[key]).split()} == {}


def test_the_units_of_ours_are_in_sandboxes(machine: Machine) -> None:
    told = json.loads(machine.out("systemd-analyze security --json=short --no-pager"))
    exposure = {one["unit"]: float(one["exposure"]) for one in told}
    ours = {name: value for name, value in exposure.items() if name.startswith("fieldcam")}
    if machine["gateway_enabled"]:
        ours["nginx.service"] = exposure["nginx.service"]

    assert "fieldcam.service" in ours
    assert {name: value for name, value in ours.items() if value > MOST_EXPOSED.get(name, MOST_EXPOSED_HELPER)} == {}


def test_the_journal_is_where_it_was_said_and_bounded(machine: Machine) -> None:
    if not machine["host_journal_enabled"]:
        pytest.skip("host_journal_enabled is false")
    shown = machine.out("systemd-analyze cat-config systemd/journald.conf")
    settings = dict(re.findall(r"(?m)^(\w+)=(\S+)", shown))

    assert settings["Storage"] == machine["host_journal_storage"]
    assert settings["RuntimeMaxUse"] == machine["host_journal_max_use"]
    if machine["host_journal_storage"] == "volatile":
        assert machine.out("find /run/log/journal -name '*.journal'") != ""


def test_security_updates_come_by_themselves(machine: Machine) -> None:
    if not machine["host_updates_enabled"]:
        pytest.skip("host_updates_enabled is false")
    shown = machine.out("apt-config dump")

    assert 'APT::Periodic::Unattended-Upgrade "1"' in shown
    for origin in machine["host_updates_origins"]:
        assert origin in shown
    assert f'Unattended-Upgrade::Automatic-Reboot "{str(machine["host_updates_reboot"]).lower()}"' in shown


def test_services_that_nobody_needs_are_off(machine: Machine) -> None:
    if not machine["host_services_enabled"]:
        pytest.skip("host_services_enabled is false")

    # Where the inventory has a .local address, avahi is what finds the host.
    units = [unit for unit in machine["host_services_off"] if "avahi" not in unit]

    assert [unit for unit in units if machine.run("systemctl is-active --quiet %s", unit).rc == 0] == []


def test_no_program_has_a_hole_for_passwords(machine: Machine) -> None:
    assert machine.out("awk -F: '$2 == \"\" {print $1}' /etc/shadow") == ""
    assert machine.out("awk -F: '$3 == 0 {print $1}' /etc/passwd").split() == ["root"]

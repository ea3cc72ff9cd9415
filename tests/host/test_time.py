# SPDX-License-Identifier: MIT
"""The clock is kept by one program, and right."""

from __future__ import annotations

import pytest

from tests.host.conftest import Machine


@pytest.fixture
def timed(machine: Machine) -> Machine:
    """A machine whose clock is ours to keep."""
    if not machine["host_time_enabled"]:
        pytest.skip("host_time_enabled is false")
    return machine


def test_one_program_keeps_the_time(timed: Machine) -> None:
    assert timed.host.service("chrony").is_enabled
    assert not timed.host.service("systemd-timesyncd").is_running
    # Before systemd 253 a unit that is not there is an error.
    asked = timed.run("systemctl is-enabled systemd-timesyncd")
    is_missing = "No such file or directory" in asked.stderr
    assert is_missing or asked.stdout.strip() in {"not-found", "disabled", "masked"}


def test_the_servers_are_those_that_were_named(timed: Machine) -> None:
    shown = timed.out("cat /etc/chrony/chrony.conf $(find /etc/chrony -name '*.conf' -o -name '*.sources')")

    for server in [*timed["host_time_pools"], *timed["host_time_servers"]]:
        assert server in shown
    assert f"makestep {timed['host_time_makestep']}" in shown


def test_the_clock_is_synchronised(timed: Machine) -> None:
    if timed.is_container:
        pytest.skip("a container has the clock of its host")

    assert "Leap status     : Normal" in timed.out("chronyc -n tracking")
    assert "CLOCK_UNTRUSTED" not in {reason["code"] for reason in timed.fieldcam("status")["reasons"]}


def test_the_clock_is_that_of_the_controller(machine: Machine) -> None:
    import time

    assert abs(float(machine.out("date +%s.%N")) - time.time()) < 5

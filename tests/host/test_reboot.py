# SPDX-License-Identifier: MIT
"""What is there after a start of the machine, as far as it shows without one: Molecule restarts and asks again."""

from __future__ import annotations

from tests.host.conftest import Machine


def test_no_unit_has_failed(machine: Machine) -> None:
    failed = [line.split()[0] for line in machine.out("systemctl list-units --failed --plain --no-legend").splitlines()]

    assert failed == []


def test_what_must_be_there_after_a_start_is_enabled(machine: Machine) -> None:
    units = ["fieldcam.service"]
    for key in ("appliance_capture_dir", "appliance_ring_dir"):
        if key == "appliance_capture_dir" and machine["storage_live_backing"] == "storage":
            continue
        units.append(machine.out("systemd-escape --path --suffix=mount %s", machine[key]).strip())
    if machine["storage_live_backing"] != "storage":
        units.append("fieldcam-handoff.service")
    if machine["gateway_enabled"]:
        units.append("nginx.service")
    if machine["docker_enabled"]:
        units.append("docker.service")

    states = {unit: machine.run("systemctl is-enabled %s", unit).stdout.strip() for unit in units}

    assert states == dict.fromkeys(units, "enabled")


def test_the_appliance_waits_for_its_places_and_starts_without_the_disk(machine: Machine) -> None:
    properties = "After,Requires,BindsTo,Wants,Restart,StartLimitIntervalUSec"
    shown = machine.out("systemctl show fieldcam.service --property=%s", properties)
    told = dict(line.partition("=")[::2] for line in shown.splitlines())
    archive = machine.out("systemd-escape --path --suffix=mount %s", machine["appliance_archive_dir"]).strip()

    if machine["storage_live_backing"] != "storage":
        assert "fieldcam-handoff.service" in told["After"].split()
    assert archive not in told["Requires"].split() + told["BindsTo"].split()
    assert told["Restart"] == "always"
    assert told["StartLimitIntervalUSec"] == "0"


def test_the_watchdog_of_the_unit_is_fed(machine: Machine) -> None:
    shown = machine.out("systemctl show fieldcam.service --property=WatchdogUSec,NRestarts,WatchdogTimestampMonotonic")
    told = dict(line.partition("=")[::2] for line in shown.splitlines())

    assert told["WatchdogUSec"] not in {"0", "infinity", ""}
    assert int(told["WatchdogTimestampMonotonic"]) > 0

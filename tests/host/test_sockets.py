# SPDX-License-Identifier: MIT
"""What listens: exactly what is meant to, and nothing off the host but ssh and the gateway."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from tests.host.conftest import Machine

# A client of DHCP listens on these ports whoever it is; IPv6 link-local and ICMP are no sockets of ours.
DHCP = {("udp", 68), ("udp", 546)}


@dataclass(frozen=True, order=True)
class Listener:
    """A line of ss."""

    protocol: str
    address: str
    port: int
    program: str

    @property
    def is_local(self) -> bool:
        """Return whether only this machine reaches it."""
        return ipaddress.ip_address(self.address).is_loopback


def listeners(machine: Machine) -> set[Listener]:
    found = set()
    for line in machine.out("ss -H -tulpn").splitlines():
        words = line.split()
        address, _, port = words[4].rpartition(":")
        address = address.strip("[]").partition("%")[0]
        name = re.search(r'\(\("([^"]+)"', line)
        found.add(Listener(words[0], "0.0.0.0" if address == "*" else address, int(port), name[1] if name else ""))
    return found


def test_off_the_host_only_ssh_and_the_gateway_listen(machine: Machine) -> None:
    off_host = {(one.protocol, one.port) for one in listeners(machine) if not one.is_local}

    expected = {("tcp", int(machine["ansible_port"] or 22))}
    if machine["gateway_enabled"]:
        expected |= {("tcp", 443)}
        expected |= {("tcp", 80)} if machine["gateway_redirect_enabled"] else set()
    if machine["appliance_host"] not in {"127.0.0.1", "::1"}:
        expected |= {("tcp", machine["appliance_port"])}
    others = {tuple(text.split("/")) for text in machine["gateway_other_listeners"] or []}
    expected |= {(protocol, int(port)) for protocol, port in others}
    assert off_host - DHCP == expected


def test_on_the_host_only_the_api_and_the_clock_listen(machine: Machine) -> None:
    # A machine that is a container has Docker's name server on an address of its own.
    on_host = {one for one in listeners(machine) if one.is_local and one.address != "127.0.0.11"}

    ours = {(one.protocol, one.address, one.port) for one in on_host if one.port in {
        machine["appliance_local_port"], machine["appliance_port"]}}  # fmt: skip
    expected = {("tcp", machine["appliance_host"], machine["appliance_port"])}
    if machine["appliance_local_listener"]:
        expected.add(("tcp", "127.0.0.1", machine["appliance_local_port"]))
    assert ours == expected
    # chronyd's command port; containerd and Docker's proxy and name server have ports of their own on the loopback.
    rest = {(one.program, one.port) for one in on_host} - {(one.program, one.port) for one in on_host
            if (one.protocol, one.address, one.port) in expected}  # fmt: skip
    assert {program for program, _ in rest} <= {"chronyd", "containerd", "dockerd", "systemd-resolve"}


def test_nothing_listens_for_supervisord_but_its_socket(machine: Machine) -> None:
    assert {one for one in listeners(machine) if "supervisord" in one.program} == set()


def test_the_sockets_of_the_appliance_are_for_their_groups_only(machine: Machine) -> None:
    run = machine["appliance_run_dir"]
    lines = machine.out("find %s -type s -printf '%%U %%m %%p\\n'", run).splitlines()

    assert [line for line in lines if int(line.split()[1], 8) & 0o007] == []


def test_the_gateway_has_a_socket_of_its_own(machine: Machine) -> None:
    socket = machine.host.file(f"{machine['appliance_run_dir']}/api/gateway.sock")

    if machine["appliance_gateway_socket"]:
        assert socket.is_socket
        assert socket.group == machine["appliance_gateway_group"]
    else:
        assert not socket.exists

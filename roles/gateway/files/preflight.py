# SPDX-License-Identifier: MIT
"""Look at a host before a gateway is put on it: networks, names, ports, and the way Ansible came in.

Run on the host by tasks/preflight.yml with the host's own Python and nothing installed: what to look at comes as JSON
in the first argument, what was found goes out as JSON. Changes nothing. Each problem is one sentence with key and
value, and what to do.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

DNS_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
MAX_NAME = 253
LISTENER = re.compile(r"(tcp|udp)/([1-9][0-9]{0,4})")
# Bridges and pairs of containers come and go, and nobody on the network calls the host by their addresses.
OF_CONTAINERS = re.compile(r"(?:docker|br-|veth|virbr|lxc|cni|podman)")


def main() -> int:
    """Print what was found as one JSON object."""
    asked = json.loads(sys.argv[1])
    problems = [*name_problems(asked["server_names"])]
    for key in ("gateway_client_cidrs", "gateway_admin_cidrs"):
        problems += network_problems(key, asked[key])
    problems += listener_problems(asked["other_listeners"])
    ports, connection_problems = look_at_connection(asked["ssh_connection"], asked["ssh_port"], asked)
    problems += connection_problems
    problems += port_problems(asked["ports"], taken=listening())
    names = own_names(asked["called"])
    found = {"problems": problems, "names": names, "ssh_ports": ports, "ipv6": has_ipv6()}
    print(json.dumps(found))
    return 0


def kind_of(name: str) -> str | None:
    """Return `ip`, `dns`, or None when it is neither."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        bare = name.removeprefix("*.")
        numeric = re.fullmatch(r"[0-9.]+", bare)
        return "dns" if DNS_NAME.fullmatch(bare) and len(bare) <= MAX_NAME and not numeric else None
    return "ip"


def name_problems(names: list[Any]) -> Iterator[str]:
    """Yield names that no client could call the host by."""
    for name in names:
        if not isinstance(name, str) or kind_of(name) is None:
            yield (
                f"gateway_server_names: {name!r} is neither a host name in small letters (camera-1.example.org, "
                "*.example.org) nor an address (192.0.2.11, 2001:db8::1, without brackets or port)"
            )


def network_problems(key: str, networks: list[Any]) -> Iterator[str]:
    """Yield what is no network."""
    if not networks:
        yield f"{key}: it is empty, so nobody could reach the host: name networks, or 0.0.0.0/0 and ::/0 for all"
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except (ValueError, TypeError) as error:
            yield f"{key}: {network!r} is no network ({error}): give 192.0.2.0/24, 192.0.2.7/32 or 2001:db8::/32"


def listener_problems(listeners: list[Any]) -> Iterator[str]:
    """Yield what is no protocol and port."""
    for one in listeners:
        match = LISTENER.fullmatch(str(one))
        if match is None or int(match[2]) > 65535:
            yield f"gateway_other_listeners: {one!r} is no listener: give protocol and port, as tcp/9100 or udp/5353"


def look_at_connection(connection: str, ssh_port: Any, asked: dict[str, Any]) -> tuple[list[int], list[str]]:
    """Return the ports of ssh, and what would lock Ansible out.

    Args:
        connection: what sshd says of the connection, `client port server port`; empty when it is none of ssh.
        ssh_port: what is configured.
        asked: for the networks.
    """
    if not str(ssh_port).isdecimal() or not 1 <= int(ssh_port) <= 65535:
        return [], [f"gateway_ssh_port: {ssh_port!r} is no port: give a number from 1 to 65535"]
    ports, fields = {int(ssh_port)}, connection.split()
    if len(fields) != 4:
        return sorted(ports), []
    ports.add(int(fields[3]))
    if asked["firewall"] and not is_within(fields[0], asked["gateway_admin_cidrs"]):
        given = ", ".join(map(str, asked["gateway_admin_cidrs"]))
        problem = (
            f"gateway_admin_cidrs: {given} does not contain {fields[0]}, the address that Ansible comes from: the "
            "firewall would lock it out. Add that address or its network"
        )
        return sorted(ports), [problem]
    return sorted(ports), []


def is_within(address: str, networks: Iterable[Any]) -> bool:
    """Return whether an address is in one of the networks; those that are none are told elsewhere."""
    one = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(one, "ipv4_mapped", None)
    for network in networks:
        try:
            if (mapped or one) in ipaddress.ip_network(network):
                return True
        except (ValueError, TypeError):
            continue
    return False


def listening() -> list[tuple[int, str]]:
    """Return port and program of everything that listens for TCP."""
    done = subprocess.run(["ss", "-H", "-tlnp"], check=False, capture_output=True, text=True)
    found = []
    for line in done.stdout.splitlines():
        fields = line.split(maxsplit=5)
        program = re.search(r'\(\("([^"]+)"', fields[5] if len(fields) > 5 else "")
        found.append((int(fields[3].rsplit(":", 1)[1]), program[1] if program else "a program"))
    return found


def port_problems(ports: list[int], taken: list[tuple[int, str]]) -> Iterator[str]:
    """Yield ports that the gateway needs and something other than nginx listens on."""
    for port in ports:
        holders = sorted({program for number, program in taken if number == port and program != "nginx"})
        if holders:
            yield (
                f"port {port} is taken by {', '.join(holders)} and the gateway needs it: stop and disable that, "
                "or set gateway_enabled: false"
            )


def own_names(called: list[str]) -> list[str]:
    """Return how the host can be called: its names, what the inventory calls it, its addresses. Always in one order."""
    host = socket.gethostname().lower()
    short = host.partition(".")[0]
    names = [socket.getfqdn().lower(), host, short, f"{short}.local", *(name.lower() for name in called)]
    dns = [name for name in names if kind_of(name) == "dns" and name.partition(".")[0] != "localhost"]
    addresses = [name for name in names if kind_of(name) == "ip"]
    try:
        done = subprocess.run(["ip", "-json", "address"], check=True, capture_output=True, text=True)
        for link in json.loads(done.stdout):
            if not OF_CONTAINERS.match(link["ifname"]):
                addresses += [one["local"] for one in link["addr_info"] if is_lasting(one)]
    except (OSError, subprocess.CalledProcessError, ValueError):
        pass  # the names are there
    return [*dict.fromkeys(dns), *sorted(set(filter(is_reachable, addresses)))]


def is_lasting(address: dict[str, Any]) -> bool:
    """Return whether an address of a link stays: IPv6 makes new ones for a day to hide behind."""
    return address.get("scope") == "global" and not address.get("temporary")


def is_reachable(address: str) -> bool:
    """Return whether somebody else can call the host by an address."""
    one = ipaddress.ip_address(address)
    return not (one.is_loopback or one.is_link_local or one.is_unspecified or one.is_multicast)


def has_ipv6() -> bool:
    """Return whether a program can listen on IPv6."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())

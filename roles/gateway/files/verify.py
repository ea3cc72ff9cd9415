# SPDX-License-Identifier: MIT
"""See that the gateway of this host does what it is there for: asks it over TLS, as a client would, and looks around.

Run on the host by tasks/verify.yml with the host's own Python: JSON in the first argument, JSON out. Changes nothing.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

HEALTH = "/api/v1/capture/health"
# Clients of DHCP listen on every network; the firewall lets in answers only.
OF_THE_SYSTEM = {"udp/68", "udp/546"}
REQUIRED_HEADERS = ("X-Content-Type-Options", "Content-Security-Policy", "Cache-Control")


def main() -> int:
    """Print what was found as one JSON object."""
    asked = json.loads(sys.argv[1])
    problem = health_problem(asked)
    problems = [problem] if problem else [*foreign_name_problems(asked), *old_tls_problems(asked)]
    problems += listener_problems(set(asked["listeners"]), listeners())
    print(json.dumps({"problems": problems}))
    return 0


def ask(asked: dict[str, Any], name: str, path: str, host: str) -> tuple[int, dict[str, str], bytes]:
    """Ask the gateway of this machine, checking that its certificate is the deployed one and for the name."""
    context = ssl.create_default_context(cafile=asked["certificate"])
    # A certificate of an issuer is trusted here for itself: what is checked is that this very one is served.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with (
        socket.create_connection(("127.0.0.1", asked["port"]), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as secure,
    ):
        connection = http.client.HTTPConnection(name)
        connection.sock = secure
        connection.request("GET", path, headers={"Host": host, "Connection": "close"})
        answer = connection.getresponse()
        return answer.status, {key.title(): value for key, value in answer.getheaders()}, answer.read()


def health_problem(asked: dict[str, Any]) -> str | None:
    """Return why the API does not answer through the gateway."""
    name = asked["name"]
    try:
        status, headers, body = ask(asked, name, HEALTH, in_brackets(name))
    except ssl.SSLError as error:
        return f"https://{name} on this host: {error}: the certificate that nginx serves is not the deployed one"
    except OSError as error:
        return f"https://{name} on this host: {error}: nginx does not listen (systemctl status nginx)"
    try:
        details = json.loads(body).get("details")
    except (ValueError, AttributeError):
        details = None
    # Whether frames come is the appliance's own business: unhealthy is an answer of the API, too.
    if status not in {200, 503} or not details:
        return (
            f"nginx answers {status} for {HEALTH}, the API does not: is {asked['socket']} there, may www-data reach "
            "it, and does capture-api run (role appliance, supervisorctl status)?"
        )
    required = [*REQUIRED_HEADERS, *(["Strict-Transport-Security"] if asked["hsts"] else [])]
    missing = [key for key in required if key not in headers]
    return f"answers of the gateway lack {', '.join(missing)}" if missing else None


def in_brackets(name: str) -> str:
    """Return a name as it stands in Host."""
    return f"[{name}]" if ":" in name else name


def foreign_name_problems(asked: dict[str, Any]) -> Iterator[str]:
    """Yield a complaint when the host answers to a name that is none of its own (DNS rebinding)."""
    status, _, _ = ask(asked, asked["name"], HEALTH, "somebody-else.invalid")
    if status != 421:
        yield f"the gateway answers {status} to Host: somebody-else.invalid; it should be 421"


def old_tls_problems(asked: dict[str, Any]) -> Iterator[str]:
    """Yield a complaint when TLS 1.1 is spoken. Where this Python cannot speak it either, nothing is found out."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with (
            socket.create_connection(("127.0.0.1", asked["port"]), timeout=10) as plain,
            context.wrap_socket(plain) as secure,
        ):
            yield f"the gateway speaks {secure.version()}"
    except (OSError, ValueError):
        return


def listeners() -> list[tuple[str, str, str]]:
    """Return protocol/port, address and program of everything that listens, on whatever address."""
    done = subprocess.run(["ss", "-H", "-tulpn"], check=True, capture_output=True, text=True)
    return [*parse(done.stdout)]


def parse(printed: str) -> Iterator[tuple[str, str, str]]:
    """Yield protocol/port, address and program of each line of `ss -H -tulpn`."""
    for line in printed.splitlines():
        fields = line.split(maxsplit=6)
        address, _, port = fields[4].rpartition(":")
        program = re.search(r'\(\("([^"]+)"', fields[6] if len(fields) > 6 else "")
        yield f"{fields[0]}/{port}", address.partition("%")[0].strip("[]"), program[1] if program else "unknown program"


def listener_problems(expected: set[str], found: list[tuple[str, str, str]]) -> Iterator[str]:
    """Yield what listens off-host besides the gateway and ssh."""
    told = set()
    for listener, address, program in found:
        if address.startswith("127.") or address in {"::1", "::ffff:127.0.0.1"} or listener in expected | OF_THE_SYSTEM:
            continue
        if (listener, program) not in told:
            told.add((listener, program))
            yield (
                f"{program} listens on {listener} ({address}): stop and disable it, or name {listener} in "
                "gateway_other_listeners"
            )
    missing = {one for one in expected if one in {"tcp/443", "tcp/80"}} - {one for one, _, _ in found}
    for listener in sorted(missing):
        yield f"nothing listens on {listener}"


if __name__ == "__main__":
    sys.exit(main())

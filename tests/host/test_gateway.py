# SPDX-License-Identifier: MIT
"""The gateway as a client in the network meets it. Asked from here, not from the host."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import warnings

import pytest

from tests.host.conftest import Machine


@pytest.fixture
def gateway(machine: Machine) -> Machine:
    """A machine with a gateway."""
    if not machine["gateway_enabled"]:
        pytest.skip("gateway_enabled is false")
    return machine


def tls(*, oldest: ssl.TLSVersion | None = None, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Return a client that takes any certificate; whether it is the right one is a test of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions are asked for on purpose
        if oldest:
            context.minimum_version = oldest
        if newest:
            context.maximum_version = newest
    return context


def server_name(machine: Machine) -> str:
    return str((machine["gateway_server_names"] or [machine.address])[0])


def get(
    machine: Machine,
    path: str,
    *,
    method: str = "GET",
    host: str | None = None,
    token: str = "",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Ask through TLS; status 0: the connection was closed without an answer."""
    client = http.client.HTTPSConnection(machine.address, 443, timeout=35, context=tls())
    told = {"Host": host or server_name(machine), **(headers or {})}
    if token:
        told["Authorization"] = f"Bearer {token}"
    with contextlib.closing(client):
        try:
            client.request(method, path, body=body, headers=told)
            answer = client.getresponse()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        except (http.client.RemoteDisconnected, http.client.BadStatusLine, ConnectionError, ssl.SSLError):
            return 0, {}, b""


def token_of(machine: Machine) -> str:
    return machine.out("cat %s", f"{machine['appliance_config_dir']}/secrets/deploy.token").strip()


def connects(machine: Machine, port: int) -> bool:
    try:
        socket.create_connection((machine.address, port), timeout=3).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_of_today_is_spoken(gateway: Machine, version: ssl.TLSVersion) -> None:
    context = tls(oldest=version, newest=version)

    with (
        socket.create_connection((gateway.address, 443), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=server_name(gateway)) as guarded,
    ):
        assert guarded.version() == version.name.replace("_", ".")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_of_yesterday_is_refused(gateway: Machine, version: ssl.TLSVersion) -> None:
    context = tls(oldest=version, newest=version)
    with contextlib.suppress(ssl.SSLError):
        context.set_ciphers("ALL:@SECLEVEL=0")

    with socket.create_connection((gateway.address, 443), timeout=10) as plain, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(plain, server_hostname=server_name(gateway))


def test_the_certificate_holds_for_the_names_of_the_host_and_not_for_ever(gateway: Machine) -> None:
    pem = ssl.get_server_certificate((gateway.address, 443), timeout=10)
    shown = gateway.out("printf %%s %s | openssl x509 -noout -ext subjectAltName -checkend 86400 -subject", pem)

    wanted = gateway["gateway_server_names"] or [gateway.address]
    assert [name for name in wanted if name not in shown] == []


def test_a_frame_comes_through_the_gateway_with_a_token(gateway: Machine) -> None:
    status, headers, body = get(gateway, "/api/v1/images/latest", token=token_of(gateway))

    assert status == 200
    assert headers["content-type"] == "image/jpeg"
    assert body.startswith(b"\xff\xd8\xff")


def test_without_a_token_there_is_nothing(gateway: Machine) -> None:
    assert get(gateway, "/api/v1/images/latest")[0] == 401
    assert get(gateway, "/api/v1/images/latest", token="fc_000000000000_" + "x" * 43)[0] == 401


def test_health_is_open(gateway: Machine) -> None:
    status, _, body = get(gateway, "/api/v1/capture/health")

    assert status == 200
    assert json.loads(body)["success"] is True


@pytest.mark.parametrize("path", ["/capture", "/settings", "/health", "/video/feed", "/docs", "/openapi.json"])
def test_routes_of_the_local_listener_are_not_there(gateway: Machine, path: str) -> None:
    assert get(gateway, path, token=token_of(gateway))[0] in {400, 403, 404}


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "localhost:8001"])
def test_another_name_is_refused(gateway: Machine, name: str) -> None:
    status, _, body = get(gateway, "/api/v1/capture/health", host=name)

    assert status in {0, 400, 421}
    assert b'"success":true' not in body


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/images/../../../etc/passwd",
        "/api/v1/images/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/api/v1/images/..;/",
    ],
)
def test_no_path_leads_out(gateway: Machine, path: str) -> None:
    status, _, body = get(gateway, path, token=token_of(gateway))

    assert status in {0, 400, 401, 403, 404, 405, 421}
    assert b"root:" not in body


def test_a_large_body_is_refused(gateway: Machine) -> None:
    status, _, _ = get(gateway, "/api/v1/capture/test", method="POST", token=token_of(gateway), body=b"x" * 1_000_000)

    assert status in {0, 413}


def test_headers_of_the_proxy_cannot_be_forged_and_versions_are_not_told(gateway: Machine) -> None:
    forged = {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"}

    status, headers, _ = get(gateway, "/api/v1/images/latest", headers=forged)

    assert status == 401
    assert not any(character.isdigit() for character in headers.get("server", ""))
    if gateway["gateway_hsts_seconds"]:
        assert f"max-age={gateway['gateway_hsts_seconds']}" in headers["strict-transport-security"]


def test_plain_http_is_not_served(gateway: Machine) -> None:
    if not gateway["gateway_redirect_enabled"]:
        assert not connects(gateway, 80)
        return
    client = http.client.HTTPConnection(gateway.address, 80, timeout=10)
    with contextlib.closing(client):
        client.request("GET", "/", headers={"Host": server_name(gateway)})
        answer = client.getresponse()
        assert answer.status in {301, 308}
        assert answer.headers["Location"].startswith("https://")


def test_nothing_but_the_gateway_and_ssh_can_be_reached_from_here(machine: Machine) -> None:
    closed = [machine["appliance_local_port"], 2375, 2376, 9001, 111, 8080]
    closed += [machine["appliance_port"]] if machine["appliance_host"] == "127.0.0.1" else []

    assert [port for port in closed if connects(machine, port)] == []


def test_the_firewall_lets_nothing_else_in(gateway: Machine) -> None:
    if not gateway["gateway_firewall_enabled"]:
        pytest.skip("gateway_firewall_enabled is false")
    rules = json.loads(gateway.out("nft --json list ruleset"))["nftables"]
    chains = [one["chain"] for one in rules if one.get("chain", {}).get("hook") == "input"]

    assert [chain["family"] for chain in chains if chain.get("policy") == "drop"] == ["inet"]


def test_without_a_gateway_nothing_of_it_is_there(machine: Machine) -> None:
    if machine["gateway_enabled"]:
        pytest.skip("gateway_enabled is true")

    assert not connects(machine, 443)
    assert not machine.host.service("nginx").is_running
    assert machine.run("nft list table inet fieldcam").rc != 0

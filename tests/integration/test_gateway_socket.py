# SPDX-License-Identifier: MIT
"""The socket of the proxy: who may open it, which rules it has, and whose address is believed."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fieldcam.control import protocol
from fieldcam.core.errors import StorageUnavailableError
from tests.api_process import Api, StandIn, api_process, api_tree, stand_in

FORGED = {"X-Forwarded-For": "10.9.8.7, 192.0.2.44", "X-Forwarded-Proto": "https"}


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Api, StandIn]]:
    """Return an API with a gateway socket, and a stand-in for its capture process."""
    with api_tree(gateway_socket=True) as tree, stand_in(tree) as process, api_process(tree) as api:
        yield api, process


@pytest.fixture
def through(served: tuple[Api, StandIn]) -> Iterator[httpx.Client]:
    """Return a client that comes as the proxy does."""
    path = str(served[0].tree.config.layout.gateway_socket)
    with httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://camera.example") as client:
        yield client


def test_the_socket_is_for_its_owner_and_the_group_of_its_folder(served: tuple[Api, StandIn]) -> None:
    path = served[0].tree.config.layout.gateway_socket

    facts, folder = path.stat(), path.parent.stat()

    assert stat.S_ISSOCK(facts.st_mode)
    assert (oct(facts.st_mode & 0o7777), facts.st_gid) == ("0o660", folder.st_gid)
    assert folder.st_mode & 0o007 == 0


def test_it_has_the_rules_of_the_token_listener(served: tuple[Api, StandIn], through: httpx.Client) -> None:
    viewer = served[0].bearer("viewer")

    statuses = {
        "no token": through.get("/api/v1/images").status_code,
        "unknown route, no token": through.get("/nowhere").status_code,
        "a local route": through.post("/capture", headers=served[0].bearer("admin")).status_code,
        "open": through.get("/api/v1/capture/health").status_code,
        "token": through.get("/api/v1/system/status", headers=viewer).status_code,
        "role": through.post("/api/v1/capture/test", headers=viewer).status_code,
    }

    assert statuses == {
        "no token": 401, "unknown route, no token": 401, "a local route": 404, "open": 200, "token": 200, "role": 403,
    }  # fmt: skip


def test_the_client_is_whom_the_proxy_saw_and_on_a_port_whoever_connected(
    served: tuple[Api, StandIn], through: httpx.Client
) -> None:
    api, process = served

    def unavailable(_args: object) -> dict[str, Any]:
        raise StorageUnavailableError("no archive")

    kept = dict(process.handlers)
    process.handlers |= {protocol.CAPTURE: unavailable, protocol.TEST: unavailable}
    headers = {**api.bearer("operator"), **FORGED}
    try:
        by_socket = through.post("/api/v1/capture/test", headers=headers)
        by_port = api.tokened.post("/api/v1/capture/test", headers=headers)
    finally:
        process.handlers = kept

    lines = [line for line in api.log_text().splitlines() if "STORAGE_UNAVAILABLE" in line]
    assert (by_socket.status_code, by_port.status_code) == (507, 507)
    assert by_socket.json()["error"]["code"] == "STORAGE_UNAVAILABLE"
    assert "192.0.2.44" in lines[-2]
    assert "127.0.0.1" in lines[-1]
    assert not any("10.9.8.7" in line for line in lines)


@pytest.mark.parametrize("forwarded", ["", "unknown", "192.0.2.1, x'; DROP", "1" * 4000])
def test_an_address_that_is_none_is_nobody(served: tuple[Api, StandIn], through: httpx.Client, forwarded: str) -> None:
    answer = through.get("/api/v1/capture/health", headers={"X-Forwarded-For": forwarded})

    assert answer.status_code == 200


def test_headers_that_would_move_the_application_are_refused(
    served: tuple[Api, StandIn], through: httpx.Client
) -> None:
    path = str(served[0].tree.config.layout.gateway_socket)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(
            b"GET /api/v1/images HTTP/1.1\r\nHost: x\r\nSCRIPT_NAME: /api/v1/images\r\nConnection: close\r\n\r\n"
        )
        answer = client.recv(4096)

    assert answer.split(b" ", 2)[1] in {b"400", b"401"}


def test_a_test_of_the_camera_says_so_in_the_words_of_the_v_family(served: tuple[Api, StandIn]) -> None:
    api, process = served
    found = {"width": 320, "height": 240, "file_size": 9, "seconds": 0.1, "simulated": False}
    process.handlers[protocol.TEST] = lambda _args: found

    answer = api.tokened.post("/api/v1/capture/test?storage=true", headers=api.bearer("operator"))

    assert answer.status_code == 200
    assert process.asked[-1] == {"op": protocol.TEST, "rehearse": True}
    assert answer.json()["data"] == {
        "camera_status": "working",
        "device_info": {
            "device_id": "default", "configured_resolution": "320x240", "configured_fps": 15.0,
            "is_initialized": True, "is_capturing": False,
        },
    }  # fmt: skip


def test_an_old_socket_is_replaced_and_anything_else_is_named() -> None:
    with api_tree(gateway_socket=True) as tree, stand_in(tree):
        path = tree.config.layout.gateway_socket
        path.parent.mkdir()
        with socket.socket(socket.AF_UNIX) as old:
            old.bind(str(path))
        with api_process(tree):
            assert path.is_socket()
        path.unlink(missing_ok=True)
        path.write_text("mine", encoding="utf-8")

        with pytest.raises(AssertionError, match="is no socket"), api_process(tree):
            pass

        assert path.read_text(encoding="utf-8") == "mine"

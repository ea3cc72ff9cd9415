# SPDX-License-Identifier: MIT
"""Who is let in, how the process starts and ends, and the commands beside it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.api_process import COMMAND, Api, StandIn, api_process, api_tree, stand_in

# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_revoked_token_is_refused_at_once(quiet: tuple[Api, StandIn]) -> None:
    api, _ = quiet
    issued = api.store().issue("lost laptop", "viewer")
    headers = {"Authorization": f"Bearer {issued.text}"}
    before = api.tokened.get("/api/v1/system/status", headers=headers).status_code

    api.store().revoke(issued.token.id)

    assert (before, api.tokened.get("/api/v1/system/status", headers=headers).status_code) == (200, 401)


def test_a_damaged_database_of_tokens_lets_nobody_in_and_local_clients_go_on() -> None:
    with api_tree() as tree, stand_in(tree), api_process(tree) as api:
        token = api.bearer()
        tree.config.layout.auth.write_bytes(b"damaged" * 1000)
        refused = api.tokened.get("/api/v1/system/status", headers=token)
        local = api.local.get("/settings")

    assert (refused.status_code, refused.json()["code"]) == (503, "AUTH_UNAVAILABLE")
    assert str(tree.root) not in refused.text
    assert local.status_code == 200


# --- the process ------------------------------------------------------------------------------------------------------


def start(tree: Any, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *COMMAND],
        env={**os.environ, "FIELDCAM_CONFIG": str(tree.file), **environ},
        capture_output=True, text=True, timeout=60, check=False, cwd="/",
    )  # fmt: skip


def test_a_taken_port_is_told_with_its_key() -> None:
    with api_tree() as tree, socket.socket() as other:
        other.bind(("127.0.0.1", tree.config.port))
        other.listen()
        port = tree.config.port
        ended = start(tree)

    assert ended.returncode == 78
    assert f"port: 127.0.0.1:{port} is taken by another program" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_wrong_configuration_is_told_line_by_line() -> None:
    with api_tree() as tree:
        ended = start(tree, FIELDCAM_MAX_IMAGES="none", FIELDCAM_INTERVALL="1")

    assert ended.returncode == 78
    assert len([line for line in ended.stderr.splitlines() if line.startswith("error: CONFIG_INVALID: ")]) == 2
    assert "Traceback" not in ended.stderr


def test_no_local_listener_when_it_is_switched_off() -> None:
    with api_tree(local_listener=False) as tree, api_process(tree) as api:
        token = api.bearer("admin")
        with pytest.raises(httpx.ConnectError):
            api.local.get("/health")
        served = api.tokened.get("/health", headers=token).status_code

    assert served == 404


def test_the_end_does_not_wait_for_watchers() -> None:
    with api_tree() as tree, tree.capture_process(), api_process(tree) as api:
        with api.local.stream("GET", "/video/feed") as answer:
            chunks = answer.iter_raw()  # kept: httpx hangs up when it is thrown away
            next(chunks)
            began = time.monotonic()
            api.process.send_signal(signal.SIGTERM)
            api.process.wait(timeout=15)
            seconds = time.monotonic() - began
        log = api.log_text()

    assert (api.process.returncode, seconds < 6) == (0, True)
    assert "Traceback" not in log


def test_every_log_line_has_a_time_a_level_and_a_code(quiet: tuple[Api, StandIn]) -> None:
    api, _ = quiet
    api.local.get("/nothing%0aforged%20line")

    lines = api.log_text().splitlines()

    assert lines
    assert all(re.match(r"\S+Z (INFO|WARNING|ERROR|DEBUG) capture-api [A-Z_]+", line) for line in lines), lines


def test_sixty_requests_at_once_are_all_answered(live: Api) -> None:
    started = threading.Barrier(60)

    def ask() -> int:
        started.wait()
        return httpx.get(f"http://localhost:{live.local_port}/health", timeout=20, trust_env=False).status_code

    with ThreadPoolExecutor(60) as pool:
        statuses = {one.result() for one in [pool.submit(ask) for _ in range(60)]}

    assert statuses == {200}


def test_the_settings_of_the_server_are_those_of_the_security_notes() -> None:
    with api_tree() as tree:
        printed = subprocess.run(
            [sys.executable, "-m", "gunicorn", "--print-config", *COMMAND[2:]],
            env={**os.environ, "FIELDCAM_CONFIG": str(tree.file)},
            capture_output=True, text=True, timeout=60, check=True, cwd="/",
        ).stdout  # fmt: skip
        ports = [f"127.0.0.1:{port}" for port in (tree.config.local_port, tree.config.port)]

    found = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in printed.splitlines())}
    wanted = {
        "workers": "1", "threads": "64", "worker_class": "gthread", "timeout": "30", "graceful_timeout": "8",
        "keepalive": "2",
        "limit_request_line": "2048", "limit_request_fields": "40", "limit_request_field_size": "8190",
        "header_map": "refuse", "control_socket_disable": "True", "preload_app": "False", "max_requests": "0",
        "permit_unconventional_http_method": "False", "strip_header_spaces": "False", "casefold_http_method": "False",
        "permit_obsolete_folding": "False", "proxy_protocol": "off", "http2_cleartext": "off",
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == wanted
    assert json.loads(found["bind"].replace("'", '"')) == ports


# --- the commands, beside running processes ---------------------------------------------------------------------------


def fieldcam(api: Api, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fieldcam.cli.main", "--config", str(api.tree.file), *arguments],
        capture_output=True, text=True, timeout=90, check=False, cwd="/",
    )  # fmt: skip


def test_status_waits_for_a_served_frame(whole: Api) -> None:
    ended = fieldcam(whole, "status", "--wait-fresh", "30", "--json")

    said = json.loads(ended.stdout)
    assert (ended.returncode, said["api"], said["simulated"]) == (0, True, True)
    assert said["latest_image_age"] < 10


def test_doctor_finds_what_works_and_what_does_not(whole: Api) -> None:
    ended = fieldcam(whole, "doctor", "--json")

    states = {finding["check"]: finding["state"] for finding in json.loads(ended.stdout)}
    assert ended.returncode == 1  # the second camera has no process
    assert [check for check, state in states.items() if state == "failed"] == ["capture process (north)"]
    assert {"manager", "frames (default)", "catalog of captures", "local listener", "health", "tokens"} <= set(states)

# SPDX-License-Identifier: MIT
"""Settings of gunicorn; the names are gunicorn's own.

One worker: limits, locks and streams live in one process (design section 4, item 14). The limits on requests are those
of the security notes; what gunicorn would do for a proxy in front (forwarded headers, PROXY protocol, underscores in
header names) is off, because on the two ports anybody on this machine could pretend to be one. Only the socket of the
gateway is for a proxy: its folder lets in nobody else, and `listeners.client_address` takes the client from there.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

from fieldcam.api import main
from fieldcam.core.config import Config
from fieldcam.core.config_sources import load
from fieldcam.core.durable import OWN_FOLDER_MODE, make_folder
from fieldcam.core.errors import FieldcamError

_EX_CONFIG = 78
_PORT_TRIES = 5
_GATEWAY_MODE = 0o660


def _end(code: str, message: str, status: int) -> NoReturn:
    for line in message.splitlines():
        sys.stderr.write(f"error: {code}: {line}\n")
    sys.exit(status)


def _load() -> Config:
    try:
        return load()
    except FieldcamError as error:
        _end(error.code, error.message, error.exit_code)


def _addresses(config: Config) -> list[tuple[str, str, int]]:
    """Return key, address and port of each listener."""
    found = [("local_port", "127.0.0.1", config.local_port)] if config.local_listener else []
    return [*found, ("port", config.host, config.port)]


def _bind(config: Config) -> list[str]:
    ports = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for _, host, port in _addresses(config)]
    return [*ports, f"unix:{config.layout.gateway_socket}"] if config.gateway_socket else ports


def _shared_memory() -> str | None:
    folder = Path("/dev/shm")  # noqa: S108 - only a file for beats of the worker, unlinked at once
    return str(folder) if os.access(folder, os.W_OK | os.X_OK) else None


# Where the appliance is a unit of systemd its watchdog speaks for it. gunicorn would do so, too.
os.environ.pop("NOTIFY_SOCKET", None)
_settings = _load()

bind = _bind(_settings)
worker_class = "gthread"
workers = 1
threads = 64
timeout = 30
graceful_timeout = 8
keepalive = 2
max_requests = 0
preload_app = False
reuse_port = False
worker_tmp_dir = _shared_memory()
umask = 0o007

limit_request_line = 2048
limit_request_fields = 40
limit_request_field_size = 8190
header_map = "refuse"
forwarder_headers = ""
forwarded_allow_ips = ""
proxy_protocol = False
http2_cleartext = "off"
control_socket_disable = True

accesslog = None
errorlog = "-"
loglevel = _settings.log_level.lower()
logger_class = "fieldcam.api.server_log.ServerLog"
proc_name = "capture-api"


def on_starting(_server: Any) -> None:
    """Say which key to change when a port is taken; gunicorn would only name the address."""
    if _settings.gateway_socket:
        _prepare_gateway(_settings.layout.gateway_socket)
    for key, host, port in _addresses(_settings):
        for attempt in range(_PORT_TRIES):
            reason = _why_not(host, port)
            if reason is None:
                break
            # After a kill the worker that was left behind needs a moment to notice.
            if reason != errno.EADDRINUSE or attempt == _PORT_TRIES - 1:
                words = "is taken by another program" if reason == errno.EADDRINUSE else os.strerror(reason)
                _end(
                    "CONFIG_INVALID",
                    f"{key}: {host}:{port} {words}; end that program, or set {key} to another port",
                    _EX_CONFIG,
                )
            main.stopping.wait(1.0)


def when_ready(_server: Any) -> None:
    """Let the proxy in: the socket belongs to the group of its folder, which deployment made for that."""
    if _settings.gateway_socket:
        path = _settings.layout.gateway_socket
        os.chown(path, -1, path.parent.stat().st_gid)
        path.chmod(_GATEWAY_MODE)


def post_worker_init(_worker: Any) -> None:
    """End streams and waits as soon as the process is asked to end."""
    before = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: Any) -> None:
        main.stopping.set()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, stop)


def _prepare_gateway(path: Path) -> None:
    """Make the folder of the socket where deployment made none, and say what is in the way."""
    try:
        make_folder(path.parent, OWN_FOLDER_MODE)
    except FieldcamError as error:
        _end(error.code, f"gateway_socket: {error.message}; deploy again", error.exit_code)
    if path.exists() and not path.is_socket():
        _end("CONFIG_INVALID", f"gateway_socket: {path} is no socket; remove it", _EX_CONFIG)


def _why_not(host: str, port: int) -> int | None:
    """Return the number of the error that listening there would give."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror:
        return errno.EADDRNOTAVAIL
    except OSError as error:
        return error.errno or errno.EINVAL
    return None

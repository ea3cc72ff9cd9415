# SPDX-License-Identifier: MIT
"""A stranger's machine: a fresh clone of the working tree, and `make up` in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.requirements import require_commands

CHECKOUT = Path(__file__).resolve().parents[2]
MAKE_SECONDS = 600


@dataclass(frozen=True)
class Answer:
    """What an HTTP request brought."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Stranger:
    """Somebody with a clone and a shell.

    Attributes:
        clone: the checkout.
        ports: of the local and of the token listener.
        environ: what `make up` is told besides.
    """

    clone: Path
    ports: tuple[int, int]
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def var(self) -> Path:
        """Where everything was put."""
        return self.clone / "var"

    @property
    def venv(self) -> Path:
        """The environment of the running release."""
        return self.var / "opt" / "current" / "venv"

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return what make is started with: nothing of the tests' own environment that could change what it does."""
        kept = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "PIP_CERT")
        clean = {key: os.environ[key] for key in kept if key in os.environ}
        return clean | {"LOCAL_PORT": str(self.ports[0]), "PORT": str(self.ports[1])} | self.environ | dict(environ)

    def make(self, *words: str, expect: int | None = 0, **environ: str) -> str:
        """Type make; return all it printed."""
        run = subprocess.run(
            ["make", *words], cwd=self.clone, env=self.environment(environ), stdout=-1, stderr=subprocess.STDOUT,
            text=True, timeout=MAKE_SECONDS, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if expect is not None and run.returncode != expect:
            raise AssertionError(f"make {' '.join(words)} ended with {run.returncode}:\n{run.stdout[-6000:]}")
        return run.stdout

    def make_up_killed_in(self, task: str, **environ: str) -> None:
        """Type make up, and kill Ansible and all it started as soon as it says that it begins the named task."""
        with subprocess.Popen(
            ["make", "up"], cwd=self.clone, env=self.environment(environ), stdout=-1, stderr=subprocess.STDOUT,
            text=True, stdin=subprocess.DEVNULL, start_new_session=True,
        ) as play:  # fmt: skip
            said = []
            for line in play.stdout or ():
                said.append(line)
                if task in line:
                    os.killpg(play.pid, signal.SIGKILL)
                    break
            else:
                raise AssertionError(f"make up ended without the task {task}:\n{''.join(said)[-6000:]}")

    def run(self, *command: str | Path) -> str:
        """Run a command of the release and return what it printed."""
        return subprocess.run(
            [str(part) for part in command], cwd=self.clone, stdout=-1, text=True, timeout=60, check=True
        ).stdout

    def http(
        self, path: str, body: object = None, *, method: str | None = None, port: int = 0, token: str = ""
    ) -> Answer:
        """Ask the API; a body is sent as JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data is not None else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[port]}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=40) as answer:
                return Answer(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())

    def supervisorctl(self, *words: str) -> str:
        """Ask supervisord."""
        command = [str(self.venv / "bin" / "supervisorctl"), "-c", str(self.var / "etc" / "supervisord.conf"), *words]
        return subprocess.run(command, stdout=-1, text=True, timeout=60, check=False).stdout

    def program_pids(self) -> dict[str, int]:
        """Return the pid of every program that supervisord calls RUNNING."""
        found = re.findall(r"^(\S+)\s+RUNNING\s+pid (\d+)", self.supervisorctl("status"), re.MULTILINE)
        return {name: int(pid) for name, pid in found}

    def processes(self) -> list[str]:
        """Return the command line of every process that has to do with this clone."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if str(self.clone) in line:
                    found.append(line)
        return found


def free_ports() -> tuple[int, int]:
    """Return two ports that nobody listens on."""
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


@pytest.fixture(scope="session")
def stranger() -> Iterator[Stranger]:
    """Clone the working tree as it is (tracked files, with changes) into an empty folder, and clean up behind."""
    require_commands("git", "make", "python3")
    folder = Path(tempfile.mkdtemp(prefix="fc-"))
    clone = folder / "fieldcam"
    names = subprocess.run(
        ["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        stdout=-1, check=True,
    ).stdout.decode()  # fmt: skip
    for name in filter(None, names.split("\0")):
        if (CHECKOUT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, clone / name, follow_symlinks=False)
    made = Stranger(clone, free_ports())
    try:
        yield made
    finally:
        made.make("down", expect=None)
        shutil.rmtree(folder, ignore_errors=True)

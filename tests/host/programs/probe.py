# SPDX-License-Identifier: MIT
"""Try what an attacker who owns the API process would try; print what was attempted, and what succeeded.

Run as the API's user within the sandbox of fieldcam.service. Everything is undone at once where it does succeed. The
first argument tells where things are, as JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

asked: dict[str, Any] = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
attempts: dict[str, Callable[[], object]] = {}

CLONE_NEWUSER, CLONE_NEWNS, MS_BIND = 0x10000000, 0x00020000, 0x1000
PTRACE_ATTACH, MAP_PRIVATE = 16, 2
SYSCALLS = {
    "x86_64": {"init_module": 175, "kexec_load": 246, "bpf": 321, "perf_event_open": 298, "keyctl": 250},
    "aarch64": {"init_module": 105, "kexec_load": 104, "bpf": 280, "perf_event_open": 241, "keyctl": 219},
}[os.uname().machine]


def must(result: int) -> None:
    """Raise what the kernel said when a call of libc failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def create(folder: str) -> Callable[[], object]:
    """Return an attempt to make a file in a folder."""

    def attempt() -> None:
        file = Path(folder) / ".probe"
        file.write_bytes(b"x")
        file.unlink()

    return attempt


def open_to_write(path: str) -> Callable[[], object]:
    """Return an attempt to open a file for writing; nothing is written."""
    return lambda: os.close(os.open(path, os.O_WRONLY))


def open_to_read(path: str) -> Callable[[], object]:
    """Return an attempt to open a file that has no end."""
    return lambda: os.close(os.open(path, os.O_RDONLY))


def read(path: str) -> Callable[[], object]:
    """Return an attempt to read a file."""
    return lambda: Path(path).read_bytes()


def connect(path: str) -> Callable[[], object]:
    """Return an attempt to reach a Unix socket that is there."""

    def attempt() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)

    return attempt


def stop(pid: int) -> Callable[[], object]:
    """Return an attempt to hold a process, and let it go on."""

    def attempt() -> None:
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGCONT)

    return attempt


def trace(pid: int) -> Callable[[], object]:
    """Return an attempt to become the debugger of a process."""
    return lambda: must(libc.ptrace(PTRACE_ATTACH, pid, None, None))


def run(*words: str) -> Callable[[], object]:
    """Return an attempt to run a command."""
    return lambda: subprocess.run(words, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=10)


for name, folder in asked["folders"].items():
    attempts[f"make a file in {name}"] = create(folder)
for name, file in asked["secrets"].items():
    attempts[f"read {name}"] = read(file)
for file in asked["files"]:
    attempts[f"open {file} for writing"] = open_to_write(file)
for path in asked["sockets"]:
    attempts[f"connect to {path}"] = connect(path)
for name, pid in asked["processes"].items():
    attempts[f"stop {name}"] = stop(pid)
    attempts[f"read the memory of {name}"] = open_to_read(f"/proc/{pid}/mem")
    attempts[f"read the environment of {name}"] = read(f"/proc/{pid}/environ")
    attempts[f"trace {name}"] = trace(pid)
image, beside = Path(asked["image"]), Path(asked["image"] + ".probe")
attempts["remove a picture"] = image.unlink
attempts["change the mode of a picture"] = lambda: image.chmod(0o666)
attempts["change the time of a picture"] = lambda: os.utime(image, (0, 0))
attempts["rename a picture"] = lambda: image.rename(beside)
attempts["cut a picture short"] = lambda: os.truncate(image, 0)
attempts["put a link beside a picture"] = lambda: beside.symlink_to("/etc/passwd")


def in_a_child(action: Callable[[], object]) -> Callable[[], object]:
    """Return an attempt whose effect ends with a process of its own."""

    def attempt() -> None:
        pid = os.fork()
        if pid == 0:
            try:
                action()
            except OSError:
                os._exit(1)
            os._exit(0)
        if os.waitpid(pid, 0)[1] != 0:
            raise PermissionError

    return attempt


def raw(kind: int, family: int) -> Callable[[], object]:
    """Return an attempt to open a socket of a kind."""
    return lambda: socket.socket(family, kind).close()


def bind(port: int) -> Callable[[], object]:
    """Return an attempt to listen on a port of the system."""

    def attempt() -> None:
        with socket.socket() as server:
            server.bind(("0.0.0.0", port))

    return attempt


def make_setuid() -> None:
    file = Path(asked["own_folder"]) / "probe"
    file.write_bytes(b"x")
    try:
        file.chmod(0o4755)
        if not file.stat().st_mode & 0o4000:
            raise PermissionError
    finally:
        file.unlink()


attempts |= {
    "become root": in_a_child(lambda: os.setuid(0)),
    "take the group root": in_a_child(lambda: os.setgid(0)),
    "take more groups": in_a_child(lambda: os.setgroups([0, 42])),
    "use sudo": run("sudo", "-n", "true"),
    "use su": run("su", "-c", "true"),
    "make a setuid program": make_setuid,
    "make a namespace of users": in_a_child(lambda: must(libc.unshare(CLONE_NEWUSER))),
    "make a namespace of mounts": in_a_child(lambda: must(libc.unshare(CLONE_NEWNS))),
    "mount": lambda: must(libc.mount(b"/etc", b"/mnt", None, MS_BIND, None)),
    "unmount": lambda: must(libc.umount2(asked["mount"].encode(), 0)),
    "change the root": in_a_child(lambda: os.chroot("/tmp")),
    "make a device": lambda: os.mknod(f"{asked['own_folder']}/probe", 0o60666, os.makedev(7, 0)),
    "set the clock": lambda: __import__("time").clock_settime(0, __import__("time").time()),
    "set the name of the host": lambda: must(libc.sethostname(b"probe", 5)),
    "load a kernel module": lambda: must(libc.syscall(SYSCALLS["init_module"], None, 0, None)),
    "load another kernel": lambda: must(libc.syscall(SYSCALLS["kexec_load"], 0, 0, None, 0)),
    "load a program into the kernel": lambda: must(libc.syscall(SYSCALLS["bpf"], 0, None, 0)),
    "swap": lambda: must(libc.swapon(b"/dev/null", 0)),
    "open a raw socket": raw(socket.SOCK_RAW, socket.AF_INET),
    "open a packet socket": raw(socket.SOCK_RAW, getattr(socket, "AF_PACKET", 17)),
    "open the memory": open_to_read("/dev/mem"),
    "open the kernel's log": open_to_write("/dev/kmsg"),
    "write a setting of the kernel": open_to_write("/proc/sys/kernel/core_pattern"),
    "trigger SysRq": open_to_write("/proc/sysrq-trigger"),
    "restart a unit": run("systemctl", "--no-ask-password", "restart", "fieldcam.service"),
    "power off": run("systemctl", "--no-ask-password", "poweroff"),
    "end the first process": lambda: os.kill(1, signal.SIGTERM),
}

# In containers every port is everybody's.
lowest = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text(encoding="ascii"))
attempts |= {f"listen on port {port}": bind(port) for port in (22, 80, 443) if port < lowest}

succeeded = []
denied = []
for name, attempt in attempts.items():
    try:
        attempt()
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        denied.append([name, f"{type(error).__name__}: {error}"[:120]])
    else:
        succeeded.append(name)
with contextlib.suppress(BrokenPipeError):
    print(json.dumps({"uid": os.getuid(), "attempts": len(attempts), "succeeded": succeeded, "denied": denied}))

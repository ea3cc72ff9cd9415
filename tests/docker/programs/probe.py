# SPDX-License-Identifier: MIT
"""Try, from inside a consumer's container, everything that it must not be able to do; print what worked as JSON.

Runs in the image, where there is no test framework. It gets the process id of a process of the host as argument.
"""

# What is tried here are system calls, each on a name; pathlib would only hide which.
# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH110, PTH118, PTH208, PTH211

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

NAME = ".probe"
LIBC = ctypes.CDLL(None, use_errno=True)
MS_REMOUNT, MS_BIND, MS_MOVE = 32, 4096, 8192
CLONE_NEWUSER = 0x10000000
AT_FDCWD, MOVE_MOUNT, OPEN_TREE_CLONE = -100, 429, 1
MOUNT_SETATTR, OPEN_TREE = 442, 428
# One's own process may be told things; what counts in /proc is what belongs to the whole machine.
OWN_PROCESS = re.compile(r"/proc/(\d+|self|thread-self)(/|$)")


def main() -> None:
    """Try everything and print the outcome."""
    host_pid = int(sys.argv[1])
    names = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    folders, files, devices, sockets, read = [], [], [], [], 0
    for path, kind in everything():
        if kind == stat.S_IFDIR:
            folders += [path] if creates(path) else []
        elif kind in {stat.S_IFCHR, stat.S_IFBLK}:
            devices.append(path)
        elif kind == stat.S_IFSOCK:
            sockets.append(path)
        elif kind == stat.S_IFREG:
            read += 1
            files += [path] if opens_for_writing(path) else []
    print(
        json.dumps(
            {
                "writable_folders": folders,
                "writable_files": files,
                "files_tried": read,
                "devices": sorted(devices),
                "sockets": sockets,
                "changed_frames": [path for path in frames() if changes(path)],
                "mounts": mounts(),
                "status": {name: value.strip() for name, value in names.items()},
                "groups": os.getgroups(),
                "interfaces": [name for _, name in socket.if_nameindex()],
                "visible_processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
                # Last: where unmounting works, nothing is left to look at.
                "worked": [name for name, attempt in attempts(host_pid) if succeeds(attempt)],
            }
        )
    )


def everything() -> Iterator[tuple[str, int]]:
    """Yield every path there is, with its kind; links are not followed."""
    for folder, subfolders, names in os.walk("/", onerror=None):
        subfolders[:] = [name for name in subfolders if not OWN_PROCESS.match(os.path.join(folder, name))]
        yield folder, stat.S_IFDIR
        for name in names:
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                yield path, stat.S_IFMT(os.lstat(path).st_mode)


def creates(folder: str) -> bool:
    """Try each way to make a name in a folder."""
    path = os.path.join(folder, NAME)

    def create() -> None:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        os.unlink(path)

    def make_folder() -> None:
        os.mkdir(path)
        os.rmdir(path)

    def link() -> None:
        os.symlink("x", path)
        os.unlink(path)

    def unnamed() -> None:
        os.close(os.open(folder, os.O_WRONLY | os.O_TMPFILE))

    worked = [succeeds(attempt) for attempt in (create, make_folder, link, unnamed)]
    return any(worked)


def opens_for_writing(path: str) -> bool:
    """Open without truncating: nothing is changed where it works."""
    return succeeds(lambda: os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK)))


def frames() -> Iterator[str]:
    """Yield the files of the hand-off area and the ring."""
    for root in (os.environ["CAMERA_CAPTURE_DIR"], os.environ["CAMERA_RING_DIR"]):
        for folder, _, names in os.walk(root):
            yield from (os.path.join(folder, name) for name in names)


def changes(path: str) -> bool:
    """Try each way to spoil a file that needs no descriptor."""
    attempts = (
        lambda: os.truncate(path, 0),
        lambda: os.chmod(path, 0o777),
        lambda: os.utime(path, (0, 0)),
        lambda: os.rename(path, f"{path}{NAME}"),
        lambda: os.link(path, f"{path}{NAME}"),
        lambda: os.setxattr(path, "user.probe", b"x"),
        lambda: os.unlink(path),
    )
    worked = [succeeds(attempt) for attempt in attempts]
    return any(worked)


def mounts() -> dict[str, list[str]]:
    """Return the options of each mount, by mount point."""
    lines = (line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return {fields[4]: [*fields[5].split(","), *fields[6 : fields.index("-")]] for fields in lines}


def attempts(host_pid: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what a container could try beyond files, by name."""
    for folder in ("/tmp", "/results"):
        for name, kind, device in (("disk", stat.S_IFBLK, (254, 0)), ("memory", stat.S_IFCHR, (1, 1))):
            node = partial(os.mknod, f"{folder}/{NAME}", kind | 0o666, os.makedev(*device))
            yield f"make a node for the {name} in {folder}", node
    for point in mounts():
        yield f"remount {point}", partial(mount, None, point, MS_REMOUNT | MS_BIND)
    area = os.environ["CAMERA_CAPTURE_DIR"]
    yield "bind a folder", lambda: mount(area, "/tmp", MS_BIND)
    yield "move a mount", lambda: mount(area, "/tmp", MS_MOVE)
    yield "clone a mount", lambda: check(LIBC.syscall(OPEN_TREE, AT_FDCWD, area.encode(), OPEN_TREE_CLONE))
    yield (
        "clear a mount's attributes",
        lambda: check(
            LIBC.syscall(MOUNT_SETATTR, AT_FDCWD, area.encode(), 0, ctypes.c_char_p(bytes(8) + b"\1" + bytes(23)), 32)
        ),
    )
    yield "mount a tmpfs", lambda: check(LIBC.mount(b"t", b"/tmp", b"tmpfs", 0, None))
    yield "enter the namespaces of process 1", lambda: check(LIBC.setns(os.open("/proc/1/ns/mnt", os.O_RDONLY), 0))
    yield "set the clock", lambda: time.clock_settime(time.CLOCK_REALTIME, time.time())
    yield "set the host's name", lambda: socket.sethostname("probe")
    yield "become root", lambda: os.setuid(0)
    yield "join another group", lambda: os.setgroups([0])
    yield "signal a process of the host", lambda: os.kill(host_pid, 0)
    yield "signal everybody outside", lambda: os.killpg(host_pid, 0)
    yield "raise its own priority", lambda: os.nice(-5)
    yield "open a raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    yield "reach a network", lambda: connect(socket.AF_INET, ("192.0.2.1", 80))
    yield "load a kernel module", lambda: check(LIBC.syscall(175, b"x", 1, b""))
    yield "run a file from /tmp", run_from_tmp
    yield "reach Docker", lambda: connect(socket.AF_UNIX, "/var/run/docker.sock")
    yield "stop process 1 for good", stop_init
    # Last: where these work, little is left to try things on.
    for point in mounts():
        yield f"unmount {point}", partial(unmount, point)
    yield "make a user namespace", lambda: check(LIBC.unshare(CLONE_NEWUSER))
    yield "change the root", lambda: os.chroot("/tmp")


def run_from_tmp() -> None:
    """Copy a program there and run it."""
    path = f"/tmp/{NAME}"
    Path(path).write_bytes(Path("/bin/true").read_bytes())
    os.chmod(path, 0o755)
    try:
        if os.spawnv(os.P_WAIT, path, [path]) != 0:
            raise OSError("not run")
    finally:
        os.unlink(path)


def stop_init() -> None:
    """Kill PID 1; fail unless it is gone. The kernel takes a signal for it and drops it."""
    os.kill(1, signal.SIGKILL)
    time.sleep(0.2)
    if os.path.exists("/proc/1"):
        raise OSError("still there")


def connect(family: int, address: tuple[str, int] | str) -> None:
    """Connect and hang up."""
    with socket.socket(family) as connection:
        connection.settimeout(1)
        connection.connect(address)


def unmount(point: str) -> None:
    """Take a mount away, even if it is used."""
    check(LIBC.umount2(point.encode(), 2))


def mount(source: str | None, target: str, flags: int) -> None:
    """Call mount(2)."""
    check(LIBC.mount(source.encode() if source else None, target.encode(), None, flags, None))


def check(result: int) -> None:
    """Raise as os does when a call of the C library failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def succeeds(attempt: Callable[[], object]) -> bool:
    """Return whether it worked."""
    try:
        attempt()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""What the kernel counts: bytes that processes and devices wrote."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
SECTOR_BYTES = 512  # of /proc/diskstats, whatever the device has
# Fields of /proc/PID/stat behind the name, from 0 (proc_pid_stat(5): 14 and 15, from 1).
_USER_TIME, _SYSTEM_TIME = 11, 12
_SECTORS_WRITTEN = 9  # column, from 0 (Documentation/admin-guide/iostats.rst)


@dataclass(frozen=True, slots=True)
class Device:
    """A block device.

    Attributes:
        name: as in /proc/diskstats.
        written_bytes: since boot.
    """

    name: str
    written_bytes: int


def descendants(pid: int, proc: Path = PROC) -> list[int]:
    """Return the processes below a process, without itself."""
    children: dict[int, list[int]] = {}
    for folder in proc.glob("[0-9]*"):
        try:
            # The name, in parentheses, may hold anything.
            parent = int((folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(folder.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return sorted(found)


def written_bytes(pids: Iterable[int], proc: Path = PROC) -> int:
    """Return how many bytes these processes sent to storage: `write_bytes` of /proc/PID/io.

    The kernel adds the count of a child to its parent's when the child ends. Memory that is no disk (tmpfs) is not in
    it, nor is what the file system writes of its own accord (its journal).

    Raises:
        OSError: a process is gone, or is somebody else's.
    """
    total = 0
    for pid in pids:
        lines = (proc / str(pid) / "io").read_text(encoding="ascii").splitlines()
        total += int(dict(line.split(": ", 1) for line in lines)["write_bytes"])
    return total


def cpu_seconds(pids: Iterable[int], proc: Path = PROC) -> float:
    """Return how much processor time these processes have used, user and system.

    Unlike a duration it says the same on a machine that is busy with other things.

    Raises:
        OSError: a process is gone.
    """
    ticks = 0
    for pid in pids:
        stat = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        fields = stat.rpartition(")")[2].split()
        ticks += int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME])
    return ticks / os.sysconf("SC_CLK_TCK")


def device_of(folder: Path, proc: Path = PROC) -> Device | None:
    """Return the block device a folder is on, or None when it is on none (an overlay, a tmpfs, a network)."""
    number = folder.stat().st_dev
    wanted = [str(os.major(number)), str(os.minor(number))]
    try:
        lines = (proc / "diskstats").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        columns = line.split()
        if columns[:2] == wanted:
            return Device(columns[2], int(columns[_SECTORS_WRITTEN]) * SECTOR_BYTES)
    return None

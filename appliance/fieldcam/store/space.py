# SPDX-License-Identifier: MIT
"""How full a disk is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fieldcam.core.durable import storage_errors

RAM_SHARE = 0.15
MIN_LIVE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """Space on the file system of a folder; `free_bytes` is what an ordinary user may still write."""

    total_bytes: int
    used_bytes: int
    free_bytes: int
    percent: float
    free_inodes: int


def disk_usage(folder: Path) -> DiskUsage:
    """Return how full the file system of a folder is.

    Raises:
        StorageUnavailableError: the folder is not there.
    """
    with storage_errors(folder):
        facts = os.statvfs(folder)
    total = facts.f_blocks * facts.f_frsize
    used = total - facts.f_bfree * facts.f_frsize
    free = facts.f_bavail * facts.f_frsize
    usable = used + free
    return DiskUsage(total, used, free, round(100 * used / usable, 1) if usable else 100.0, facts.f_favail)


def default_live_bytes(*, in_ram: bool) -> int | None:
    """Return how many bytes live/ may hold when nothing is configured; None = no limit but the number of frames."""
    if not in_ram:
        return None
    ram = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(MIN_LIVE_BYTES, int(ram * RAM_SHARE))

# SPDX-License-Identifier: MIT
"""What the figures were measured on; without it they say nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import tempfile
from pathlib import Path

from fieldcam.bench.counters import device_of

CPUINFO = Path("/proc/cpuinfo")
DEVICE_TREE_MODEL = Path("/proc/device-tree/model")  # a Pi names itself here
MEMINFO = Path("/proc/meminfo")


def facts() -> dict[str, str | int | float]:
    """Return what is known of this machine."""
    device = device_of(Path(tempfile.gettempdir()))
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "architecture": platform.machine(),
        "memory_mb": _memory_mb(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "disk": device.name if device else "none (overlay, tmpfs or network)",
        "load_before": round(os.getloadavg()[0], 2),
    }


def version() -> str:
    """Return the version of fieldcam that is measured."""
    return importlib.metadata.version("fieldcam")


def _processor() -> str:
    try:
        return DEVICE_TREE_MODEL.read_text(encoding="utf-8").rstrip("\0")
    except OSError:
        pass
    for line in CPUINFO.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown"


def _memory_mb() -> int:
    for line in MEMINFO.read_text(encoding="ascii").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return 0

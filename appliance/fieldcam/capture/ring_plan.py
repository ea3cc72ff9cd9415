# SPDX-License-Identifier: MIT
"""Whether this machine keeps decoded frames in RAM, and in how much of it: a pure decision.

A decoded frame of 12 million pixels takes 37 MB, eight times its JPEG, and the ring needs a few of them. So a board
with little memory goes without: consumers decode the files, each for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fieldcam.core.config import Config

MEMINFO = Path("/proc/meminfo")
AUTO_FROM_BYTES = 3 * 2**30
RAM_SHARE = 0.12
MOST_BYTES = 512_000_000


@dataclass(frozen=True, slots=True)
class RingPlan:
    """What was decided.

    Attributes:
        why_off: why there is no ring; empty when there is to be one.
        is_required: the operator asked for it, so that being without is a flaw.
        max_bytes: RAM for the ring of one camera.
    """

    why_off: str
    is_required: bool
    max_bytes: int


def plan_ring(config: Config, ram_bytes: int) -> RingPlan:
    """Decide. The budget is shared by the cameras, each of which has a ring of its own.

    Args:
        config: `ring`, `ring_max_bytes` and the number of cameras count.
        ram_bytes: of the machine; 0 = not known.
    """
    budget = config.ring_max_bytes or min(MOST_BYTES, int(RAM_SHARE * (ram_bytes or 2**30)))
    if config.ring == "off":
        why_off = "as configured"
    elif config.ring == "auto" and ram_bytes < AUTO_FROM_BYTES:
        has = f"has {ram_bytes / 2**30:.1f} GiB of RAM" if ram_bytes else "does not say how much RAM it has"
        why_off = f'the machine {has}, ring = "auto" wants {AUTO_FROM_BYTES // 2**30}'
    else:
        why_off = ""
    return RingPlan(why_off, config.ring == "on", budget // len(config.all_cameras))


def total_ram_bytes(meminfo: Path = MEMINFO) -> int:
    """Return how much RAM the machine has; 0 when it does not say."""
    try:
        for line in meminfo.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "MemTotal":
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0

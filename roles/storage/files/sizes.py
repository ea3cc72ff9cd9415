# SPDX-License-Identifier: MIT
"""Reckon how much RAM the hand-off area and the ring may take, from the memory of the machine.

Run on the host by tasks/preflight.yml with the host's own Python and nothing installed: settings come as JSON in the
first argument, sizes and problems go out as JSON. Changes nothing.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

SIZE = re.compile(r"(\d{1,15})([kmg%]?)", re.IGNORECASE)
MIB = 2**20
ROUND_TO = 16 * MIB  # so that a few pages more or less of RAM do not change the size
# As the program reckons: store/space.py and capture/ring_plan.py.
LIVE_RAM_SHARE = 0.15
RING_RAM_SHARE = 0.12
RING_MOST_BYTES = 512_000_000
RING_AUTO_FROM_BYTES = 3 * 2**30


def main() -> int:
    """Print sizes and problems as one JSON object."""
    asked = json.loads(sys.argv[1])
    ram = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    sizes = wanted_sizes(asked, ram)
    print(json.dumps({"problems": list(size_problems(asked, sizes, ram)), "sizes": sizes}))
    return 0


def in_bytes(text: str, ram: int) -> int | None:
    """Return a size as bytes; None when it is no size."""
    match = SIZE.fullmatch(text.strip())
    if not match:
        return None
    number, unit = int(match[1]), match[2].lower()
    return ram * number // 100 if unit == "%" else number * {"": 1, "k": 2**10, "m": MIB, "g": 2**30}[unit]


def live_bytes(asked: dict[str, Any], ram: int) -> int:
    """Return what live/ of all cameras may take."""
    return int((asked["live_max_bytes"] or ram * LIVE_RAM_SHARE) * asked["cameras"])


def ring_bytes(asked: dict[str, Any], ram: int) -> int:
    """Return the budget of the ring; 0 where there is none."""
    if asked["ring"] == "off" or (asked["ring"] == "auto" and ram < RING_AUTO_FROM_BYTES):
        return 0
    return int(asked["ring_max_bytes"] or min(RING_MOST_BYTES, ram * RING_RAM_SHARE))


def rounded(size: float) -> int:
    """Round up to a whole number of steps."""
    return int(-(-size // ROUND_TO) * ROUND_TO)


def wanted_sizes(asked: dict[str, Any], ram: int) -> dict[str, int]:
    """Return the sizes of both tmpfs in bytes, whole pages."""
    page = os.sysconf("SC_PAGE_SIZE")
    ring = ring_bytes(asked, ram)
    # Besides frames there are sidecars, a catalog, and results of consumers.
    capture = in_bytes(asked["capture_size"], ram) or rounded(live_bytes(asked, ram) * 1.25 + 64 * MIB)
    ring_size = in_bytes(asked["ring_size"], ram) or (rounded(ring * 17 / 16 + MIB) if ring else MIB)
    sizes = {"ring": -(-ring_size // page) * page}
    if asked["in_ram"]:
        sizes["capture"] = -(-capture // page) * page
    return sizes


def size_problems(asked: dict[str, Any], sizes: dict[str, int], ram: int) -> Iterator[str]:
    """Yield sizes that are none, too small for what goes in, or too large for the machine."""
    for key in ("capture_size", "ring_size"):
        if asked[key] and not in_bytes(asked[key], ram):
            yield f"storage_{key}: {asked[key]!r} is no size: give a number with % k m g behind, or bytes"
            return
    needed = {"capture": live_bytes(asked, ram), "ring": ring_bytes(asked, ram)}
    smaller = {"capture": "appliance_live_max_bytes", "ring": "appliance_ring_max_bytes"}
    for name, size in sizes.items():
        if size < needed[name]:
            yield (
                f"storage_{name}_size: {megabytes(size)} is less than the {megabytes(needed[name])} that go there: "
                f"make it larger, or {smaller[name]} smaller"
            )
    total, limit = sum(sizes.values()), ram * asked["ram_share_max"] // 100
    if total > limit:
        parts = " and ".join(f"storage_{name}_size {megabytes(size)}" for name, size in sizes.items())
        yield (
            f"{parts} are more than {asked['ram_share_max']} % of the {megabytes(ram)} of RAM, and programs "
            "would be killed when both are full: make them or appliance_live_max_bytes smaller (storage_ram_share_max)"
        )


def megabytes(size: float) -> str:
    """Return a size for a person."""
    return f"{size / 1e6:.0f} MB"


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""Stop an appliance: its supervisord, which stops its programs in order, and whatever was left without one.

    stop.py CONFIG     CONFIG is the fieldcam.toml of the appliance, a name that tells appliances apart

Then nothing of it is left in RAM: decoded frames of a capture process that was killed are removed.

Processes are known by their environment, which only a deployment sets so: neither a pid file that is out of date nor
a shell where that name is exported is ever taken for one. Succeeds when nothing runs. Needs nothing installed.
"""

from __future__ import annotations

import os
import re
import select
import signal
import stat
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

# supervisord stops its programs one priority after the other, each within stopwaitsecs (10) before it kills.
PATIENCE_SECONDS = 45.0
ORPHAN_SECONDS = 12.0
KILL_SECONDS = 5.0
SLOT = re.compile(r"(main|lores)-\d{20}\.slot")


def main() -> int:
    """Stop, say how many processes there were, and return 1 when one would not go."""
    config = sys.argv[1]
    before = dict(processes(config))
    supervisors = [pid for pid, environment in before.items() if "SUPERVISOR_ENABLED" not in environment]
    # First those who would start others again, then those that have no one left, then without asking.
    end(supervisors, signal.SIGTERM, PATIENCE_SECONDS)
    end(list(dict(processes(config))), signal.SIGTERM, ORPHAN_SECONDS)
    end(list(dict(processes(config))), signal.SIGKILL, KILL_SECONDS)
    left = dict(processes(config))
    if left:
        print(f"still running: {', '.join(map(str, left))}", file=sys.stderr)
        return 1
    print(f"stopped: {len(before)} processes of {config}" if before else f"nothing was running of {config}")
    for slot in slots(config):
        slot.unlink(missing_ok=True)
    return 0


def slots(config: str) -> Iterator[Path]:
    """Yield what is left of decoded frames: files of the folder's owner that have the names of slots."""
    try:
        folder = Path(tomllib.loads(Path(config).read_text(encoding="utf-8"))["ring_dir"])
        owner = folder.stat().st_uid
        for camera in (folder, *folder.glob("cameras/*")):
            for path in list(camera.iterdir()):
                facts = path.lstat()
                if SLOT.fullmatch(path.name) and stat.S_ISREG(facts.st_mode) and facts.st_uid == owner:
                    yield path
    except (OSError, ValueError, KeyError, TypeError):
        return  # no configuration, no ring, or somebody else's


def processes(config: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield pid and environment of every process that a deployment of this configuration started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            raw = (folder / "environ").read_bytes().decode(errors="surrogateescape")
        except OSError:
            continue
        environment = dict(line.split("=", 1) for line in raw.split("\0") if "=" in line)
        # Older releases had one name for it only.
        ours = environment.get("APPLIANCE_CONFIG") or environment.get("FIELDCAM_CONFIG")
        if ours == config and "APPLIANCE_REVISION" in environment:
            yield int(folder.name), environment


def end(pids: list[int], number: signal.Signals, seconds: float) -> None:
    """Send a signal to processes and wait until all of them have ended, at most so long."""
    descriptors = []
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
            descriptors.append(descriptor)
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            continue
    until = time.monotonic() + seconds
    for descriptor in descriptors:
        select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""Mark a place once, and never where it is not.

Run on the host by tasks/service.yml: JSON comes in the first argument; out goes `marked`, `kept`, or on standard error
why not. No program writes where no marker is, so a marker on the folder below a missing disk would fill the system's
own disk. What was marked is remembered: a place that has lost its marker is not simply marked anew, as then a disk was
emptied, or another one answers to its name, or the mount of an operator is missing.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from pathlib import Path

MARKER = ".fieldcam-volume"


def main() -> int:
    """Mark the place or say why not."""
    asked = json.loads(sys.argv[1])
    place, memory = Path(asked["place"]), Path(asked["memory"])
    if asked["must_be_mount"] and not os.path.ismount(place):
        return refuse(f"{place}: nothing is mounted there, so it was not marked")
    marker = place / MARKER
    known = json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else {}
    if marker.exists():
        try:
            found = json.loads(marker.read_text(encoding="utf-8"))
            kind, identity = str(found["kind"]), str(found["id"])
        except (ValueError, KeyError, TypeError):
            return refuse(f"{marker} is damaged: look at the disk; to mark it anew remove that file")
        if kind != asked["kind"]:
            return refuse(f"{place} is a place of kind {kind!r}, not {asked['kind']!r}: it is another's")
    elif known and known["where"] == asked["where"]:
        return refuse(
            f"{place} was marked as {known['id']} once, and has no marker now: a mount is missing, the disk was "
            f"emptied, or another one answers to its name. If it is to begin anew: sudo rm {memory}"
        )
    else:
        identity = str(uuid.uuid4())
    remembered = {"where": asked["where"], "id": identity}
    is_new = not marker.exists()
    if is_new:
        write(marker, {"id": identity, "kind": asked["kind"]}, asked["uid"], asked["gid"])
    if known != remembered:
        write(memory, remembered, 0, 0)
    print("marked" if is_new or known != remembered else "kept")
    return 0


def refuse(reason: str) -> int:
    """Say why nothing was done."""
    print(reason, file=sys.stderr)
    return 1


def write(path: Path, data: dict[str, str], uid: int, gid: int) -> None:
    """Write a small file as a whole, so that it outlives a power cut."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(data) + "\n")
        os.fchown(stream.fileno(), uid, gid)
        os.fchmod(stream.fileno(), 0o644)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""Lock the folder below a mount point, so that nothing can be written there while the mount is missing.

Run on the host by tasks/configure.yml: JSON comes in the first argument and goes out. Only a folder that nothing is
mounted on is touched: it is made, its lone marker goes (a marker allows programs to write), it belongs to root with
mode 0000, and, where the file system can, not even root can write (chattr +i).
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

MARKER = ".fieldcam-volume"


def main() -> int:
    """Print which folders were changed, and which could not be made immutable."""
    asked = json.loads(sys.argv[1])
    changed, open_to_root = [], []
    for name in asked["folders"]:
        folder = Path(name)
        if os.path.ismount(folder) or is_immutable(folder):
            continue
        # Immutable folders are done; of others only what is not so yet is a change: not every file system can do it.
        if not is_bare(folder):
            changed.append(name)
            if not asked["is_check"]:
                folder.mkdir(mode=0, parents=True, exist_ok=True)
                (folder / MARKER).unlink(missing_ok=True)
                os.chown(folder, 0, 0)
                folder.chmod(0)
        if asked["is_check"]:
            continue
        said = subprocess.run(["chattr", "+i", name], capture_output=True, text=True, check=False)
        if said.returncode:
            open_to_root.append(f"{name} ({said.stderr.strip().rpartition(': ')[2]})")
        elif name not in changed:
            changed.append(name)
    print(json.dumps({"changed": changed, "open_to_root": open_to_root}))
    return 0


def is_bare(folder: Path) -> bool:
    """Return whether the folder is there, empty, and root's alone."""
    try:
        facts = folder.lstat()
    except FileNotFoundError:
        return False
    return (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (0, 0, 0) and not (folder / MARKER).exists()


def is_immutable(folder: Path) -> bool:
    """Return whether chattr +i was done before."""
    said = subprocess.run(["lsattr", "-d", folder], capture_output=True, text=True, check=False)
    return said.returncode == 0 and "i" in said.stdout.split()[0]


if __name__ == "__main__":
    sys.exit(main())

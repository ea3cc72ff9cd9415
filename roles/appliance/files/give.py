# SPDX-License-Identifier: MIT
"""Give what programs of one user left to the users that programs have now.

    give.py PLACES     JSON: a list of {path, user, group, kind}; kind `store` is for the group to write, `own` to read

Run on the host as root, once: when a release that knew no users is replaced. Links are never followed, and other file
systems not entered. Prints how many files and folders were given.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

MODES = {"store": (0o2775, 0o664), "own": (0o2750, 0o640)}


def main(arguments: list[str]) -> int:
    """Give each place, and say how much that was."""
    given = 0
    for place in json.loads(arguments[0]):
        uid, gid = pwd.getpwnam(place["user"]).pw_uid, grp.getgrnam(place["group"]).gr_gid
        folder_mode, file_mode = MODES[place["kind"]]
        for folder, name in entries(place["path"]):
            given += give(folder, name, (uid, gid), folder_mode, file_mode)
    print(f"given: {given}")
    return 0


def entries(path: str) -> Iterator[tuple[int, str]]:
    """Yield everything below a folder, each as an open folder and a name in it."""
    root = Path(path)
    if not root.is_dir() or root.is_symlink():
        return
    device = root.stat().st_dev
    for _, folders, files, descriptor in os.fwalk(path, follow_symlinks=False):
        folders[:] = [name for name in folders if _device(name, descriptor) == device]
        for name in (*folders, *files):
            yield descriptor, name


def _device(name: str, folder: int) -> int:
    return os.stat(name, dir_fd=folder, follow_symlinks=False).st_dev


def give(folder: int, name: str, owner: tuple[int, int], folder_mode: int, file_mode: int) -> int:
    """Give one file or folder; 1 when that changed it. A marker and what is no plain file keep their mode."""
    try:
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        mode = folder_mode if stat.S_ISDIR(facts.st_mode) else file_mode
        changed = (facts.st_uid, facts.st_gid) != owner
        if changed:
            os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(facts.st_mode) or name.startswith(".fieldcam"):
            return int(changed)
        if stat.S_ISDIR(facts.st_mode) or stat.S_ISREG(facts.st_mode):
            changed = changed or stat.S_IMODE(facts.st_mode) != mode
            # Also after chown, which takes the setgid bit away.
            os.chmod(name, mode, dir_fd=folder)
    except FileNotFoundError:
        return 0  # a frame that was rolled out meanwhile
    return int(changed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

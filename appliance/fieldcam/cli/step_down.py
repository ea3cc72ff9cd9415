# SPDX-License-Identifier: MIT
"""A command that root runs becomes the user whose data it touches: `sudo fieldcam …` leaves no file of root's behind.

On a deployed host each process has a user of its own. A catalog, a lock or a journal that belonged to root would keep
its process out.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

UMASK = 0o002  # the store's group writes, everybody behind the gate folder reads


def step_down(folder: Path) -> None:
    """Become the owner of a folder, when this is root and the folder is somebody else's."""
    if os.geteuid() != 0:
        return
    try:
        owner = folder.stat()
    except FileNotFoundError:
        return
    if owner.st_uid == 0:
        return
    try:
        entry = pwd.getpwuid(owner.st_uid)
    except KeyError:
        os.setgroups([])
        os.setgid(owner.st_gid)
    else:
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
    os.setuid(owner.st_uid)
    os.umask(UMASK)

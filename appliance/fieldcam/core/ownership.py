# SPDX-License-Identifier: MIT
"""One owner per thing: a lock on a file in `run_dir`, freed by the kernel when its holder dies, however it dies.

A lock can be taken by whoever may read its file. So the file belongs to the primary group of its process and not to
that of the folder: the group of the store in which capture and manager look at each other's, and nobody else.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fieldcam.core.durable import OWN_FILE_MODE, OWN_FOLDER_MODE, make_folder, storage_errors
from fieldcam.core.errors import CameraInUseError


@contextmanager
def owned(lock_file: Path, what: str) -> Iterator[None]:
    """Hold the lock while the block runs.

    Raises:
        CameraInUseError: another process holds it; the message names its pid.
    """
    make_folder(lock_file.parent, OWN_FOLDER_MODE)
    with storage_errors(lock_file):
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, OWN_FILE_MODE)
    try:
        _keep_to_own_group(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise CameraInUseError(f"{what} belongs to another process (pid {pid})", pid=pid) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
        yield
    finally:
        os.close(descriptor)


def is_owned(lock_file: Path) -> bool:
    """Return whether a living process holds the lock; True when this process may not know (nor take it, then)."""
    try:
        descriptor = os.open(lock_file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except PermissionError:
        return True
    except OSError:
        return False
    try:
        # A shared lock is enough to ask: it fails while the owner has its exclusive one.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _keep_to_own_group(descriptor: int) -> None:
    facts = os.fstat(descriptor)
    if facts.st_uid == os.geteuid() and (facts.st_gid, facts.st_mode & 0o777) != (os.getegid(), OWN_FILE_MODE):
        os.fchown(descriptor, -1, os.getegid())
        os.fchmod(descriptor, OWN_FILE_MODE)

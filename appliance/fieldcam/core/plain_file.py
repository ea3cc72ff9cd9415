# SPDX-License-Identifier: MIT
"""Reading a file that somebody else may have put where it is."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_plain_file(path: str | Path, limit: int, *, folder: int | None = None) -> bytes:
    """Read a file that a stranger may have put there: no link is followed, nothing but a plain file is waited for.

    Args:
        path: the file; relative to `folder` when that is given.
        limit: bytes it may have.
        folder: descriptor of an open folder.

    Raises:
        ValueError: it is no plain file, or larger.
        OSError: it cannot be opened or read; a link is ELOOP.
    """
    # O_NONBLOCK: opening a pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=folder)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("no plain file")
        if facts.st_size > limit:
            raise ValueError(f"larger than {limit} bytes")
        found = b""
        while len(found) <= limit and (part := os.read(descriptor, limit + 1 - len(found))):
            found += part
    finally:
        os.close(descriptor)
    if len(found) > limit:
        raise ValueError(f"larger than {limit} bytes")
    return found

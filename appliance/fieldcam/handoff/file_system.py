# SPDX-License-Identifier: MIT
"""On what kind of file system a folder is: statfs(2) tells, and Python has no call for that part of its answer."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

# The numbers are those of statfs(2).
IN_RAM = frozenset({0x01021994, 0x858458F6})  # tmpfs, ramfs
# File systems whose files change without this kernel being told, so that inotify is silent.
WITHOUT_NOTICE = frozenset(
    {
        0x6969,  # NFS
        0xFF534D42,  # CIFS
        0xFE534D42,  # SMB2
        0x517B,  # SMB
        0x65735546,  # FUSE, virtiofs
        0x794C7630,  # overlayfs: changes in the lower layer are not told
        0x01021997,  # 9p
        0x00C36400,  # Ceph
        0x5346414F,  # AFS
        0x6B414653,  # kAFS
        0x01161970,  # GFS2
        0x7461636F,  # OCFS2
        0x786F4256,  # shared folders of VirtualBox
    }
)
_TYPE_MASK = 0xFFFFFFFF  # f_type is a long, and 32 bits of it are used


def file_system_type(folder: Path) -> int:
    """Return the kind of file system.

    Raises:
        OSError: the folder is missing, or may not be looked at.
    """
    buffer = ctypes.create_string_buffer(256)  # struct statfs: f_type comes first
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(folder), buffer) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(folder))
    return int(ctypes.c_long.from_buffer(buffer).value) & _TYPE_MASK

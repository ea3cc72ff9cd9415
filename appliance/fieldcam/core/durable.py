# SPDX-License-Identifier: MIT
"""Writing files so that neither a kill nor a power cut leaves half of one. Only this module does it.

A durable write is: temporary file in the target folder, fsync, rename without overwriting, fsync of the folder. What
is promised after `publish` returned with `durable=True`: the file is there, whole, under its name, after a power cut.
What is not promised: anything about a disk that lies about having flushed, and anything about a file whose fsync
failed (a second fsync may report success although the data is gone, so the frame is discarded instead).

Temporary files start with a dot and end in `.tmp`; those of a killed process are removed by `remove_leftovers`.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fieldcam.core.errors import NameTakenError, SharedVolumeError, StorageFullError, StorageUnavailableError

TEMPORARY_PREFIX = "."
TEMPORARY_SUFFIX = ".tmp"
# In the two places: the group of the store writes, others behind the gate folder read. New folders get the setgid bit
# from the one above; asking for it is what a sandbox refuses.
FILE_MODE = 0o664
FOLDER_MODE = 0o775
# In run_dir and state_dir: one process writes, the group of the folder reads. Whoever could write a heartbeat or
# settings, too, could pretend to be that process.
OWN_FILE_MODE = 0o640
OWN_FOLDER_MODE = 0o750

_RENAME_NOREPLACE = 1
_FULL = {errno.ENOSPC, errno.EDQUOT}
_GONE = {errno.EIO, errno.EROFS, errno.ENODEV, errno.ENOENT, errno.ESTALE, errno.EACCES, errno.EPERM, errno.ENOTCONN}
_libc = ctypes.CDLL(None, use_errno=True)
_counter = itertools.count()
# A board may give a process the same pid at every boot, and a power cut may have left a file of that name.
_run = secrets.token_hex(4)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the kernel says about a disk into an error that says what to do."""
    try:
        yield
    except OSError as error:
        reason = f"{path}: {error.strerror or error}"
        if error.errno in _FULL:
            raise StorageFullError(f"no space left: {reason}", path=str(path)) from error
        if error.errno in _GONE:
            raise StorageUnavailableError(f"cannot be written: {reason}", path=str(path)) from error
        raise SharedVolumeError(reason, path=str(path)) from error


def make_folder(path: Path, mode: int = FOLDER_MODE) -> None:
    """Make a folder and those above it, so that they survive a power cut. Nothing happens when it is there."""
    with storage_errors(path):
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=mode, exist_ok=True)
            sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_temporary(
    folder: Path, name: str, data: bytes, *, durable: bool, mtime_ns: int | None = None, mode: int = FILE_MODE
) -> Path:
    """Write a new temporary file next to where `name` will be; nothing is left when that fails."""
    temporary = folder / f"{TEMPORARY_PREFIX}{name}.{os.getpid()}-{_run}-{next(_counter)}{TEMPORARY_SUFFIX}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if mtime_ns is not None:
                os.utime(descriptor, ns=(mtime_ns, mtime_ns))
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    return temporary


def rename_without_overwriting(source: Path, target: Path) -> None:
    """Rename `source` to `target` in one step; an existing target is left alone.

    Raises:
        NameTakenError: the target exists.
        OSError: anything else the kernel says.
    """
    result = _libc.renameat2(-100, os.fsencode(source), -100, os.fsencode(target), _RENAME_NOREPLACE)
    if result == 0:
        return
    code = ctypes.get_errno()
    if code in {errno.EINVAL, errno.ENOSYS}:
        # A file system without RENAME_NOREPLACE (NFS): a hard link refuses an existing name just as well.
        try:
            os.link(source, target, follow_symlinks=False)
        except FileExistsError:
            code = errno.EEXIST
        else:
            # The name is there, so this has succeeded; a source that stays is a leftover.
            with suppress(OSError):
                source.unlink()
            return
    if code == errno.EEXIST:
        raise NameTakenError(f"{target} exists already", path=str(target))
    raise OSError(code, os.strerror(code), str(target))


def publish(files: list[tuple[Path, bytes]], *, durable: bool, mtime_ns: int | None = None) -> None:
    """Make several files visible one after another; the last is the one that counts.

    All data is on disk before the first name appears, and each name is on disk before the next appears. So whoever
    sees the last file finds the others, whole, whatever happens in between.

    Raises:
        NameTakenError: one of the names exists; none of the files is visible then.
        StorageFullError, StorageUnavailableError, SharedVolumeError: the disk said no; none of the files is visible.
    """
    temporaries: list[Path] = []
    visible: list[Path] = []
    with storage_errors(files[-1][0]):
        try:
            for target, data in files:
                temporaries.append(
                    write_temporary(target.parent, target.name, data, durable=durable, mtime_ns=mtime_ns)
                )
            for temporary, (target, _) in zip(temporaries, files, strict=True):
                rename_without_overwriting(temporary, target)
                visible.append(target)
                if durable:
                    sync_folder(target.parent)
        except BaseException:
            for path in (*reversed(visible), *temporaries):
                with suppress(OSError):
                    path.unlink()
            raise


def replace_file(path: Path, data: bytes, *, durable: bool, mode: int = FILE_MODE) -> None:
    """Replace the content of a small file in one step: readers see the old or the new, never a mixture."""
    with storage_errors(path):
        temporary = write_temporary(path.parent, path.name, data, durable=durable, mode=mode)
        try:
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        if durable:
            sync_folder(path.parent)


def rehearse(folder: Path, name: str, data: bytes) -> None:
    """Write a file durably and remove it: a file of that size could be published there now.

    Raises:
        StorageFullError, StorageUnavailableError, SharedVolumeError: the disk said no.
    """
    with storage_errors(folder):
        write_temporary(folder, name, data, durable=True).unlink()


def remove_leftovers(folder: Path, name: str = "") -> int:
    """Remove temporary files that a killed process left; return how many.

    Args:
        folder: where; without a name the caller must own all of it.
        name: what the files were to be called, or how that begins; where others write, too, their files stay.
    """
    removed = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(TEMPORARY_PREFIX + name) and entry.name.endswith(TEMPORARY_SUFFIX):
                Path(entry.path).unlink(missing_ok=True)
                removed += 1
    return removed

# SPDX-License-Identifier: MIT
"""Looking into the folders of consumers, each of which belongs to a program that nobody here trusts.

A folder is opened once, without following a link, and everything in it is done relative to that descriptor: so nobody
can exchange a folder or put a link in the way between two steps. Only plain files are opened; a pipe would make the
manager wait, a link would make it read and delete what the consumer cannot. Everything has a bound: how many entries
are looked at, how many bytes are read, how much is kept.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fieldcam.core.names import SERVICE_NAME
from fieldcam.core.plain_file import read_plain_file
from fieldcam.core.result import BEAT_NAME, MAX_BEAT_BYTES, MAX_RESULT_BYTES, RESULT_NAME, Beat, Result

MAX_SERVICES = 64
MAX_LISTED = 30_000
MAX_REJECTED = 20
REJECTED_SUFFIX = ".rejected"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What tells a file from another that took its name."""

    inode: int
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class FoundResult:
    """A result and the file it is in."""

    name: str
    identity: FileIdentity
    result: Result


class RejectedError(Exception):
    """A file is no result; the message says why."""


def services_in(results_dir: Path) -> list[str]:
    """Return the consumers that have a folder, configured or not; at most `MAX_SERVICES`.

    Raises:
        OSError: the folder of folders is there and cannot be read.
    """
    try:
        with os.scandir(results_dir) as entries:
            found = [
                entry.name
                for entry in entries
                if SERVICE_NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return []
    return sorted(found)[:MAX_SERVICES]


@contextmanager
def opened(results_dir: Path, service: str) -> Iterator[ResultFolder]:
    """Open the folder of a consumer.

    Raises:
        OSError: it is not there, is a link, or may not be read.
    """
    descriptor = os.open(results_dir / service, _FOLDER)
    try:
        yield ResultFolder(descriptor, service)
    finally:
        os.close(descriptor)


def read_beat(results_dir: Path, service: str) -> Beat | None:
    """Return the last sign of life of a consumer; None when there is none that can be believed."""
    try:
        with opened(results_dir, service) as folder:
            beat = Beat.from_json(read_plain_file(BEAT_NAME, MAX_BEAT_BYTES, folder=folder.descriptor))
    except (OSError, ValueError):
        return None
    return beat if beat.service == service else None


class ResultFolder:
    """The open folder of one consumer.

    Args:
        descriptor: of the folder; closed by whoever opened it.
        service: whose it is.
    """

    def __init__(self, descriptor: int, service: str) -> None:
        self.descriptor = descriptor
        self.service = service

    def is_writable(self) -> bool:
        """Return whether files can be taken away."""
        return os.access(".", os.W_OK | os.X_OK, dir_fd=self.descriptor, effective_ids=True)

    def names(self) -> list[str]:
        """Return the names of results, oldest first. Folders are not looked at: nobody can say what is in them.

        Raises:
            OSError: the folder cannot be read.
        """
        return self._listed(lambda name: RESULT_NAME.fullmatch(name) is not None)

    def read(self, name: str) -> FoundResult:
        """Read one result.

        Raises:
            RejectedError: it is none, or somebody else's.
            FileNotFoundError: it is not there any more.
            OSError: the disk failed.
        """
        facts = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        if not stat.S_ISREG(facts.st_mode):
            raise RejectedError("no plain file")
        try:
            result = Result.from_json(read_plain_file(name, MAX_RESULT_BYTES, folder=self.descriptor))
        except ValueError as error:
            raise RejectedError(str(error)) from None
        except PermissionError:
            raise RejectedError("the manager may not read it") from None
        if result.service != self.service:
            raise RejectedError(f"it speaks of service {result.service}")
        return FoundResult(name, _identity(facts), result)

    def remove(self, found: FoundResult) -> None:
        """Remove a result that was dealt with; one that took its name meanwhile stays.

        Raises:
            OSError: it is there and cannot be removed.
        """
        with suppress(FileNotFoundError):
            facts = os.stat(found.name, dir_fd=self.descriptor, follow_symlinks=False)
            if _identity(facts) == found.identity:
                os.unlink(found.name, dir_fd=self.descriptor)

    def drop(self, name: str) -> None:
        """Remove a result without reading it.

        Raises:
            OSError: it is there and cannot be removed.
        """
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def put_aside(self, name: str) -> None:
        """Rename what is no result, so that it is not looked at again; the newest few by name are kept.

        Raises:
            OSError: neither renaming nor removing worked.
        """
        try:
            # Overwriting an older one of that name is meant; a link is renamed, not followed.
            os.replace(name, name + REJECTED_SUFFIX, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        except FileNotFoundError:
            return
        except OSError:  # a folder has that name
            self.drop(name)

    def prune_rejected(self) -> None:
        """Keep only the newest of what was put aside.

        Raises:
            OSError: the folder cannot be read.
        """
        aside = self._listed(lambda name: name.startswith("result_") and name.endswith(REJECTED_SUFFIX))
        for name in aside[: max(0, len(aside) - MAX_REJECTED)]:
            with suppress(OSError):
                os.unlink(name, dir_fd=self.descriptor)

    def _listed(self, wanted: Callable[[str], bool]) -> list[str]:
        found = []
        with os.scandir(self.descriptor) as entries:
            for number, entry in enumerate(entries):
                if number >= MAX_LISTED:
                    break
                if wanted(entry.name) and not entry.is_dir(follow_symlinks=False):
                    found.append(entry.name)
        return sorted(found)


def _identity(facts: os.stat_result) -> FileIdentity:
    return FileIdentity(facts.st_ino, facts.st_size, facts.st_mtime_ns)

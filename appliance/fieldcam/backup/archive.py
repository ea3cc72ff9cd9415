# SPDX-License-Identifier: MIT
"""The file of a backup: a compressed tar with the digest of everything in it, and a digest of itself beside it.

It holds secrets, so only its owner may read it. Everything is checked before any of it is used.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from fieldcam.backup.contents import DATABASES, Item, is_allowed
from fieldcam.catalog.snapshot import check_soundness, take_snapshot
from fieldcam.core.durable import rename_without_overwriting, replace_file, storage_errors, sync_folder
from fieldcam.core.errors import BackupInvalidError, CatalogError

SCHEMA = 1
MANIFEST = "manifest.json"
DIGEST_SUFFIX = ".sha256"
FILE_MODE = 0o600
MAX_MANIFEST_BYTES = 256 * 1024 * 1024  # a million captures
CHUNK = 1024 * 1024
# Pictures do not shrink; the rest does, and is small.
LEVEL, LEVEL_WITH_CAPTURES = 6, 1


@dataclass(frozen=True, slots=True)
class Kept:
    """One file in a backup; `mode` are its permissions."""

    size: int
    sha256: str
    mode: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself.

    Attributes:
        made_at: RFC 3339 UTC.
        host: name of the machine.
        version: of fieldcam.
        archive_id: of the place with the captures; None when it was not there.
        with_captures: whether pictures are in it.
        files: by name.
    """

    made_at: str
    host: str
    version: str
    archive_id: str | None
    with_captures: bool
    files: Mapping[str, Kept]


def write_archive(target: Path, items: Iterable[Item], facts: Mapping[str, Any], *, with_captures: bool) -> Manifest:
    """Write a backup; it is there as a whole, with its digest, or not at all.

    Args:
        target: the file; it must not be there yet.
        items: what goes in.
        facts: `made_at`, `host`, `version` and `archive_id` of the manifest.
        with_captures: whether pictures are among the items.

    Raises:
        NameTakenError: the file is there.
        CatalogError, CatalogUnavailableError: a database cannot be read or is damaged.
        StorageFullError, StorageUnavailableError: the disk said no.
    """
    with storage_errors(target), tempfile.TemporaryDirectory(prefix=".backup-", dir=target.parent) as scratch:
        temporary = Path(scratch) / "archive"
        files: dict[str, Kept] = {}
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        level = LEVEL_WITH_CAPTURES if with_captures else LEVEL
        with (
            os.fdopen(descriptor, "wb") as stream,
            tarfile.open(fileobj=stream, mode="w:gz", compresslevel=level) as tar,
        ):
            for item in items:
                kept = _add(tar, item, Path(scratch) / "snapshot")
                if kept is not None:
                    files[item.name] = kept
            manifest = Manifest(**facts, with_captures=with_captures, files=files)
            _add_bytes(tar, MANIFEST, json.dumps({"schema": SCHEMA, **asdict(manifest)}, indent=1).encode())
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
            digest = hashlib.file_digest(written, "sha256").hexdigest()
        rename_without_overwriting(temporary, target)
        # As sha256sum -c reads it.
        replace_file(digest_file(target), f"{digest}  {target.name}\n".encode(), durable=True, mode=FILE_MODE)
        sync_folder(target.parent)
    return manifest


def digest_file(archive: Path) -> Path:
    """Return where the digest of a backup is."""
    return archive.with_name(archive.name + DIGEST_SUFFIX)


def read_archive(archive: Path) -> Manifest:
    """Check all of a backup: its own digest where that is beside it, every file, every database.

    Raises:
        BackupInvalidError: something is not as it was when the backup was made.
    """
    _check_digest(archive)
    found: dict[str, Kept] = {}
    raw: bytes | None = None
    with tempfile.TemporaryDirectory(prefix="fieldcam-backup-") as scratch, reading(archive) as members:
        for member in members:
            if member.name == MANIFEST:
                raw = member.stream.read(MAX_MANIFEST_BYTES)
                continue
            if member.name in DATABASES:
                database = Path(scratch) / "database"
                with database.open("wb") as copy:
                    size, sha256 = copy_stream(member.stream, copy)
                _check_database(archive, member.name, database)
            else:
                size, sha256 = copy_stream(member.stream, None)
            found[member.name] = Kept(size, sha256, member.mode)
    if raw is None:
        raise BackupInvalidError(f"{archive} has no manifest: it is no backup, or was cut short", path=str(archive))
    manifest = _parse(archive, raw)
    if found != dict(manifest.files):
        names = {*found, *manifest.files}
        wrong = sorted(name for name in names if found.get(name) != manifest.files.get(name))
        raise BackupInvalidError(f"{archive}: not as it was made: {', '.join(wrong[:5])}", path=str(archive))
    return manifest


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a backup as it is read; `stream` holds until the next one is asked for."""

    name: str
    mode: int
    mtime_ns: int
    stream: IO[bytes]


@contextmanager
def reading(archive: Path) -> Iterator[Iterator[Member]]:
    """Give everything in a backup, one after another.

    Raises:
        BackupInvalidError: it cannot be read, or has something in it that no backup has.
    """
    try:
        archive.stat()
    except OSError as error:
        raise BackupInvalidError(f"{archive} cannot be read: {error.strerror}", path=str(archive)) from error
    try:
        with tarfile.open(archive, mode="r|gz") as tar:
            yield _members(archive, tar)
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise BackupInvalidError(f"{archive} cannot be read: {error}", path=str(archive)) from error


def _members(archive: Path, tar: tarfile.TarFile) -> Iterator[Member]:
    for info in tar:
        stream = tar.extractfile(info) if info.isreg() else None
        if stream is None or not (is_allowed(info.name) or info.name == MANIFEST):
            raise BackupInvalidError(f"{archive}: {info.name!r} belongs into no backup", path=str(archive))
        yield Member(info.name, info.mode & 0o777, round(info.mtime * 1e9), stream)


def _check_digest(archive: Path) -> None:
    beside = digest_file(archive)
    try:
        told = beside.read_text(encoding="ascii").split()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise BackupInvalidError(f"{beside} cannot be read: {error}", path=str(beside)) from error
    try:
        with archive.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BackupInvalidError(f"{archive} cannot be read: {error.strerror}", path=str(archive)) from error
    if told[:1] != [digest]:
        raise BackupInvalidError(f"{archive} is not what {beside.name} says: copy it again", path=str(archive))


def _check_database(archive: Path, name: str, copy: Path) -> None:
    try:
        check_soundness(copy)
    except CatalogError as error:
        raise BackupInvalidError(f"{archive}: {name}: {error.message}", path=str(archive)) from error


def _parse(archive: Path, raw: bytes) -> Manifest:
    try:
        told = json.loads(raw)
        if told.pop("schema") != SCHEMA:
            raise BackupInvalidError(f"{archive} was made by a newer fieldcam", path=str(archive))
        files = {str(name): Kept(**kept) for name, kept in told.pop("files").items()}
        return Manifest(**told, files=files)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupInvalidError(f"{archive}: its manifest cannot be read: {error}", path=str(archive)) from error


def _add(tar: tarfile.TarFile, item: Item, snapshot: Path) -> Kept | None:
    """Add a file; one that vanished meanwhile is left out."""
    source = item.path
    if item.kind == "database":
        take_snapshot(item.path, snapshot)
        source = snapshot
    try:
        stream = _open(source)
    except FileNotFoundError:
        return None
    with stream:
        mode = item.path.stat().st_mode & 0o777
        if item.kind == "file":  # small, and may be replaced by another while it is read
            kept = _add_bytes(tar, item.name, stream.read(), mode)
        else:
            kept = _add_stream(tar, item.name, stream, mode)
    with suppress(FileNotFoundError):
        snapshot.unlink()
    return kept


def _open(path: Path) -> io.BufferedReader:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes, mode: int = FILE_MODE) -> Kept:
    tar.addfile(_info(name, len(data), mode), io.BytesIO(data))
    return Kept(len(data), hashlib.sha256(data).hexdigest(), mode)


def _add_stream(tar: tarfile.TarFile, name: str, stream: io.BufferedReader, mode: int) -> Kept:
    facts = os.fstat(stream.fileno())
    sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    stream.seek(0)
    info = _info(name, facts.st_size, mode)
    info.mtime = facts.st_mtime  # of a picture: when it was taken
    tar.addfile(info, stream)
    return Kept(facts.st_size, sha256, mode)


def _info(name: str, size: int, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, mode
    return info


def copy_stream(stream: IO[bytes], target: IO[bytes] | None) -> tuple[int, str]:
    """Read a stream to its end, into a file where one is given; return how many bytes there were, and their digest."""
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
        if target is not None:
            target.write(chunk)
    return size, digest.hexdigest()

# SPDX-License-Identifier: MIT
"""A backup back into a stopped appliance. Nothing is touched before all of it was checked.

What is on the disk and newer is never lost: captures that are there stay, a sound catalog of the same archive stays,
counters of ids never go back, and databases that are replaced are set aside.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from fieldcam.backup.archive import MANIFEST, Manifest, Member, copy_stream, read_archive, reading
from fieldcam.backup.contents import DATABASES, place_of
from fieldcam.catalog.connect import SIDE_FILES
from fieldcam.catalog.snapshot import check_soundness
from fieldcam.core.clock import Clock, rfc3339
from fieldcam.core.config import Config
from fieldcam.core.durable import make_folder, rename_without_overwriting, storage_errors, sync_folder
from fieldcam.core.errors import BackupInvalidError, CameraInUseError, CatalogError, StorageUnavailableError
from fieldcam.core.ownership import is_owned
from fieldcam.store.volume import Volume

Done = Literal["restored", "kept", "left out"]

# Ids that were given after the backup was made are not given again on another disk.
IDS_LEFT_FREE = 2**20
FOLDER_MODE = 0o750
MAX_IDENTITY_BYTES = 65_536
WHAT_STOPS = "stop it first (systemctl stop fieldcam.service, or make down)"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file, or of all captures."""

    name: str
    done: Done
    why: str = ""


def restore(
    archive: Path,
    config: Config,
    config_dir: Path | None,
    clock: Clock,
    *,
    with_captures: bool,
    into_other_archive: bool,
) -> list[Outcome]:
    """Put a backup back.

    Args:
        archive: the file.
        config: of the appliance as it is deployed now.
        config_dir: where its secrets belong; None = they stay as they are.
        clock: names what is set aside.
        with_captures: pictures that are missing, too.
        into_other_archive: the place of the captures is another one than when the backup was made, and that is meant.

    Raises:
        BackupInvalidError: the file is damaged, or of another archive.
        CameraInUseError: the appliance runs.
        StorageUnavailableError, StorageFullError: a place is missing, or full.
    """
    _make_sure_that_nothing_runs(config)
    manifest = read_archive(archive)
    is_same = _compare_places(manifest, config, into_other_archive=into_other_archive)
    job = _Restore(config, config_dir, clock, is_same_archive=is_same, with_captures=with_captures)
    with reading(archive) as members:
        for member in members:
            if member.name != MANIFEST:
                job.take(member)
    return job.outcomes()


class _Restore:
    """One pass over a backup."""

    def __init__(
        self, config: Config, config_dir: Path | None, clock: Clock, *, is_same_archive: bool, with_captures: bool
    ) -> None:
        self._config = config
        self._config_dir = config_dir
        self._is_same_archive = is_same_archive
        self._with_captures = with_captures
        self._stamp = rfc3339(clock.wall_ns())[:19].replace("-", "").replace(":", "") + "Z"
        self._done: list[Outcome] = []
        self._captures = {"restored": 0, "kept": 0, "left out": 0}

    def outcomes(self) -> list[Outcome]:
        """Return what became of everything."""
        counted = [f"{count} {done}" for done, count in self._captures.items() if count]
        captures = [Outcome("captures", "restored", ", ".join(counted))] if counted else []
        return [*self._done, *captures]

    def take(self, member: Member) -> None:
        """Put one file where it belongs, or say why not."""
        name = member.name
        if name.startswith("captures/"):
            self._captures[self._take_capture(member)] += 1
            return
        place = place_of(name, self._config, self._config_dir)
        if place is None:
            why = "made by deployment" if name.startswith(("config/", "archive/marker")) else "there is no such camera"
            self._done.append(Outcome(name, "left out", why))
        elif name == "archive/catalog.db":
            self._done.append(self._take_catalog(member, place))
        elif name.endswith("/identity.json"):
            self._done.append(self._take_identity(member, place))
        else:
            aside = self._set_aside(place) if name in DATABASES else None
            _put(place, member.mode, member.stream)
            self._done.append(Outcome(name, "restored", f"the one before is {aside.name}" if aside else ""))

    def _take_capture(self, member: Member) -> Done:
        place = place_of(member.name, self._config, self._config_dir)
        if place is None or not self._with_captures:
            return "left out"
        if os.path.lexists(place):
            return "kept"
        _put(place, member.mode, member.stream, mtime_ns=member.mtime_ns)
        return "restored"

    def _take_catalog(self, member: Member, place: Path) -> Outcome:
        name = member.name
        if not self._is_same_archive and not self._with_captures:
            return Outcome(name, "left out", "its pictures are not here; the manager makes one of those that are")
        if place.exists():
            try:
                check_soundness(place)
            except CatalogError:
                pass
            else:
                return Outcome(name, "kept", "the one that is there is sound, and not older")
        aside = self._set_aside(place)
        _put(place, member.mode, member.stream)
        return Outcome(name, "restored", f"the one before is {aside.name}" if aside else "")

    def _take_identity(self, member: Member, place: Path) -> Outcome:
        name = member.name
        try:
            told = json.loads(member.stream.read(MAX_IDENTITY_BYTES))
            next_id = int(told["next_id"])
        except (ValueError, KeyError, TypeError) as error:
            raise BackupInvalidError(f"{name} cannot be read: {error}") from error
        here = _next_id_in(place)
        if here is not None and here >= next_id:
            return Outcome(name, "kept", "the ids given here are higher")
        if not self._is_same_archive:
            told["next_id"] = next_id + IDS_LEFT_FREE
        _put(place, member.mode, json.dumps(told).encode() + b"\n")
        return Outcome(name, "restored")

    def _set_aside(self, place: Path) -> Path | None:
        """Rename a database and its journal; the journal first, so that it never meets another database."""
        aside = place.with_name(f"{place.name}.before-restore.{self._stamp}")
        moved = False
        for suffix in (*SIDE_FILES, ""):
            old = place.with_name(place.name + suffix)
            if os.path.lexists(old):
                with storage_errors(old):
                    rename_without_overwriting(old, aside.with_name(aside.name + suffix))
                moved = True
        return aside if moved else None


def _make_sure_that_nothing_runs(config: Config) -> None:
    layout = config.layout
    locks = {"image-sync-manager": layout.manager_lock}
    locks |= {f"capture of {name}": layout.camera(name).owner_lock for name in config.all_cameras}
    for what, lock in locks.items():
        if is_owned(lock):
            raise CameraInUseError(f"{what} runs: {WHAT_STOPS}")
    with suppress(OSError):
        socket.create_connection((config.host, config.port), timeout=2).close()
        raise CameraInUseError(f"capture-api runs: {WHAT_STOPS}")


def _compare_places(manifest: Manifest, config: Config, *, into_other_archive: bool) -> bool:
    """Return whether the captures are in the place they were in when the backup was made."""
    try:
        here = Volume.open(config.archive_dir, "archive").id
    except StorageUnavailableError as error:
        raise StorageUnavailableError(f"{error.message}. Deploy first: a backup goes into a deployed host") from None
    if here == manifest.archive_id:
        return True
    if not into_other_archive:
        raise BackupInvalidError(
            f"the archive here has the id {here}, that of the backup {manifest.archive_id}: is it the right host and "
            "disk? For a new disk say --into-other-archive"
        )
    return False


def _next_id_in(place: Path) -> int | None:
    try:
        return int(json.loads(place.read_bytes())["next_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _put(place: Path, mode: int, content: IO[bytes] | bytes, *, mtime_ns: int | None = None) -> None:
    """Put a file in place, durably; it belongs to whom the one before, or its folder, belongs."""
    make_folder(place.parent, FOLDER_MODE)
    with storage_errors(place):
        owner = (place if place.exists() else place.parent).stat()
        temporary = place.with_name(f".{place.name}.restored.tmp")
        temporary.unlink(missing_ok=True)
        with _new_file(temporary) as target:
            if isinstance(content, bytes):
                target.write(content)
            else:
                copy_stream(content, target)
            target.flush()
            os.fchmod(target.fileno(), mode)
            if os.geteuid() == 0:
                os.fchown(target.fileno(), owner.st_uid, owner.st_gid)
            if mtime_ns is not None:
                os.utime(target.fileno(), ns=(mtime_ns, mtime_ns))
            os.fsync(target.fileno())
        place.unlink(missing_ok=True)
        rename_without_overwriting(temporary, place)
        sync_folder(place.parent)


def _new_file(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb")

# SPDX-License-Identifier: MIT
"""How a consumer hands over what it found: whole files in the one folder it may write to (docs/results.md).

The folder is the consumer's own mount, `/results` in a container. Nothing else is written: it works on a read-only root
without any right. A file gets its name only when it is whole, names rise, and the manager takes them away in that
order. When nobody takes them the oldest go, so that a consumer never fills a disk while the appliance is away.
"""

from __future__ import annotations

import ctypes
import os
import re
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fieldcam.core.clock import Clock, Instant, SystemClock, rfc3339
from fieldcam.core.durable import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, publish, replace_file, storage_errors
from fieldcam.core.errors import NameTakenError, RequestInvalidError, SharedVolumeError, StorageUnavailableError
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.core.names import SERVICE_NAME
from fieldcam.core.result import BEAT_NAME, MAX_RESULT_BYTES, MAX_WAITING, Beat, Result

_log = get_logger(__name__)
RESULTS_DIR = Path("/results")
RESULTS_ENVIRONMENT = "RESULTS_DIR"
# Every file that changes on a disk wears an SD card out: there a beat is written as rarely as its readers allow.
BEAT_SECONDS_IN_RAM = 1.0
BEAT_SECONDS_ON_DISK = 10.0
LEFTOVER_SECONDS = 3600.0
_NAME_TRIES = 1000
_OWN_NAME = re.compile(r"result_(\d{20})\.json")
_IN_RAM = {0x01021994, 0x858458F6}  # tmpfs, ramfs: statfs(2)


def results_folder(results_dir: str | Path | None = None) -> Path:
    """Return the folder a consumer writes to: the one given, else that of `RESULTS_DIR`, else `/results`."""
    if results_dir is not None:
        return Path(results_dir)
    return Path(os.environ.get(RESULTS_ENVIRONMENT) or RESULTS_DIR)


class ResultWriter:
    """Writes results and signs of life of one consumer. Threads may share it.

    Args:
        service: name of the consumer; the folder on the host has the same.
        results_dir: the folder; None = as the environment variable `RESULTS_DIR` says, else `/results`.
        clock: time.
        max_waiting: results that may wait; beyond it the oldest of this writer's are removed.
        durable: whether a result that `write` returned survives a power cut. False saves a flush for each: only for
            somebody who writes many a second and can do without the last ones.

    Raises:
        RequestInvalidError: the name is not one.
    """

    def __init__(
        self,
        service: str,
        results_dir: str | Path | None = None,
        *,
        clock: Clock | None = None,
        max_waiting: int = MAX_WAITING,
        durable: bool = True,
    ) -> None:
        if SERVICE_NAME.fullmatch(service) is None:
            raise RequestInvalidError(
                f"service is {service[:64]!r}; a name has 1 to 32 of a-z, 0-9 and -, and begins with a letter or digit",
                field="service",
            )
        self._service = service
        self._folder = results_folder(results_dir)
        self._clock = clock or SystemClock()
        self._max_waiting = max(1, max_waiting)
        self._durable = durable
        self._lock = threading.Lock()
        self._last_number = -1
        self._waiting: int | None = None  # not looked yet
        self._dropped = 0
        self._next_beat_ns = 0
        self._uncollected = StateLog(_log, "RESULTS_UNCOLLECTED", service=service)
        self._beat_log = StateLog(_log, "HEARTBEAT_FAILED", service=service)

    @property
    def dropped(self) -> int:
        """How many results of its own it removed because nobody collected them."""
        return self._dropped

    def write(self, data: Mapping[str, Any], *, metadata: Mapping[str, Any] | None = None) -> Path:
        """Hand over one result; return its file, which is whole, and gone as soon as the manager has taken it.

        Args:
            data: what was found; JSON values, NumPy's numbers and arrays are turned into such.
            metadata: that of the frame it is about, as the provider returned it; None = about no frame.

        Raises:
            RequestInvalidError: the data is no JSON object, too large, or has NaN in it.
            StorageFullError: no space; nothing partial is left, and the next write may succeed.
            StorageUnavailableError: the folder is not there, or may not be written.
            SharedVolumeError: the disk said no.
        """
        text = self._result(data, metadata or {}).to_json()
        if len(text) > MAX_RESULT_BYTES:
            raise RequestInvalidError(
                f"a result has at most {MAX_RESULT_BYTES} bytes, this has {len(text)}", field="data"
            )
        with self._lock:
            self._make_room()
            path = self._publish(text)
            self._waiting = (self._waiting or 0) + 1
        return path

    def beat(self, *, force: bool = False, **detail: Any) -> None:
        """Give a sign of life; call it in every round of a loop.

        It is written once a second at most (every ten seconds when the folder is on a disk). That it cannot be written
        is logged once and ends nothing: whoever waits for it will notice.

        Args:
            force: write it now.
            detail: what the consumer wants to say of itself; shown by nobody, but there to look at.

        Raises:
            RequestInvalidError: the detail is no JSON, or too large.
        """
        now = Instant.now(self._clock)
        with self._lock:
            if not force and now.boottime_ns < self._next_beat_ns:
                return
            try:
                beat = Beat(
                    self._service, now.boot_id, now.boottime_ns, rfc3339(now.wall_ns), os.getpid(), _plain(detail)
                )
            except ValueError as error:
                raise RequestInvalidError(str(error), field="detail") from None
            try:
                self._check_folder()
                replace_file(self._folder / BEAT_NAME, beat.to_json(), durable=False)
                seconds = BEAT_SECONDS_IN_RAM if _is_in_ram(self._folder) else BEAT_SECONDS_ON_DISK
            except SharedVolumeError as error:
                self._beat_log.broken(error.message)
                seconds = BEAT_SECONDS_IN_RAM
            else:
                self._beat_log.healed("it is written again")
            self._next_beat_ns = now.boottime_ns + int(seconds * 1e9)

    def _result(self, data: Mapping[str, Any], metadata: Mapping[str, Any]) -> Result:
        now = Instant.now(self._clock)
        try:
            return Result(
                service=self._service,
                camera=metadata.get("camera"),
                at=rfc3339(now.wall_ns),
                boot_id=now.boot_id,
                monotonic_ns=now.boottime_ns,
                data=_plain(data),
                sequence=metadata.get("sequence"),
                filename=metadata.get("filename") or None,
                image_id=metadata.get("id") if metadata.get("kind") == "capture" else None,
            )
        except ValueError as error:
            raise RequestInvalidError(str(error), field="data") from None

    def _publish(self, text: bytes) -> Path:
        self._check_folder()
        for _ in range(_NAME_TRIES):
            self._last_number = max(self._last_number + 1, self._clock.wall_ns())
            path = self._folder / f"result_{self._last_number:020d}.json"
            with suppress(NameTakenError):  # by another process of the same consumer
                publish([(path, text)], durable=self._durable)
                return path
        raise NameTakenError(f"{self._folder}: {_NAME_TRIES} names in a row are taken", path=str(self._folder))

    def _check_folder(self) -> None:
        """Make sure that the folder is one, and no link to somewhere else."""
        with self._opened():
            pass

    @contextmanager
    def _opened(self) -> Iterator[int]:
        with storage_errors(self._folder):
            try:
                descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except (NotADirectoryError, OSError) as error:
                if isinstance(error, NotADirectoryError) or self._folder.is_symlink():
                    raise StorageUnavailableError(
                        f"{self._folder} is no folder: results are written into a mount of their own",
                        path=str(self._folder),
                    ) from None
                raise
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    # --- room ----------------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Remove the oldest results when too many wait. The folder is listed only when it may have become too full."""
        if self._waiting is not None and self._waiting < self._max_waiting:
            return
        first = self._waiting is None
        with self._opened() as folder:
            if first:
                self._remove_leftovers(folder)
            own = sorted(name for name in _names(folder) if _OWN_NAME.fullmatch(name))
            if own:
                # After a start the clock may be behind: names must rise all the same.
                self._last_number = max(self._last_number, _number(own[-1]))
            removed = 0
            if len(own) >= self._max_waiting:
                # A few more than needed, so that not every write has to list the folder.
                spare = self._max_waiting // 100
                removed = _remove_names(folder, own[: len(own) - self._max_waiting + 1 + spare])
        self._waiting = len(own) - removed
        if removed:
            self._dropped += removed
            self._uncollected.broken(
                f"nobody takes results out of {self._folder}: the oldest of {self._max_waiting} are removed"
            )
        elif not first:
            self._uncollected.healed(f"results are taken again; {self._dropped} were removed until then")

    def _remove_leftovers(self, folder: int) -> None:
        """Remove what a killed process left, long ago: another process of this consumer may be writing just now."""
        before = self._clock.wall_ns() - int(LEFTOVER_SECONDS * 1e9)
        for name in _names(folder):
            ours = name.startswith((f"{TEMPORARY_PREFIX}result_", f"{TEMPORARY_PREFIX}{BEAT_NAME}"))
            if ours and name.endswith(TEMPORARY_SUFFIX):
                with suppress(OSError):
                    facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    if stat.S_ISREG(facts.st_mode) and facts.st_mtime_ns < before:
                        os.unlink(name, dir_fd=folder)


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _number(name: str) -> int:
    return int(name[len("result_") : -len(".json")])


def _remove_names(folder: int, names: list[str]) -> int:
    removed = 0
    for name in names:
        with suppress(FileNotFoundError):  # the manager was quicker
            os.unlink(name, dir_fd=folder)
            removed += 1
    return removed


def _plain(value: Any) -> Any:
    """Return what json writes: mappings as dicts, NumPy's numbers and arrays as Python's. The rest is checked later."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    as_list = getattr(value, "tolist", None)
    return as_list() if callable(as_list) else value


def _is_in_ram(folder: Path) -> bool:
    buffer = ctypes.create_string_buffer(256)  # struct statfs: f_type comes first
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(folder), buffer) != 0:
        return False
    return ctypes.c_long.from_buffer(buffer).value in _IN_RAM

# SPDX-License-Identifier: MIT
"""The two places as the capture process sees them: open when they are there, and open again when they come back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from fieldcam.core.clock import Clock
from fieldcam.core.config import CameraConfig, Config
from fieldcam.core.errors import SharedVolumeError, StorageFullError
from fieldcam.core.frame import Sidecar
from fieldcam.core.layout import CameraPaths
from fieldcam.core.logs import StateLog, get_logger
from fieldcam.store.live_roll import LiveRoll
from fieldcam.store.space import default_live_bytes, disk_usage
from fieldcam.store.volume import Volume
from fieldcam.store.writer import FrameWriter, Stored

_log = get_logger(__name__)
OK = "ok"


@dataclass(slots=True)
class _Live:
    writer: FrameWriter
    roll: LiveRoll


class Places:
    """Stores frames; a place that is missing is tried again at every frame.

    Args:
        config: of the appliance.
        camera: of this camera.
        paths: of this camera.
        clock: for the boot id.
        rolled: told the names that were rolled out of live/.
    """

    def __init__(
        self,
        config: Config,
        camera: CameraConfig,
        paths: CameraPaths,
        clock: Clock,
        rolled: Callable[[list[str]], None],
    ) -> None:
        self._config = config
        self._number = camera.number
        self._paths = paths
        self._clock = clock
        self._rolled = rolled
        self._live: _Live | None = None
        self._captures: FrameWriter | None = None
        self._was_full = False
        self._live_log = StateLog(_log, "LIVE_STORAGE_UNAVAILABLE", camera=paths.name)
        self._archive_log = StateLog(_log, "ARCHIVE_UNAVAILABLE", camera=paths.name)

    @property
    def live_state(self) -> str:
        """`ok`, or why live frames cannot be stored."""
        return self._live_log.reason or OK

    @property
    def archive_state(self) -> str:
        """`ok`, or why captures cannot be stored."""
        return self._archive_log.reason or OK

    def open(self) -> None:
        """Try both places, so that their state is known before the first frame."""
        for probe in (self._open_live, self._open_captures):
            try:
                probe()
            except SharedVolumeError:
                continue  # logged, shown in the heartbeat, and tried again

    def store_live(self, image: bytes, sidecar: Sidecar) -> Stored:
        """Store a live frame and roll the old ones out.

        Raises:
            SharedVolumeError: nothing was stored.
        """
        try:
            live = self._open_live()
            removed = live.roll.make_room(len(image))
            try:
                stored = live.writer.publish(image, sidecar)
            except StorageFullError:
                # RAM is smaller than configured, or something else fills it: hold fewer frames rather than none.
                removed += live.roll.free(2 * len(image))
                stored = live.writer.publish(image, sidecar)
            removed += live.roll.added(stored.path, len(image))
        except SharedVolumeError as error:
            self._live = None
            self._live_log.broken(error.message, logging.ERROR)
            raise
        self._live_log.healed("live frames are stored again")
        if removed:
            self._rolled(removed)
        live.writer.identity.save_if_due(self._clock.boottime_ns())
        return stored

    def store_capture(self, image: bytes, sidecar: Sidecar) -> Stored:
        """Store a capture, durable when this returns.

        Raises:
            SharedVolumeError: nothing was stored.
        """
        try:
            stored = self._open_captures().publish(image, sidecar)
        except SharedVolumeError as error:
            self._captures = None
            self._was_full = isinstance(error, StorageFullError)
            self._archive_log.broken(error.message, logging.ERROR)
            raise
        self._was_full = False
        self._archive_log.healed("captures are stored again")
        return stored

    def rehearse_capture(self, image: bytes) -> None:
        """Write a capture durably and remove it again.

        Raises:
            SharedVolumeError: it could not be stored.
        """
        self._open_captures().rehearse(image)

    def check(self) -> None:
        """Look whether the archive is there, and remember lately given names. Called about once a second."""
        try:
            writer = self._open_captures()
            writer.check()
            writer.identity.save_if_due(self._clock.boottime_ns())
        except SharedVolumeError as error:
            self._captures = None
            self._archive_log.broken(error.message, logging.ERROR)
        else:
            if self._has_space():
                self._archive_log.healed("captures can be stored again")

    def close(self) -> None:
        """Remember the names given. Idempotent."""
        for writer in (self._captures, self._live.writer if self._live else None):
            if writer is not None:
                try:
                    writer.identity.save_if_due(self._clock.boottime_ns(), now=True)
                except SharedVolumeError as error:
                    _log.event(logging.WARNING, "NAMES_NOT_SAVED", error.message)
        self._captures = self._live = None

    def _has_space(self) -> bool:
        """Return whether a disk that was full has room again; one that was never full has."""
        if not self._was_full:
            return True
        usage = disk_usage(self._config.archive_dir)
        self._was_full = usage.free_bytes <= self._config.min_free_bytes or usage.free_inodes == 0
        return not self._was_full

    def _open_live(self) -> _Live:
        if self._live is None:
            try:
                volume = Volume.open(self._config.capture_dir, "handoff")
                boot_id = self._clock.boot_id()
                writer = FrameWriter.for_live(volume, self._paths, durable=self._config.live_fsync, boot_id=boot_id)
                in_ram = self._config.live_backing == "tmpfs"
                roll = LiveRoll(
                    self._paths.live,
                    self._paths.metadata,
                    max_images=self._config.max_images,
                    max_bytes=self._config.live_max_bytes or default_live_bytes(in_ram=in_ram),
                    boot_id=boot_id,
                )
            except SharedVolumeError as error:
                self._live_log.broken(error.message, logging.ERROR)
                raise
            self._live = _Live(writer, roll)
        return self._live

    def _open_captures(self) -> FrameWriter:
        if self._captures is None:
            try:
                volume = Volume.open(self._config.archive_dir, "archive")
                self._captures = FrameWriter.for_captures(volume, self._paths, self._number)
            except SharedVolumeError as error:
                self._archive_log.broken(error.message, logging.ERROR)
                raise
        return self._captures

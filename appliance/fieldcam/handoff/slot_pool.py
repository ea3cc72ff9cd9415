# SPDX-License-Identifier: MIT
"""Which slot the next frame goes into, within a budget of RAM that no reader can exceed.

Half of the budget is for slots that have a name, half for slots that were taken from readers who hold them for too
long: those lose their name and are forgotten as soon as the reader lets go. So one reader that stops for good costs one
slot, and readers that do nothing else than hold slots cost the budget and no more.

A new slot of 37 MB takes 20 ms until the kernel has its pages. Only the first frames of a stream wait for that: while
it is written, `tidy` keeps a spare one ready, so that a reader which holds a slot costs no frame its time.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from fieldcam.core.clock import Clock
from fieldcam.core.logs import get_logger
from fieldcam.handoff.slot import STREAMS, Stream, parse_slot_name
from fieldcam.handoff.slot_file import SlotFile

_log = get_logger(__name__)
LEASE_SECONDS = 10.0
# Beside the newest: one to be written next, and one for when a reader holds that.
FREE_SLOTS = 2
_FRESH_SUFFIX = ".fresh"


class SlotPool:
    """The slots of one ring.

    Args:
        folder: of the ring.
        volume: what stands in each slot for its place.
        clock: time.
        max_bytes: of RAM.
    """

    def __init__(self, folder: Path, *, volume: bytes, clock: Clock, max_bytes: int) -> None:
        self._folder = folder
        self._volume = volume
        self._clock = clock
        self._half = max_bytes // 2
        self._slots: dict[Stream, list[SlotFile]] = {stream: [] for stream in STREAMS}
        self._abandoned: list[SlotFile] = []
        self._fresh = itertools.count()

    @property
    def half_bytes(self) -> int:
        """What slots with a name may take."""
        return self._half

    @property
    def count(self) -> int:
        """Slots that have a name, spare ones included."""
        return sum(len(group) for group in self._slots.values())

    @property
    def used_bytes(self) -> int:
        """Of slots that have a name."""
        return sum(slot.size for group in self._slots.values() for slot in group)

    @property
    def abandoned_bytes(self) -> int:
        """Of slots that were taken from their readers, who still hold them."""
        return sum(slot.size for slot in self._abandoned)

    def take(self, stream: Stream, size: int) -> SlotFile | None:
        """Return a locked slot of that size, the one not used for longest; None when there is none in the budget.

        Raises:
            OSError: no room, or the folder is gone.
        """
        for slot in self._free(stream):
            if slot.size == size and slot.lock():
                if slot.is_still_there:
                    slot.busy_since_ns = None
                    return slot
                self.drop(slot)  # somebody removed the file
        for slot in [slot for slot in self._slots[stream] if slot.size != size]:
            self._let_go(slot)
        self._give_up_spares_of_others(stream, size)
        if self.used_bytes + size > self._half:
            return None
        slot = SlotFile.create(self._fresh_path(stream), stream, size)
        self._slots[stream].append(slot)
        return slot

    def drop(self, slot: SlotFile) -> None:
        """Give up a slot that nobody reads, or whoever reads it."""
        slot.unlink()
        self._slots[slot.stream].remove(slot)
        slot.close()

    def tidy(self, wanted: Collection[str]) -> None:
        """Take slots from readers that hold them for too long, forget those that were let go, and make spare ones.

        Args:
            wanted: the streams that are read now; others get no spare.
        """
        now = self._clock.boottime_ns()
        self._forget_abandoned()
        for stream in STREAMS:
            self._look_after(stream, now)
            if stream in wanted:
                self._prepare(stream)

    def _look_after(self, stream: Stream, now: int) -> None:
        newest = self._newest(stream)
        for slot in list(self._slots[stream]):
            # The newest is rightly read all the time, by one reader after another.
            if slot is newest:
                slot.busy_since_ns = None
            elif slot.lock():
                if slot.is_still_there and (newest is None or slot.size == newest.size):
                    slot.unlock()
                    slot.busy_since_ns = None
                else:
                    self.drop(slot)  # somebody removed the file, or it is of a size that is not written any more
            elif slot.busy_since_ns is None:
                slot.busy_since_ns = now
            elif now - slot.busy_since_ns > LEASE_SECONDS * 1e9:
                self._let_go(slot)

    def _prepare(self, stream: Stream) -> None:
        """Make a slot before it is needed, at most one at a time: the frame that comes meanwhile waits for it.

        Without it all goes on as well, so no room for it is no error: whoever needs a slot and gets none says so.
        """
        newest = self._newest(stream)
        if newest is None:
            return  # no frame yet, so what size it has is not known
        free = sum(slot.busy_since_ns is None for slot in self._slots[stream] if slot is not newest)
        if free >= FREE_SLOTS or self.used_bytes + newest.size > self._half:
            return
        with suppress(OSError):
            # An attempt takes all there is for a moment, so none is made where it must fail.
            if _free_bytes(self._folder) >= newest.size:
                slot = SlotFile.create(self._fresh_path(stream), stream, newest.size)
                self._slots[stream].append(slot)
                slot.unlock()

    def _give_up_spares_of_others(self, stream: Stream, size: int) -> None:
        """Leave other streams no more than the two slots that each of them works with, where room is needed for one."""
        if self.used_bytes + size <= self._half:
            return
        for other in STREAMS:
            free = [slot for slot in self._free(other) if other != stream and slot.lock()]
            for slot in free:
                if slot is not free[-1] and self.used_bytes + size > self._half:
                    self.drop(slot)
                else:
                    slot.unlock()

    def empty(self, stream: Stream) -> None:
        """Give the memory of a stream back."""
        for slot in list(self._slots[stream]):
            self._let_go(slot)

    def close(self) -> None:
        """Give all memory back; what readers hold goes with them. Idempotent."""
        for group in self._slots.values():
            for slot in list(group):
                self.drop(slot)
        for slot in self._abandoned:
            slot.close()
        self._abandoned.clear()

    def take_over(self) -> None:
        """Go on with the slots of a writer that died; what does not fit is removed. Foreign files are left alone.

        Raises:
            OSError: the folder is gone.
        """
        for path in sorted(self._folder.iterdir()):
            if path.name.startswith(".") and path.name.endswith(_FRESH_SUFFIX):
                with suppress(OSError):
                    path.unlink()
            elif (name := parse_slot_name(path.name)) is not None:
                self._adopt(path, *name)
        while self.used_bytes > self._half:
            self._let_go_or_drop(min((s for group in self._slots.values() for s in group), key=lambda s: s.sequence))

    def _adopt(self, path: Path, stream: Stream, sequence: int) -> None:
        try:
            slot = SlotFile.adopt(path, stream, sequence, volume=self._volume, boot_id=self._clock.boot_id())
        except (OSError, ValueError) as error:
            _log.event(logging.INFO, "RING_SLOT_REMOVED", f"{path.name}: {error}", folder=str(self._folder))
            with suppress(OSError):
                path.unlink()
        else:
            self._slots[slot.stream].append(slot)

    def _free(self, stream: Stream) -> list[SlotFile]:
        """Return the slots that may be written to if nobody reads them, the one not used for longest first.

        A spare one counts as never used, so all take turns. Left for last it would save nothing, and be out of every
        cache, or swapped out, when it is needed; and this way the frame before the newest stays for late readers.
        """
        newest = self._newest(stream)
        return sorted((slot for slot in self._slots[stream] if slot is not newest), key=lambda slot: slot.sequence)

    def _newest(self, stream: Stream) -> SlotFile | None:
        """Return the slot that readers want now; it is never written to."""
        slot = max(self._slots[stream], key=lambda slot: slot.sequence, default=None)
        return slot if slot is not None and slot.sequence >= 0 else None

    def _let_go(self, slot: SlotFile) -> bool:
        """Take the name of a slot; while somebody still reads it, it counts as abandoned. Return whether it went."""
        if not slot.lock():
            self._forget_abandoned()
            if self.abandoned_bytes + slot.size > self._half:
                return False
            slot.unlink()
            self._slots[slot.stream].remove(slot)
            self._abandoned.append(slot)
            return True
        self.drop(slot)
        return True

    def _let_go_or_drop(self, slot: SlotFile) -> None:
        if not self._let_go(slot):
            self.drop(slot)

    def _forget_abandoned(self) -> None:
        for slot in list(self._abandoned):
            if slot.lock():
                self._abandoned.remove(slot)
                slot.close()

    def _fresh_path(self, stream: Stream) -> Path:
        return self._folder / f".{stream}-{os.getpid()}-{next(self._fresh)}{_FRESH_SUFFIX}"


def _free_bytes(folder: Path) -> int:
    """Return the room in a file system; a tmpfs without a limit says that it has no blocks at all."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize if found.f_blocks else sys.maxsize

# SPDX-License-Identifier: MIT
"""Known mistakes of the frame ring, put in on purpose; see mutants.py for why."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from unittest import mock

from fieldcam.core.durable import rename_without_overwriting
from fieldcam.handoff import ring_reader, slot_pool
from fieldcam.handoff.ring_writer import RingWriter
from fieldcam.handoff.slot import STREAMS, Stream, slot_name
from fieldcam.handoff.slot_file import SlotFile
from fieldcam.handoff.slot_mapping import SlotMapping, SlotMappings
from fieldcam.handoff.slot_pool import SlotPool
from tests.crash.mutants import Acknowledge, Mutant, Patches


def _no_exclusive_lock(_ack: Acknowledge) -> Patches:
    yield SlotFile, "lock", lambda _self: True


def _waits_for_readers(_ack: Acknowledge) -> Patches:
    def lock(self: SlotFile) -> bool:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return True

    yield SlotFile, "lock", lock


def _header_kept(_ack: Acknowledge) -> Patches:
    yield SlotFile, "begin", lambda _self: None


def _newest_reused(_ack: Acknowledge) -> Patches:
    def free(self: SlotPool, stream: Stream) -> list[SlotFile]:
        return sorted(self._slots[stream], key=lambda slot: -slot.sequence)

    yield slot_pool.SlotPool, "_free", free


def _rename_first(_ack: Acknowledge) -> Patches:
    real_begin, real_name = SlotFile.begin, RingWriter._name

    def begin(self: SlotFile) -> None:
        real_begin(self)
        newest = max((int(path.name[-25:-5]) for path in self.path.parent.glob("*.slot")), default=0)
        target = self.path.parent / slot_name(self.stream, newest + 1)
        rename_without_overwriting(self.path, target)
        self.path = target

    def name(self: RingWriter, slot: SlotFile, sequence: int) -> bool:
        if slot.path.name == slot_name(slot.stream, sequence):
            slot.sequence = sequence
            self._published += 1
            return True
        return real_name(self, slot, sequence)

    yield SlotFile, "begin", begin
    yield RingWriter, "_name", name


def _no_shared_lock(_ack: Acknowledge) -> Patches:
    yield ring_reader, "fcntl", SimpleNamespace(flock=lambda *_: None, LOCK_SH=1, LOCK_NB=4, LOCK_UN=8)


def _leftovers_kept(_ack: Acknowledge) -> Patches:
    def take_over(self: SlotPool) -> None:
        assert all(not self._slots[stream] for stream in STREAMS)

    yield SlotPool, "take_over", take_over


def _mappings_mixed_up(_ack: Acknowledge) -> Patches:
    real = SlotMappings.get

    def get(self: SlotMappings, descriptor: int, status: os.stat_result, size: int) -> SlotMapping:
        kept = next((mapping for mapping in self._kept.values() if mapping.size == size), None)
        return kept or real(self, descriptor, status, size)

    yield SlotMappings, "get", get


def _memory_taken_back(_ack: Acknowledge) -> Patches:
    real = SlotFile.unlink

    def unlink(self: SlotFile) -> None:
        real(self)
        self._advise(mmap.MADV_REMOVE)

    yield SlotFile, "unlink", unlink


RING_MUTANTS = {
    mutant.name: mutant
    for mutant in (
        Mutant("no-exclusive-lock", "written although it is read", ("ring",), _no_exclusive_lock),
        Mutant("no-shared-lock", "read without a lock", ("ring",), _no_shared_lock),
        Mutant("mappings-mixed-up", "a slot mapped before is taken for another", ("ring",), _mappings_mixed_up),
        Mutant("memory-taken-back", "a slot's memory is freed under its readers", ("ring",), _memory_taken_back),
        Mutant("header-kept", "header not zeroed before the pixels change", ("ring-kill",), _header_kept),
        Mutant("newest-reused", "the newest slot is written over", ("ring-kill",), _newest_reused),
        Mutant("rename-first", "renamed before the pixels are in", ("ring-kill",), _rename_first),
        Mutant("leftovers-kept", "slots of a dead writer not taken over", ("ring-kill",), _leftovers_kept),
        Mutant("waits-for-readers", "the lock is waited for", ("ring-stop",), _waits_for_readers),
    )
}


@contextmanager
def applied(name: str | None) -> Iterator[None]:
    """Make a mistake while the block runs; None makes none."""
    with ExitStack() as stack:
        if name is not None:
            for owner, attribute, replacement in RING_MUTANTS[name].patches(lambda _ack: None):
                stack.enter_context(mock.patch.object(owner, attribute, replacement))
        yield

# SPDX-License-Identifier: MIT
"""Numbers and names that are never given twice, across crashes, deletions and clock jumps.

What is remembered stands in a small file beside the images it speaks of. Ids are reserved in blocks, and the file is
written before the first id of a block is used, so a crash skips numbers but repeats none. Names are remembered when a
generation begins (before its first name is used) and otherwise every half minute; names given since then are found in
the folder itself, because nothing younger than a minute is ever removed from it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fieldcam.core import names
from fieldcam.core.durable import OWN_FILE_MODE, replace_file
from fieldcam.core.errors import ImageNotFoundError
from fieldcam.core.names import NameState
from fieldcam.store.reader import iter_frames, iter_sidecars, read_sidecar

SCHEMA = 1
BLOCK = 64
IDS_PER_CAMERA = 2**40
SAVE_INTERVAL_NS = 30_000_000_000


class Identity:
    """Gives ids and names for one folder of images; only its one writer may have it.

    Args:
        file: where it is remembered.
        images, sidecars: folders it speaks of.
        camera_number: number of the camera, part of every id.
        durable: whether the memory must survive a power cut (captures) or only the process (live frames).
        scope: what the memory is valid for; a file of another scope (another boot) is passed over.
    """

    def __init__(
        self, file: Path, images: Path, sidecars: Path, *, camera_number: int, durable: bool, scope: str = ""
    ) -> None:
        self._file = file
        self._base = camera_number * IDS_PER_CAMERA
        self._durable = durable
        self._scope = scope
        stored = self._read()
        self._names = NameState(**stored["names"]) if stored else NameState()
        for frame in iter_frames(images, sidecars):
            self._names = self._names.with_seen(frame.name)
        self._next = stored["next_id"] if stored else self._highest_id(sidecars) + 1
        self._reserved = self._next
        self._saved_names = NameState(**stored["names"]) if stored else None
        self._saved_at_ns = 0

    def next_stem(self, wall_ms: int, sample_no: str | None = None, submission_no: str | None = None) -> str:
        """Return a file name stem that was never given before."""
        self._names, generation = self._names.next(wall_ms)
        if self._saved_names is None or generation > self._saved_names.generation:
            self._save(self._reserved)
        return names.format_stem(wall_ms, generation, sample_no, submission_no)

    def next_id(self) -> int:
        """Return an id that was never given before, higher than any before."""
        if self._next >= self._reserved:
            self._save(self._next + BLOCK)
        self._next += 1
        return self._base + self._next - 1

    def save_if_due(self, boottime_ns: int, *, now: bool = False) -> None:
        """Remember the names given lately, at most twice a minute; `now` at the end of the process."""
        due = now or boottime_ns - self._saved_at_ns >= SAVE_INTERVAL_NS
        if due and self._names != self._saved_names:
            self._save(self._reserved)
            self._saved_at_ns = boottime_ns

    def _save(self, reserved: int) -> None:
        state = {
            "schema": SCHEMA,
            "scope": self._scope,
            "next_id": reserved,
            "names": {
                "high_ms": self._names.high_ms,
                "generation": self._names.generation,
                "generation_ms": self._names.generation_ms,
            },
        }
        data = json.dumps(state).encode() + b"\n"
        replace_file(self._file, data, durable=self._durable, mode=OWN_FILE_MODE)
        # Only now: when the disk said no, nothing was reserved, and the next id has to try again.
        self._reserved = reserved
        self._saved_names = self._names

    def _read(self) -> dict[str, Any] | None:
        try:
            data = json.loads(self._file.read_bytes())
            if data["scope"] != self._scope:
                return None
            NameState(**data["names"])
            return {"next_id": int(data["next_id"]), "names": data["names"]}
        except (OSError, ValueError, KeyError, TypeError):
            return None  # missing or damaged: found again from the files themselves

    def _highest_id(self, sidecars: Path) -> int:
        """Return the highest id in any sidecar; an image may have been moved away from its own."""
        highest = 0
        for path in iter_sidecars(sidecars):
            try:
                number = read_sidecar(path).id
            except ImageNotFoundError:
                continue
            if isinstance(number, int) and self._base < number < self._base + IDS_PER_CAMERA:
                highest = max(highest, number - self._base)
        return highest

# SPDX-License-Identifier: MIT
"""handoff.slot: the header says what docs/ring.md says, and whatever else it says only one error is raised."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldcam.core.errors import ImageInvalidError
from fieldcam.handoff import slot
from fieldcam.handoff.slot import SlotHeader, pack_header, pack_metadata, parse_slot_name, slot_name, unpack_header
from tests.frames_on_disk import FakeClock
from tests.rings import sidecar_of

SIDECAR = sidecar_of(77, FakeClock())
HEADER = SlotHeader(
    sequence=77,
    width=48,
    height=32,
    stream="main",
    boot_id=SIDECAR.boot_id,
    volume=slot.volume_mark("a"),
    exposed_at_ns=5,
    published_at_ns=9,
    metadata=pack_metadata(SIDECAR),
)
PACKED = pack_header(HEADER)


def documented_fields() -> dict[str, tuple[int, int, str]]:
    """Return offset, length and type of each field as docs/ring.md has them."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "ring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d+) \| ([\w ]+) \| `(\w+)` \|", text, re.MULTILINE)
    return {name: (int(offset), int(length), kind) for offset, length, kind, name in rows}


def test_a_header_is_read_as_it_was_written() -> None:
    assert unpack_header(PACKED.ljust(slot.HEADER_BYTES, b"\0")) == HEADER
    assert HEADER.sidecar() == SIDECAR


def test_a_program_written_after_the_documentation_alone_reads_the_same() -> None:
    fields = documented_fields()

    def integer(name: str, form: str) -> int:
        offset, length, _ = fields[name]
        assert length == struct.calcsize(form)
        return int(struct.unpack_from("<" + form, PACKED, offset)[0])

    def text(name: str) -> str:
        offset, length, _ = fields[name]
        return PACKED[offset : offset + length].rstrip(b"\0").decode()

    assert text("magic") == "FCRING\r\n"
    assert (integer("version", "I"), integer("sequence", "Q")) == (1, 77)
    assert (integer("width", "I"), integer("height", "I"), integer("channels", "I")) == (48, 32, 3)
    assert (integer("row_bytes", "I"), integer("payload_bytes", "Q")) == (144, 144 * 32)
    assert (text("pixel_format"), text("stream"), text("boot_id")) == ("BGR8", "main", SIDECAR.boot_id)
    assert (integer("exposed_at_ns", "q"), integer("published_at_ns", "q")) == (5, 9)
    start, length = fields["metadata"][0], integer("metadata_bytes", "I")
    assert json.loads(PACKED[start : start + length])["sequence"] == 77
    assert fields["volume"][1] == len(slot.volume_mark("a"))


def test_the_documented_fields_leave_no_gap_unnamed() -> None:
    fields = sorted(documented_fields().values())

    assert fields[0][0] == 0
    for (offset, length, _), (following, _, _) in itertools.pairwise(fields):
        assert offset + length == following
    assert fields[-1][0] + fields[-1][1] == slot.HEADER_BYTES


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("magic", b"FCRING\n\n", "no slot"),
        ("magic", bytes(8), "no slot"),
        ("version", struct.pack("<I", 2), "version 2"),
        ("width", struct.pack("<I", 0), "no size"),
        ("height", struct.pack("<I", 0), "no size"),
        ("width", struct.pack("<I", 2**32 - 1), "too large"),
        ("channels", struct.pack("<I", 4), "do not fit"),
        ("row_bytes", struct.pack("<I", 145), "do not fit"),
        ("payload_bytes", struct.pack("<Q", 2**64 - 1), "do not fit"),
        ("pixel_format", b"RGB8\0\0\0\0", "another kind"),
        ("pixel_format", b"\xff" * 8, "another kind"),
        ("metadata_bytes", struct.pack("<I", 2**32 - 1), "damaged metadata"),
        ("metadata_bytes", struct.pack("<I", 0), "damaged metadata"),
        ("metadata_crc", struct.pack("<I", 0), "damaged metadata"),
        ("metadata", b"[", "damaged metadata"),
    ],
)
def test_a_header_that_is_not_ours_is_refused_with_the_reason(name: str, value: bytes, reason: str) -> None:
    offset = documented_fields()[name][0]
    damaged = PACKED[:offset] + value + PACKED[offset + len(value) :]

    with pytest.raises(ValueError, match=reason):
        unpack_header(damaged)


@pytest.mark.parametrize("length", [0, 8, 100, len(PACKED) - 1])
def test_a_header_that_was_cut_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=r"too short|damaged"):
        unpack_header(PACKED[:length])


@given(st.integers(0, len(PACKED) - 1), st.binary(min_size=1, max_size=16))
def test_whatever_a_header_says_only_a_value_error_is_raised(offset: int, noise: bytes) -> None:
    with suppress(ValueError):
        unpack_header(PACKED[:offset] + noise + PACKED[offset + len(noise) :]).sidecar()


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"[]",
        b"[" * 16000,
        b"\xff",
        pack_metadata(dataclasses.replace(SIDECAR, sequence=78)),
        pack_metadata(dataclasses.replace(SIDECAR, boot_id="boot-2")),
    ],
)
def test_metadata_of_another_frame_or_of_none_are_refused(metadata: bytes) -> None:
    header = unpack_header(pack_header(dataclasses.replace(HEADER, metadata=metadata)))

    with pytest.raises(ValueError, match=r".+"):
        header.sidecar()


def test_settings_are_left_out_when_they_are_too_much() -> None:
    chatty = dataclasses.replace(SIDECAR, settings={"all": "x" * slot.HEADER_BYTES})

    read = dataclasses.replace(HEADER, metadata=pack_metadata(chatty)).sidecar()

    assert read == dataclasses.replace(SIDECAR, settings={})


def test_metadata_that_do_not_fit_even_so_are_refused() -> None:
    with pytest.raises(ImageInvalidError, match="metadata"):
        pack_metadata(dataclasses.replace(SIDECAR, description="é" * slot.HEADER_BYTES))


def test_metadata_as_long_as_possible_fit() -> None:
    spare = slot.MAX_METADATA_BYTES - len(pack_metadata(dataclasses.replace(SIDECAR, description="")))
    longest = dataclasses.replace(SIDECAR, description="x" * spare)

    packed = pack_header(dataclasses.replace(HEADER, metadata=pack_metadata(longest)))

    assert len(packed) == slot.HEADER_BYTES
    assert unpack_header(packed).sidecar() == longest


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("main-00000000000000000007.slot", ("main", 7)),
        ("lores-18446744073709551615.slot", ("lores", 2**64 - 1)),
        ("main-7.slot", None),
        ("main-00000000000000000007.slot ", None),
        ("other-00000000000000000007.slot", None),
        (".main-00000000000000000007.slot", None),
        ("main-0000000000000000000٧.slot", None),
        ("readers.main", None),
    ],
)
def test_only_names_of_slots_are_read(name: str, parsed: Any) -> None:
    assert parse_slot_name(name) == parsed
    if parsed is not None:
        assert slot_name(*parsed) == name


def test_names_of_streams_and_boots_fit_into_their_fields() -> None:
    fields = documented_fields()

    assert max(map(len, slot.STREAMS)) <= fields["stream"][1]
    assert len("c7a6f3d2-0b1e-4f5a-9c8d-123456789abc") <= fields["boot_id"][1]

# SPDX-License-Identifier: MIT
"""A slot: one decoded frame in a file of the ring folder. docs/ring.md has the layout for other languages.

The first 16384 bytes are the header, little endian; the pixels follow. The header is written last, its magic number at
the very end, and zeroed before the pixels change: a slot whose writer died half-way has no magic number and is no
frame. Whoever reads holds a shared flock on the file, whoever writes an exclusive one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

from fieldcam.core.frame import Sidecar

Stream = Literal["main", "lores"]
STREAMS: tuple[Stream, ...] = ("main", "lores")

MAGIC = b"FCRING\r\n"
VERSION = 1
HEADER_BYTES = 16384
NO_HEADER = bytes(len(MAGIC))
# After the magic number: version, sequence, width, height, channels, bytes of a row and of all pixels, pixel format,
# stream, boot, volume, exposed at, published at, length and CRC of the metadata.
_FIELDS = struct.Struct("<8s I 4x Q I I I I Q 8s 16s 36s 4x 32s q q I I")
MAX_METADATA_BYTES = HEADER_BYTES - _FIELDS.size
PIXEL_FORMAT = b"BGR8"
_NAME = re.compile(r"(main|lores)-(\d{20})\.slot")
_MAX_SIDE = 65_535


@dataclass(frozen=True, slots=True)
class SlotHeader:
    """What a slot says of itself.

    Attributes:
        sequence: of the frame, as in its sidecar.
        width, height: in pixels; a row has `width * 3` bytes, blue first.
        volume: hash of the hand-off area's id, see `volume_mark`.
        exposed_at_ns, published_at_ns: CLOCK_BOOTTIME.
        sidecar: what is known of the frame.
    """

    sequence: int
    width: int
    height: int
    stream: str
    boot_id: str
    volume: bytes
    exposed_at_ns: int
    published_at_ns: int
    sidecar: Sidecar

    @property
    def payload_bytes(self) -> int:
        """Length of the pixels."""
        return self.width * self.height * 3


def slot_name(stream: str, sequence: int) -> str:
    """Return the file name of a published slot."""
    return f"{stream}-{sequence:020d}.slot"


def parse_slot_name(name: str) -> tuple[str, int] | None:
    """Return stream and sequence of a file name, or None when it is not a slot's."""
    match = _NAME.fullmatch(name)
    return (match[1], int(match[2])) if match else None


def volume_mark(volume_id: str) -> bytes:
    """Return what stands in a slot for the id of the hand-off area it belongs to."""
    return hashlib.blake2b(volume_id.encode(), digest_size=32).digest()


def pack_header(header: SlotHeader) -> bytes:
    """Return the header as it is written, magic number and all."""
    metadata = _metadata(header.sidecar)
    fields = _FIELDS.pack(
        MAGIC,
        VERSION,
        header.sequence,
        header.width,
        header.height,
        3,
        header.width * 3,
        header.payload_bytes,
        PIXEL_FORMAT,
        header.stream.encode(),
        header.boot_id.encode(),
        header.volume,
        header.exposed_at_ns,
        header.published_at_ns,
        len(metadata),
        zlib.crc32(metadata),
    )
    return fields + metadata


def unpack_header(data: bytes) -> SlotHeader:
    """Read a header.

    Raises:
        ValueError: it is not one that this release can read.
    """
    if len(data) < _FIELDS.size:
        raise ValueError("too short for a header")
    (
        magic,
        version,
        sequence,
        width,
        height,
        channels,
        row,
        payload,
        form,
        stream,
        boot,
        volume,
        exposed,
        published,
        *rest,
    ) = _FIELDS.unpack_from(data)
    if magic != MAGIC:
        raise ValueError("no frame")
    if version != VERSION:
        raise ValueError(f"version {version}, this release reads {VERSION}")
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise ValueError(f"a size of {width}x{height}")
    if (channels, row, payload, form.rstrip(b"\0")) != (3, width * 3, width * height * 3, PIXEL_FORMAT):
        raise ValueError("pixels of another kind")
    length, crc = rest
    metadata = data[_FIELDS.size : _FIELDS.size + length]
    if length > MAX_METADATA_BYTES or len(metadata) != length or zlib.crc32(metadata) != crc:
        raise ValueError("damaged metadata")
    return SlotHeader(
        sequence=sequence,
        width=width,
        height=height,
        stream=stream.rstrip(b"\0").decode("ascii", "replace"),
        boot_id=boot.rstrip(b"\0").decode("ascii", "replace"),
        volume=volume,
        exposed_at_ns=exposed,
        published_at_ns=published,
        sidecar=Sidecar.from_json(metadata),
    )


def _metadata(sidecar: Sidecar) -> bytes:
    """Return the sidecar in few bytes; what the camera reports is left out when it is too much."""
    for candidate in (sidecar, dataclasses.replace(sidecar, settings={}, description=None)):
        text = json.dumps(candidate.to_dict(), ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= MAX_METADATA_BYTES:
            return text
    raise ValueError("a sidecar too long for a slot")

# SPDX-License-Identifier: MIT
"""A slot: one decoded frame in a file of the ring folder. docs/ring.md has the layout for other languages.

The first 16384 bytes are the header, little endian; the pixels follow. The header is written last, its magic number at
the very end, and the magic number is zeroed before anything else changes: a slot whose writer died half-way has none
and is no frame. Whoever reads holds a shared flock on the file, whoever writes an exclusive one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import struct
import zlib
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from fieldcam.core.errors import ImageInvalidError
from fieldcam.core.frame import Sidecar
from fieldcam.core.jpeg import check_size

Stream = Literal["main", "lores"]
STREAMS: tuple[Stream, ...] = ("main", "lores")

MAGIC = b"FCRING\r\n"  # text tools that change line ends break it, and so are noticed
VERSION = 1
HEADER_BYTES = 16384  # whole pages for page sizes up to 16 KiB (Pi 5), so that the pixels begin on a page
NO_MAGIC = bytes(len(MAGIC))
CHANNELS = 3
PIXEL_FORMAT = b"BGR8"
_FIELDS = struct.Struct("<8s I 4x Q I I I I Q 8s 16s 36s 4x 32s q q I I")
MAX_METADATA_BYTES = HEADER_BYTES - _FIELDS.size
_NAME = re.compile(r"(main|lores)-(\d{20})\.slot", re.ASCII)


class _Fields(NamedTuple):
    """The fixed fields, in their order."""

    magic: bytes
    version: int
    sequence: int
    width: int
    height: int
    channels: int
    row_bytes: int
    payload_bytes: int
    pixel_format: bytes
    stream: bytes
    boot_id: bytes
    volume: bytes
    exposed_at_ns: int
    published_at_ns: int
    metadata_bytes: int
    metadata_crc: int


@dataclass(frozen=True, slots=True)
class SlotHeader:
    """What a slot says of itself.

    Attributes:
        sequence: of the frame, as in its sidecar.
        width, height: in pixels; a row has `width * 3` bytes, blue first.
        volume: hash of the hand-off area's id, see `volume_mark`.
        exposed_at_ns, published_at_ns: CLOCK_BOOTTIME.
        metadata: the sidecar as JSON, see `pack_metadata`.
    """

    sequence: int
    width: int
    height: int
    stream: str
    boot_id: str
    volume: bytes
    exposed_at_ns: int
    published_at_ns: int
    metadata: bytes

    @property
    def payload_bytes(self) -> int:
        """Length of the pixels."""
        return self.width * self.height * CHANNELS

    @property
    def file_bytes(self) -> int:
        """Length of the file."""
        return slot_bytes(self.width, self.height)

    def sidecar(self) -> Sidecar:
        """Return what is known of the frame.

        Raises:
            ValueError: it is not the sidecar of this frame.
        """
        try:
            sidecar = Sidecar.from_json(self.metadata)
        except RecursionError:
            raise ValueError("not a sidecar: nested too deeply") from None
        if (sidecar.sequence, sidecar.boot_id) != (self.sequence, self.boot_id):
            raise ValueError("the sidecar of another frame")
        return sidecar


def slot_bytes(width: int, height: int) -> int:
    """Return the length of a slot's file."""
    return HEADER_BYTES + width * height * CHANNELS


def slot_name(stream: str, sequence: int) -> str:
    """Return the file name of a published slot."""
    return f"{stream}-{sequence:020d}.slot"


def parse_slot_name(name: str) -> tuple[Stream, int] | None:
    """Return stream and sequence of a file name, or None when it is not a slot's."""
    match = _NAME.fullmatch(name)
    return (cast("Stream", match[1]), int(match[2])) if match else None


def volume_mark(volume_id: str) -> bytes:
    """Return what stands in a slot for the id of the hand-off area it belongs to."""
    return hashlib.blake2b(volume_id.encode(), digest_size=32).digest()


def pack_metadata(sidecar: Sidecar) -> bytes:
    """Return the sidecar as it stands in a slot; what the camera reports is left out when it is too much.

    Raises:
        ImageInvalidError: it is too long even so.
    """
    for candidate in (sidecar, dataclasses.replace(sidecar, settings={})):
        text = json.dumps(candidate.to_dict(), ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= MAX_METADATA_BYTES:
            return text
    raise ImageInvalidError(f"the frame's metadata have more than {MAX_METADATA_BYTES} bytes")


def pack_header(header: SlotHeader) -> bytes:
    """Return the header as it is written, magic number and all."""
    fields = _Fields(
        magic=MAGIC,
        version=VERSION,
        sequence=header.sequence,
        width=header.width,
        height=header.height,
        channels=CHANNELS,
        row_bytes=header.width * CHANNELS,
        payload_bytes=header.payload_bytes,
        pixel_format=PIXEL_FORMAT,
        stream=header.stream.encode(),
        boot_id=header.boot_id.encode(),
        volume=header.volume,
        exposed_at_ns=header.exposed_at_ns,
        published_at_ns=header.published_at_ns,
        metadata_bytes=len(header.metadata),
        metadata_crc=zlib.crc32(header.metadata),
    )
    return _FIELDS.pack(*fields) + header.metadata


def unpack_header(data: bytes) -> SlotHeader:
    """Read a header.

    Raises:
        ValueError: it is not one that this release can read.
    """
    if len(data) < _FIELDS.size:
        raise ValueError("too short for a header")
    fields = _Fields(*_FIELDS.unpack_from(data))
    if fields.magic != MAGIC:
        raise ValueError("no slot")
    if fields.version != VERSION:
        raise ValueError(f"version {fields.version}, this release reads {VERSION}")
    try:
        check_size(fields.width, fields.height)
    except ImageInvalidError as error:
        raise ValueError(error.message) from None
    row_bytes = fields.width * CHANNELS
    if (fields.channels, fields.row_bytes, fields.payload_bytes) != (CHANNELS, row_bytes, row_bytes * fields.height):
        raise ValueError("sizes that do not fit each other")
    if _text(fields.pixel_format) != PIXEL_FORMAT.decode():
        raise ValueError("pixels of another kind")
    metadata = data[_FIELDS.size : _FIELDS.size + fields.metadata_bytes]
    if len(metadata) != fields.metadata_bytes or zlib.crc32(metadata) != fields.metadata_crc:
        raise ValueError("damaged metadata")
    return SlotHeader(
        sequence=fields.sequence,
        width=fields.width,
        height=fields.height,
        stream=_text(fields.stream),
        boot_id=_text(fields.boot_id),
        volume=fields.volume,
        exposed_at_ns=fields.exposed_at_ns,
        published_at_ns=fields.published_at_ns,
        metadata=metadata,
    )


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode("ascii", "replace")

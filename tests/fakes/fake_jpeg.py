# SPDX-License-Identifier: MIT
"""Writes JPEGs of any size with the standard library alone, fast, for the stand-ins of camera tools.

A picture has horizontal bands of colour, a slope from dark to light, and a bright bar. It consists of DC coefficients
only (one colour per block of 8x8 pixels), with a restart marker after each row of blocks, so equal rows are equal
bytes: 4056x3040 takes about 20 ms. Baseline, 4:2:0, as rpicam-still makes it.
"""

from __future__ import annotations

import struct

BANDS = ((128, 128), (160, 110), (100, 150), (118, 118), (140, 120), (110, 138))  # Cb, Cr
_DC_CODES = ("00", "010", "011", "100", "101", "110", "1110", "11110", "111110")  # by category: T.81 table K.3
_QUANTUM = 8  # makes a DC coefficient the mean of its block less 128


def make_jpeg(width: int, height: int, bar: float = 0.5, light: float = 1.0) -> bytes:
    """Return a JPEG.

    Args:
        width, height: pixels.
        bar: where the bright bar stands, 0 to 1.
        light: brightness, 1.0 = middle.
    """
    columns, rows = -(-width // 16), -(-height // 16)
    bar_at = int(bar * columns)
    lumas = [
        _luma(column / columns, light) if abs(column - bar_at) > columns // 40 else 250 for column in range(columns)
    ]
    bands = [_row(lumas, *chroma) for chroma in BANDS]
    scan = bytearray()
    for row in range(rows):
        scan += bands[row * len(BANDS) // rows]
        if row < rows - 1:
            scan += bytes((0xFF, 0xD0 + row % 8))
    tables = _segment(0xDB, b"\0" + bytes((_QUANTUM,) * 64))
    tables += _segment(0xC0, struct.pack(">BHHB", 8, height, width, 3) + b"\1\x22\0\2\x11\0\3\x11\0")
    tables += _segment(0xC4, b"\0" + bytes((0, 1, 5, 1, 1, 1) + (0,) * 10) + bytes(range(9)))
    tables += _segment(0xC4, b"\x10" + bytes((1,) + (0,) * 15) + b"\0")  # AC: end of block is all there is
    tables += _segment(0xDD, struct.pack(">H", columns))
    return b"\xff\xd8" + tables + _segment(0xDA, b"\3\1\0\2\0\3\0\0\x3f\0") + bytes(scan) + b"\xff\xd9"


def with_exif(jpeg: bytes, model: str, date_time: str = "2026:01:13 10:30:45") -> bytes:
    """Return the JPEG with EXIF in front as rpicam-still writes it: little-endian, with a thumbnail of 320x240."""
    thumbnail = make_jpeg(320, 240)
    texts = (b"Raspberry Pi\0", model.encode() + b"\0", b"rpicam-apps\0", date_time.encode() + b"\0")
    first_size, second_size = 2 + 12 * len(texts) + 4, 2 + 12 * 3 + 4
    data_at = 8 + first_size
    second_at = data_at + sum(map(len, texts))
    thumbnail_at = second_at + second_size
    first = struct.pack("<H", len(texts))
    at = data_at
    for tag, text in zip((0x010F, 0x0110, 0x0131, 0x0132), texts):  # noqa: B905 (also for Python 3.9)
        first += struct.pack("<HHII", tag, 2, len(text), at)
        at += len(text)
    first += struct.pack("<I", second_at)
    second = struct.pack("<H", 3) + struct.pack("<HHIHH", 0x0103, 3, 1, 6, 0)
    second += struct.pack("<HHII", 0x0201, 4, 1, thumbnail_at) + struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail))
    second += struct.pack("<I", 0)
    tiff = b"II*\0" + struct.pack("<I", 8) + first + b"".join(texts) + second + thumbnail
    return jpeg[:2] + _segment(0xE1, b"Exif\0\0" + tiff) + jpeg[2:]


def size_of(jpeg: bytes) -> tuple[int, int]:
    """Return width and height of a JPEG, (0, 0) when there is none."""
    at = 2
    while at + 9 <= len(jpeg) and jpeg[at] == 0xFF:
        if jpeg[at + 1] in (0xC0, 0xC1, 0xC2):
            height, width = struct.unpack(">HH", jpeg[at + 5 : at + 9])
            return width, height
        at += 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
    return 0, 0


def _luma(across: float, light: float) -> int:
    return max(0, min(240, int((40 + 150 * across) * light)))


def _row(lumas: list[int], blue: int, red: int) -> bytes:
    """Return one row of blocks: per 16x16 pixels four of Y, one of Cb, one of Cr, each a difference to the last."""
    bits = []
    last_luma = last_blue = last_red = 0
    for luma in lumas:
        bits.append(_difference(luma - 128 - last_luma) + _difference(0) * 3)
        bits.append(_difference(blue - 128 - last_blue))
        bits.append(_difference(red - 128 - last_red))
        last_luma, last_blue, last_red = luma - 128, blue - 128, red - 128
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")


def _difference(value: int) -> str:
    """Return the bits of one block: category and value of its DC difference, then end of block."""
    category = abs(value).bit_length()
    magnitude = value if value >= 0 else value + (1 << category) - 1
    return _DC_CODES[category] + (format(magnitude, f"0{category}b") if category else "") + "0"


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content

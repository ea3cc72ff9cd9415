# SPDX-License-Identifier: MIT
"""What the rpicam tools print is understood, also where it is odd."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldcam.camera.rpicam_reports import complaint, last_error, number_in, parse_cameras, parse_metadata
from fieldcam.camera.tool import Finished
from fieldcam.core.errors import (
    CameraInUseError,
    CameraNotAvailableError,
    CaptureFailedError,
    CaptureServiceError,
)

TWO_CAMERAS = """Available cameras
-----------------
0 : imx477 [4056x3040 12-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx477@1a)
    Modes: 'SRGGB10_CSI2P' : 1332x990 [120.00 fps - (696, 528)/2664x1980 crop]
           'SRGGB12_CSI2P' : 2028x1080 [50.00 fps - (0, 440)/4056x2160 crop]
                             2028x1520 [40.00 fps - (0, 0)/4056x3040 crop]
                             4056x3040 [10.00 fps - (0, 0)/4056x3040 crop]

1 : ov9281 (/base/soc/i2c0mux/i2c@0/ov9281@60)
    Modes: 'R8' : 640x400 [309.79 fps - (0, 0)/1280x800 crop]
                  1280x800 [171.79 fps - (0, 0)/1280x800 crop]

"""


def test_the_list_of_cameras_is_read_with_all_modes() -> None:
    first = parse_cameras(TWO_CAMERAS)[0]

    assert (first.number, first.model, first.busy) == (0, "imx477", False)
    assert first.sizes == ((4056, 3040), (2028, 1520), (2028, 1080), (1332, 990))
    assert first.camera_id == "/base/soc/i2c0mux/i2c@1/imx477@1a"


def test_a_monochrome_camera_without_a_native_size_is_read() -> None:
    _, second = parse_cameras(TWO_CAMERAS)

    assert (second.number, second.model) == (1, "ov9281")
    assert second.sizes == ((1280, 800), (640, 400))


def test_the_modes_of_a_busy_camera_are_left_out() -> None:
    text = TWO_CAMERAS.replace("(0, 0)/4056x3040", "(65535, 65535)/65535x65535")

    first = parse_cameras(text)[0]

    assert first.busy
    assert first.sizes == ((4056, 3040),)


@pytest.mark.parametrize("text", ["", "No cameras available!\n", "rubbish (x)\n0 : \n"])
def test_no_camera_is_read_from_other_text(text: str) -> None:
    assert parse_cameras(text) == []


@pytest.mark.parametrize(
    ("stderr", "error"),
    [
        ("ERROR: *** no cameras available ***", CameraNotAvailableError),
        ("ERROR: *** selected camera is not available ***", CameraNotAvailableError),
        (
            "INFO Pipeline handler in use by another process\nERROR: *** failed to acquire camera /x ***",
            CameraInUseError,
        ),
        ("ERROR: rpicam-apps currently only supports the Raspberry Pi platforms.\nmore", CameraNotAvailableError),
        ("ERROR: the system appears to be configured for the legacy camera stack", CameraNotAvailableError),
        ("ERROR: *** camera manager failed to start, code 19 ***", CameraNotAvailableError),
        ("setpriv: failed to execute rpicam-still: Exec format error", CameraNotAvailableError),
        ("ERROR: *** failed to start camera ***", CaptureFailedError),
        ("ERROR: *** unrecognised option '--x' ***", CaptureFailedError),
        ("", CaptureFailedError),
    ],
)
def test_complaints_have_their_own_kind_of_error(stderr: str, error: type[CaptureServiceError]) -> None:
    assert type(complaint("rpicam-still", Finished(255, b"", stderr))) is error


def test_the_last_error_line_is_what_counts() -> None:
    stderr = "ERROR: *** first ***\n[1:2] INFO words\nERROR: *** the reason ***\n[1:2] INFO after it\n"

    assert last_error(stderr) == "the reason"
    assert last_error("no error line\nat all\n\n") == "at all"
    assert last_error("") == ""


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1, 2]", b"\xff\xfe", b'"text"', b"[" * 100_000, b'{"a": 1}' + b" " * 1_000_000],
)
def test_metadata_that_cannot_be_read_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.json").write_bytes(content)

    assert parse_metadata(tmp_path / "m.json") == {}
    assert parse_metadata(tmp_path / "missing.json") == {}


def test_bare_nan_and_inf_in_metadata_become_null(tmp_path: Path) -> None:
    text = b'{\n    "Lux": -nan,\n    "Gains": [ inf, 1.500000 ],\n    "Note": "nan, inf",\n    "FocusFoM": 7\n}'
    (tmp_path / "m.json").write_bytes(text)

    assert parse_metadata(tmp_path / "m.json") == {"Lux": None, "Gains": [None, 1.5], "Note": "nan, inf", "FocusFoM": 7}


def test_only_finite_numbers_count() -> None:
    metadata = {"a": 1, "b": 1.5, "c": True, "d": "1", "e": None, "f": float("inf")}

    assert [number_in(metadata, key) for key in "abcdefg"] == [1, 1.5, None, None, None, None, None]

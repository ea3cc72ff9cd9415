# SPDX-License-Identifier: MIT
"""capture.pipeline: when a live frame is handed off on its way to a file, and when it is not."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
import pytest

from fieldcam.camera.base import CameraSettings
from fieldcam.camera.jpeg import encode
from fieldcam.capture import pipeline
from fieldcam.capture.pipeline import Origin, Taken
from fieldcam.core.clock import SystemClock
from fieldcam.core.errors import CaptureFailedError, ImageInvalidError
from fieldcam.core.frame import CaptureRequest, Shot, Sidecar

PIXELS = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
JPEG = encode(PIXELS, 90)


class Camera:
    """Delivers one shot."""

    def __init__(self, shot: Shot) -> None:
        self.shot = shot

    def capture(self, settings: CameraSettings, *, deadline_ns: int) -> Shot:
        return self.shot


class HandOff:
    """Keeps what it is given, in order with what else happens."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.sidecars: list[Sidecar] = []

    def offer_pixels(self, sidecar: Sidecar, pixels: Any) -> None:
        assert pixels is PIXELS
        self.happened.append("pixels")
        self.sidecars.append(sidecar)

    def offer_jpeg(self, sidecar: Sidecar, jpeg: bytes) -> None:
        assert jpeg is JPEG
        self.happened.append("jpeg")
        self.sidecars.append(sidecar)


def describe(shot: Shot) -> Sidecar:
    return pipeline.describe(
        shot,
        CameraSettings(quality=77),
        CaptureRequest(kind="live"),
        Origin("default", "simulated", simulated=True),
        sequence=12,
        time_quality="assumed",
        clock=SystemClock(),
        identical_frames=2,
    )


def take(shot: Shot, hand_off: HandOff | None, *, not_before_ns: int = 0) -> Taken:
    return pipeline.take(
        Camera(shot),  # type: ignore[arg-type]
        CameraSettings(quality=77),
        describe,
        not_before_ns=not_before_ns,
        deadline_ns=2**62,
        hand_off=hand_off,
    )


def test_pixels_are_handed_off_before_they_are_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    hand_off = HandOff()
    real = encode

    def encode_and_tell(pixels: Any, quality: int) -> bytes:
        hand_off.happened.append(f"encoded with {quality}")
        return real(pixels, quality)

    monkeypatch.setattr("fieldcam.capture.pipeline.encode", encode_and_tell)
    taken = take(Shot(5, 64, 48, pixels=PIXELS), hand_off)

    offered = hand_off.sidecars[0]
    assert hand_off.happened == ["pixels", "encoded with 77"]
    assert (offered.filename, offered.sha256, offered.file_size, offered.quality) == ("", "", 0, 77)
    assert taken.sidecar == dataclasses.replace(
        offered, file_size=len(taken.jpeg), sha256=hashlib.sha256(taken.jpeg).hexdigest()
    )
    assert taken.shot.pixels is None  # 36 MB of a large camera, kept for as long as the frame is the newest


def test_a_jpeg_is_handed_off_when_it_was_found_whole_with_all_that_is_known() -> None:
    hand_off = HandOff()
    taken = take(Shot(5, 64, 48, jpeg=JPEG, quality=90), hand_off)

    assert hand_off.happened == ["jpeg"]
    assert hand_off.sidecars == [taken.sidecar]
    assert (taken.sidecar.sequence, taken.sidecar.identical_frames, taken.sidecar.quality) == (12, 2, 90)
    assert taken.sidecar.sha256 == hashlib.sha256(JPEG).hexdigest()


@pytest.mark.parametrize(
    "shot",
    [
        Shot(5, 64, 48, jpeg=JPEG[: len(JPEG) // 2]),
        Shot(5, 640, 480, jpeg=JPEG),
        Shot(5, 64, 48),
    ],
    ids=["half", "another size", "nothing"],
)
def test_what_is_no_whole_image_is_never_handed_off(shot: Shot) -> None:
    hand_off = HandOff()

    with pytest.raises(ImageInvalidError):
        take(shot, hand_off)

    assert hand_off.happened == []


@pytest.mark.parametrize("shot", [Shot(5, 64, 48, pixels=PIXELS), Shot(5, 64, 48, jpeg=JPEG)])
def test_a_frame_exposed_before_it_was_asked_for_is_never_handed_off(shot: Shot) -> None:
    hand_off = HandOff()

    with pytest.raises(CaptureFailedError, match="before it was asked for"):
        take(shot, hand_off, not_before_ns=6)

    assert hand_off.happened == []


def test_frames_that_are_not_live_are_taken_all_the_same() -> None:
    assert take(Shot(5, 64, 48, jpeg=JPEG), None).jpeg is JPEG


def test_another_request_changes_what_was_asked_and_nothing_of_the_frame() -> None:
    sidecar = take(Shot(5, 64, 48, jpeg=JPEG), None).sidecar
    request = CaptureRequest(sample_no="S-1", user_id=3, job_id=4, x_position=1.5, idempotency_key="k", width=9)

    asked = pipeline.asked_by(request, sidecar)

    changed = {key for key, value in asked.to_dict().items() if value != sidecar.to_dict()[key]}
    assert changed == {"kind", "sample_no", "user_id", "job_id", "x_position", "idempotency_key"}

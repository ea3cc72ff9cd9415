# SPDX-License-Identifier: MIT
"""capture.settings: what holds, what is refused, what outlives a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fieldcam.camera.base import CameraInfo
from fieldcam.capture.settings import SettingsStore, for_request, parse_request
from fieldcam.core.config import CameraConfig
from fieldcam.core.errors import RequestInvalidError
from fieldcam.core.frame import CaptureRequest

CONFIG = CameraConfig(backend="simulated", width=640, height=480)
INFO = CameraInfo("simulated", "m", ((640, 480), (320, 240)), simulated=True, previews_beside_stills=True)


def test_what_was_put_outlives_the_process(tmp_path: Path) -> None:
    file = tmp_path / "cameras" / "default" / "settings.json"

    SettingsStore(file, CONFIG).put({"exposure_ms": 150, "gain": 2.0, "width": 320, "height": 240}, INFO)

    again = SettingsStore(file, CONFIG).current()
    assert (again.exposure_ms, again.gain, again.width, again.height) == (150, 2.0, 320, 240)


def test_a_damaged_file_means_the_configuration_holds(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"gain": "loud"}', encoding="utf-8")

    assert SettingsStore(file, CONFIG).current().gain == 1.0


def test_a_request_changes_one_capture_only(tmp_path: Path) -> None:
    store = SettingsStore(tmp_path / "s.json", CONFIG)

    once = for_request(store.current(), CaptureRequest(exposure_ms=5.0, quality=60))

    assert (once.exposure_ms, once.quality) == (5.0, 60)
    assert store.current().exposure_ms == 100.0


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ({"exposure_ms": 0}, "exposure_ms"), ({"exposure_ms": -1}, "exposure_ms"), ({"gain": "1"}, "gain"),
        ({"gain": True}, "gain"), ({"gain": float("nan")}, "gain"), ({"exposure_ms": 10**400}, "exposure_ms"),
        ({"quality": 101}, "quality"), ({"quality": 50.5}, "quality"), ({"width": 640}, "resolution"),
        ({"width": 641, "height": 480}, "resolution"), ({"sample_no": "../etc"}, "sample_no"),
        ({"sample_no": ""}, "sample_no"), ({"sample_no": "a\n"}, "sample_no"), ({"submission_no": "x"}, "sample_no"),
        ({"kind": "other"}, "kind"), ({"colour": 1}, "colour"), ({"x_position": float("inf")}, "x_position"),
    ],
)  # fmt: skip
def test_a_bad_request_names_its_field(args: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestInvalidError) as caught:
        parse_request(args, INFO)

    assert caught.value.details["field"] == field
    assert caught.value.message.startswith(field)

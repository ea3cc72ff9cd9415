# SPDX-License-Identifier: MIT
"""core.frame: the sidecar."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fieldcam.core.frame import Sidecar

CONTRACT_KEYS = """schema, id, idempotency_key, request_sha256, filename, camera, kind, captured_at, timestamp, boot_id,
monotonic_ns, sequence, width, height, format, quality, file_size, sha256, exposure, gain, backend, simulated, settings,
time_quality, sample_no, submission_no, description, user_id, job_id, x_position, y_position, z_position"""


def sidecar(**changes: Any) -> Sidecar:
    values: dict[str, Any] = {
        "filename": "capture_20260113_103045_123.jpg", "camera": "default", "kind": "capture",
        "captured_at": "2026-01-13T10:30:45.123Z", "timestamp": 1768300245.123, "boot_id": "b", "monotonic_ns": 5,
        "sequence": 9, "width": 640, "height": 480, "file_size": 3, "sha256": "00", "backend": "simulated",
        "simulated": True, "time_quality": "assumed",
    }  # fmt: skip
    return Sidecar(**(values | changes))


def test_the_sidecar_has_every_key_of_the_contract() -> None:
    data = json.loads(sidecar().to_json())

    assert set(CONTRACT_KEYS.replace("\n", " ").replace(" ", "").split(",")) <= set(data)


def test_a_sidecar_reads_back_what_was_written() -> None:
    written = sidecar(id=7, settings={"Lux": 3.5}, sample_no="A-1", x_position=0.25)

    assert Sidecar.from_json(written.to_json()) == written


def test_keys_of_a_newer_release_are_tolerated() -> None:
    data = sidecar().to_dict() | {"schema": 2, "colour_of_the_sky": "blue"}

    assert Sidecar.from_dict(data).schema == 2


@pytest.mark.parametrize(
    "change", [{"sequence": "9"}, {"id": 1.5}, {"simulated": 1}, {"timestamp": None}, {"width": True}, {"settings": []}]
)
def test_a_value_of_the_wrong_kind_is_no_sidecar(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        Sidecar.from_dict(sidecar().to_dict() | change)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"filename": "x"}', "nonsense", "null"])
def test_something_else_is_no_sidecar(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Sidecar.from_json(text)

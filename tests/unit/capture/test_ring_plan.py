# SPDX-License-Identifier: MIT
"""capture.ring_plan: which machines keep decoded frames in RAM, and in how much of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fieldcam.capture.ring_plan import plan_ring, total_ram_bytes
from fieldcam.core.config import Config

GIB = 2**30


def config(**settings: Any) -> Config:
    return Config.model_validate({"cameras": {"default": {"backend": "simulated"}}} | settings)


@pytest.mark.parametrize(("ram", "is_on"), [(0, False), (1 * GIB, False), (3 * GIB - 1, False), (3 * GIB, True)])
def test_auto_wants_three_gibibytes(ram: int, *, is_on: bool) -> None:
    plan = plan_ring(config(), ram)

    assert (plan.why_off == "", plan.is_required) == (is_on, False)


def test_why_it_is_off_is_said_in_numbers() -> None:
    assert "1.8 GiB" in plan_ring(config(), int(1.8 * GIB)).why_off
    assert "does not say" in plan_ring(config(), 0).why_off
    assert plan_ring(config(ring="off"), 8 * GIB).why_off == "as configured"


def test_on_is_on_whatever_the_machine_has_and_is_required() -> None:
    plan = plan_ring(config(ring="on"), 1 * GIB)

    assert (plan.why_off, plan.is_required, plan.max_bytes) == ("", True, int(0.12 * GIB))
    assert plan_ring(config(ring="on"), 0).max_bytes > 0


@pytest.mark.parametrize(
    ("ram", "most"), [(4 * GIB, 512_000_000), (3 * GIB, int(0.12 * 3 * GIB)), (64 * GIB, 512_000_000)]
)
def test_it_takes_a_share_of_the_ram_and_never_more_than_half_a_gigabyte(ram: int, most: int) -> None:
    assert plan_ring(config(), ram).max_bytes == most


def test_the_cameras_share_what_is_configured() -> None:
    cameras = {"default": {"backend": "simulated"}, "north": {"backend": "simulated", "number": 1}}

    assert plan_ring(config(cameras=cameras, ring_max_bytes=300_000_000), GIB).max_bytes == 150_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MemTotal:        3884332 kB\nMemFree: 1 kB\n", 3_884_332 * 1024),
        ("MemFree: 1 kB\n", 0),
        ("MemTotal:\n", 0),
        ("MemTotal: lots kB\n", 0),
        ("", 0),
    ],
)
def test_the_kernel_is_asked_how_much_ram_there_is(tmp_path: Path, text: str, expected: int) -> None:
    (tmp_path / "meminfo").write_text(text, encoding="ascii")

    assert total_ram_bytes(tmp_path / "meminfo") == expected


def test_a_kernel_that_does_not_say_is_no_reason_to_fail(tmp_path: Path) -> None:
    assert total_ram_bytes(tmp_path / "none") == 0
    assert total_ram_bytes() > 0

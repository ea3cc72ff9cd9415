# SPDX-License-Identifier: MIT
"""capture.ring: the newest frame wins, nobody waits, and what is wrong with the ring is said once and tried again.

The writer is a stand-in that fails, stops and is read on demand; integration/test_ring_capture.py has the real one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from fieldcam.capture import ring as ring_module
from fieldcam.capture.ring import Ring
from fieldcam.core.clock import SystemClock
from fieldcam.core.errors import ImageInvalidError, StorageFullError, StorageUnavailableError
from fieldcam.handoff import RingStats
from tests.appliance_tree import wait_until
from tests.frames_on_disk import make_config, make_sidecar

EIGHT_GIB = 8 * 2**30


class Writer:
    """Stands in for handoff.RingWriter."""

    made: ClassVar[list[Writer]] = []
    refuse_to_open: ClassVar[Exception | None] = None

    def __init__(self, folder: Path, **options: Any) -> None:
        if Writer.refuse_to_open is not None:
            raise Writer.refuse_to_open
        self.folder, self.options = folder, options
        self.readers = frozenset({"main"})
        self.published: list[int] = []
        self.error: Exception | None = None
        self.tidied = 0
        self.is_closed = False
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        Writer.made.append(self)

    def wanted(self) -> frozenset[str]:
        return self.readers

    def publish_pixels(self, sidecar: Any, pixels: Any) -> int:
        return self._publish(sidecar)

    def publish_jpeg(self, sidecar: Any, jpeg: bytes) -> int:
        return self._publish(sidecar)

    def tidy(self) -> None:
        self.tidied += 1

    def close(self) -> None:
        self.is_closed = True

    @property
    def stats(self) -> RingStats:
        count = 0 if self.is_closed else 2
        return RingStats(len(self.published), 1, count, count * 100, 7 if count else 0)

    def _publish(self, sidecar: Any) -> int:
        self.entered.set()
        self.go_on.wait(20)
        if self.error is not None:
            raise self.error
        self.published.append(sidecar.sequence)
        return 1


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ring_module, "RingWriter", Writer)
    monkeypatch.setattr(ring_module, "LOOK_SECONDS", 0.05)
    Writer.made, Writer.refuse_to_open = [], None
    yield
    for writer in Writer.made:
        writer.go_on.set()


@pytest.fixture
def make_ring(tmp_path: Path) -> Iterator[Any]:
    made: list[Ring] = []

    def make(ram_bytes: int = EIGHT_GIB, camera: str = "default", **settings: Any) -> Ring:
        values: dict[str, Any] = {"ring_dir": tmp_path / "ring", "ring": "on"} | settings
        config = make_config(tmp_path, **values)
        made.append(Ring(config, config.layout.camera(camera), SystemClock(), ram_bytes))
        return made[-1]

    (tmp_path / "ring").mkdir()
    yield make
    for ring in made:
        ring.close()


def offer(ring: Ring, *numbers: int) -> None:
    for number in numbers:
        ring.offer_jpeg(make_sidecar(number), b"jpeg")


def test_frames_of_both_kinds_are_published_in_order(make_ring: Any) -> None:
    ring = make_ring()
    ring.start()
    writer = Writer.made[0]
    ring.offer_pixels(make_sidecar(1), np.zeros((2, 2, 3), np.uint8))
    wait_until(lambda: writer.published == [1], "pixels")
    offer(ring, 2)
    wait_until(lambda: writer.published == [1, 2], "a JPEG")

    assert ring.state == "ok"


def test_the_writer_knows_whose_frames_they_are_and_how_much_it_may_take(make_ring: Any, tmp_path: Path) -> None:
    ring = make_ring(ring_max_bytes=9_000_000, ring_lores_width=320)
    ring.start()

    made = Writer.made[0]
    assert made.folder == tmp_path / "ring"
    assert (made.options["max_bytes"], made.options["lores_width"]) == (9_000_000, 320)
    assert f'"{made.options["volume_id"]}"' in (tmp_path / "handoff" / ".fieldcam-volume").read_text(encoding="utf-8")
    assert made.options.get("require_ram", True)


def test_of_frames_that_come_too_fast_the_newest_wins_and_nobody_waits(make_ring: Any) -> None:
    ring = make_ring()
    ring.start()
    writer = Writer.made[0]
    writer.go_on.clear()
    offer(ring, 1)
    assert writer.entered.wait(20)

    started = time.monotonic()
    offer(ring, 2, 3, 4)
    took = time.monotonic() - started
    writer.go_on.set()
    wait_until(lambda: 4 in writer.published, "the newest")

    assert writer.published == [1, 4]
    assert took < 0.5
    assert ring.counters["dropped"] == 1 + 2  # one by the writer, two that were replaced


def test_nothing_is_copied_or_counted_while_nobody_reads(make_ring: Any) -> None:
    ring = make_ring()
    ring.start()
    writer = Writer.made[0]
    writer.readers = frozenset()
    for number in range(20):
        offer(ring, number)
    tidied = writer.tidied
    wait_until(lambda: writer.tidied > tidied, "another look")

    assert (writer.published, ring.counters["published"], ring.counters["dropped"]) == ([], 0, 1)


def test_it_is_tidied_although_no_frames_come(make_ring: Any) -> None:
    ring = make_ring()
    ring.start()

    wait_until(lambda: Writer.made[0].tidied >= 3, "several looks")


def test_counters_are_those_of_all_writers_and_sizes_those_of_the_present_one(make_ring: Any) -> None:
    ring = make_ring()
    ring.start()
    offer(ring, 1)
    wait_until(lambda: Writer.made[0].published == [1], "a frame")
    Writer.made[0].error = StorageUnavailableError("the folder is gone")
    offer(ring, 2)
    wait_until(lambda: len(Writer.made) == 2, "another writer")
    offer(ring, 3)
    wait_until(lambda: ring.counters["published"] == 2, "a frame of the second writer")

    assert Writer.made[0].is_closed
    assert ring.counters == {"published": 2, "dropped": 2, "slots": 2, "bytes": 200, "abandoned": 7}


def test_a_ring_that_is_lost_is_said_once_and_opened_again(make_ring: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    ring = make_ring()
    ring.start()
    Writer.refuse_to_open = StorageUnavailableError("/ring is not in RAM")
    Writer.made[0].error = StorageUnavailableError("the folder is gone")
    offer(ring, 1)
    wait_until(lambda: ring.state == "/ring is not in RAM", "the newest reason")
    Writer.refuse_to_open = None
    wait_until(lambda: ring.state == "ok", "it is back")

    codes = [record.getMessage().split()[0] for record in caplog.records]
    assert codes == ["RING_UNAVAILABLE", "RING_UNAVAILABLE_OVER"]


def test_a_full_ring_keeps_what_it_has_and_heals_with_the_next_frame_that_fits(make_ring: Any) -> None:
    ring = make_ring()
    ring.start()
    writer = Writer.made[0]
    writer.error = StorageFullError("no space left")
    offer(ring, 1)
    wait_until(lambda: ring.state == "no space left", "it is said")
    tidied = writer.tidied
    wait_until(lambda: writer.tidied >= tidied + 2, "two looks")
    still = ring.state
    writer.error = None
    offer(ring, 2)
    wait_until(lambda: ring.state == "ok", "it heals")

    assert still == "no space left"
    assert (len(Writer.made), writer.is_closed) == (1, False)


def test_a_jpeg_that_cannot_be_decoded_is_left_out_and_told(make_ring: Any, caplog: pytest.LogCaptureFixture) -> None:
    ring = make_ring()
    ring.start()
    Writer.made[0].error = ImageInvalidError("bad Huffman code")
    offer(ring, 1)
    wait_until(lambda: "RING_FRAME_DAMAGED sequence=1" in caplog.text, "it is told")
    Writer.made[0].error = None
    offer(ring, 2)
    wait_until(lambda: Writer.made[0].published == [2], "the next one")

    assert ring.state == "ok"


def test_a_budget_that_cannot_hold_the_frames_is_said_with_the_one_that_can(make_ring: Any) -> None:
    ring = make_ring(ring_max_bytes=3_500_000)  # a sidecar of these tests says 640x480
    ring.start()
    offer(ring, 1)
    wait_until(lambda: "set ring_max_bytes to 4 MB or more" in ring.state, "it is said")
    Writer.made[0].readers = frozenset({"lores"})
    offer(ring, 2)

    wait_until(lambda: ring.state == "ok", "small frames fit")


@pytest.mark.parametrize("what", ["folder", "marker"])
def test_another_folder_or_another_volume_wants_another_writer(make_ring: Any, tmp_path: Path, what: str) -> None:
    ring = make_ring()
    ring.start()
    if what == "folder":
        (tmp_path / "ring").rename(tmp_path / "old")
        (tmp_path / "ring").mkdir()
    else:
        marker = tmp_path / "handoff" / ".fieldcam-volume"
        marker.write_text('{"id": "another", "kind": "handoff"}', encoding="utf-8")
    wait_until(lambda: len(Writer.made) == 2, "another writer")

    assert Writer.made[0].is_closed
    assert what == "folder" or Writer.made[1].options["volume_id"] == "another"


def test_without_folder_or_hand_off_area_it_says_what_is_missing(make_ring: Any, tmp_path: Path) -> None:
    (tmp_path / "ring").rmdir()
    ring = make_ring()
    ring.start()
    missing = ring.state
    (tmp_path / "ring").mkdir()
    wait_until(lambda: ring.state == "ok", "the folder is there")
    (tmp_path / "handoff" / ".fieldcam-volume").unlink()
    wait_until(lambda: "no marker" in ring.state, "the hand-off area is gone")

    assert str(tmp_path / "ring") in missing
    assert Writer.made[0].is_closed


def test_further_cameras_have_folders_of_their_own_made_when_the_ring_is_there(make_ring: Any, tmp_path: Path) -> None:
    cameras = {"default": {"backend": "simulated"}, "north": {"backend": "simulated", "number": 1}}
    ring = make_ring(camera="north", cameras=cameras)
    ring.start()

    assert (Writer.made[0].folder, ring.state) == (tmp_path / "ring" / "cameras" / "north", "ok")
    assert Writer.made[0].options["max_bytes"] == 256_000_000


def test_without_the_ring_no_folder_is_made_for_a_further_camera(make_ring: Any, tmp_path: Path) -> None:
    cameras = {"default": {"backend": "simulated"}, "north": {"backend": "simulated", "number": 1}}
    (tmp_path / "ring").rmdir()
    make_ring(camera="north", cameras=cameras).start()

    assert not (tmp_path / "ring").exists()


@pytest.mark.parametrize(
    ("settings", "ram", "words"),
    [({"ring": "off"}, EIGHT_GIB, "off: as configured"), ({"ring": "auto"}, 2 * 2**30, "off: the machine has 2.0 GiB")],
)
def test_where_it_is_off_there_is_no_thread_and_offers_cost_nothing(
    make_ring: Any, settings: dict[str, Any], ram: int, words: str
) -> None:
    before = threading.active_count()
    ring = make_ring(ram, **settings)
    ring.start()
    offer(ring, 1)

    assert ring.state.startswith(words)
    assert (threading.active_count(), Writer.made, ring.is_required) == (before, [], False)
    assert ring.counters == {"published": 0, "dropped": 0, "slots": 0, "bytes": 0, "abandoned": 0}


def test_close_ends_the_thread_and_gives_the_slots_back(make_ring: Any) -> None:
    ring = make_ring()
    before = threading.active_count()
    ring.start()
    ring.close()
    ring.close()
    offer(ring, 1)

    assert Writer.made[0].is_closed
    assert threading.active_count() == before
    assert Writer.made[0].published == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_the_program_is_not_hidden_behind_ok(make_ring: Any) -> None:
    ring = make_ring()
    ring.start()
    Writer.made[0].error = ZeroDivisionError("a fault")
    offer(ring, 1)

    wait_until(lambda: "fault of the program" in ring.state, "the state says so")
    assert Writer.made[0].is_closed

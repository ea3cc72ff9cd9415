# SPDX-License-Identifier: MIT
"""Cache, figures, the monitoring thread, and what a provider leaves behind: nothing."""

from __future__ import annotations

import gc
import logging
import math
import os
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from fieldcam.provider import SharedVolumeImageProvider
from fieldcam.provider.files import LiveFrame
from fieldcam.provider.last_picture import LastPicture
from fieldcam.provider.monitor import Monitor
from fieldcam.provider.news import News
from fieldcam.provider.tally import Tally
from fieldcam.testing import HandOff, picture
from tests.appliance_tree import wait_until
from tests.frames_on_disk import FakeClock
from tests.photos import enlarged

ROOT = Path(__file__).resolve().parents[3]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "image-monitor"]


def resources() -> tuple[int, int]:
    """Return the numbers of threads and of descriptors."""
    return threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no Path for each of a thousand


class TestCache:
    def test_new_images_are_read_in_the_background(self, tmp_path: Path) -> None:
        with HandOff(tmp_path) as hand_off, hand_off.provider(cache_size=3) as provider:
            provider.start_monitoring()
            sequences = [hand_off.publish(picture(shade))["sequence"] for shade in (10, 60, 110, 160)]
            wait_until(lambda: provider.get_status()["total_images_loaded"] == 4, "all are read")

            cached = provider.get_cached_images()

            assert [metadata["sequence"] for _, _, metadata in cached] == sequences[:0:-1]
            assert [name for name, _, _ in cached] == [metadata["filename"] for _, _, metadata in cached]
            assert [round(float(image[..., 0].mean()) / 10) for _, image, _ in cached] == [16, 11, 6]
            assert all(0 <= metadata["age"] < 60 for _, _, metadata in cached)
            assert provider.get_status()["cache_size"] == 3
            provider.latest_frame()
            assert provider.get_status()["cache_hit_rate"] == 100.0

    def test_a_cache_of_no_images_keeps_none_and_works(self, tmp_path: Path) -> None:
        with HandOff(tmp_path) as hand_off, hand_off.provider(cache_size=0, background_monitoring=False) as provider:
            hand_off.publish()

            assert [provider.get_latest_image()[0] for _ in range(2)] == [True, True]

            status = provider.get_status()
            assert (status["cache_size"], status["cache_hit_rate"], status["total_images_loaded"]) == (0, 0.0, 1)
            assert provider.get_cached_images() == []

    def test_a_damaged_image_does_not_stay_in_the_cache(self, tmp_path: Path) -> None:
        with HandOff(tmp_path) as hand_off, hand_off.provider(background_monitoring=False) as provider:
            hand_off.publish(sequence=5)
            hand_off.make_damaged("cut")
            assert provider.force_refresh() is True
            assert provider.get_status()["cache_size"] == 2

            assert [metadata["sequence"] for _, _, metadata in provider.get_cached_images()] == [5]
            assert provider.get_status()["cache_size"] == 1

    def test_a_refresh_tells_whether_there_is_anything_new(self, tmp_path: Path) -> None:
        with HandOff(tmp_path) as hand_off, hand_off.provider(background_monitoring=False) as provider:
            assert provider.force_refresh() is False
            hand_off.publish()
            assert [provider.force_refresh(), provider.force_refresh()] == [True, False]
            hand_off.publish()
            provider.latest_frame()
            assert provider.force_refresh() is False, "it was given already"
            hand_off.publish()
            provider.start_monitoring()
            wait_until(lambda: provider.get_status()["cache_size"] == 3, "it is read in the background")
            assert provider.force_refresh() is True, "nobody was told of it yet"
            hand_off.unmount()
            assert provider.force_refresh() is False

    def test_an_image_is_read_once_however_many_ask(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[int] = []
        real = LiveFrame.read

        def reads(frame: LiveFrame) -> bytes:
            read.append(frame.sidecar.sequence)
            return real(frame)

        monkeypatch.setattr(LiveFrame, "read", reads)
        with HandOff(tmp_path) as hand_off, hand_off.provider() as provider:
            sequences = []
            for _ in range(20):
                sequences.append(hand_off.publish()["sequence"])
                crowd = [threading.Thread(target=provider.latest_frame) for _ in range(4)]
                for thread in crowd:
                    thread.start()
                for thread in crowd:
                    thread.join()

        assert sorted(read) == sequences

    @pytest.mark.timeout(300)
    def test_ten_images_of_a_real_camera_cost_what_their_files_do(
        self, tmp_path: Path, photographs: list[Path]
    ) -> None:
        jpegs = [enlarged(photograph) for photograph in photographs]
        with HandOff(tmp_path) as hand_off:
            for number in range(10):
                hand_off.publish(jpegs[number % len(jpegs)])
            measured = _in_a_process(_MEMORY, hand_off, jpegs[0])

        before, busy, idle, files = (float(word) for word in measured.split())
        print(f"before {before / 1e6:.1f} busy {busy / 1e6:.1f} idle {idle / 1e6:.1f} files {files / 1e6:.1f} MB")
        assert files > 30e6, "the images are as large as real ones"
        assert idle - before <= 64e6
        assert busy - before <= 64e6 + 40e6, "and one picture while somebody asks for it again and again"


_MEMORY = """
import sys, time
from pathlib import Path
import simplejpeg
from fieldcam.provider import SharedVolumeImageProvider

def uss():
    fields = ("Private_Clean", "Private_Dirty")
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(fields))

simplejpeg.decode_jpeg(Path(sys.argv[2]).read_bytes(), "BGR", min_width=100)  # what decoding itself needs
before = uss()
provider = SharedVolumeImageProvider(sys.argv[1], ring_dir="", max_age_seconds=float("inf"))
for _ in range(4):
    assert provider.get_latest_image()[0]
deadline = time.monotonic() + 60
while provider.get_status()["cache_size"] < 10 and time.monotonic() < deadline:
    time.sleep(0.05)
assert provider.get_status()["cache_size"] == 10
busy = uss()
while uss() > busy - 30e6 and time.monotonic() < deadline:
    time.sleep(0.1)  # until the picture is given up
print(before, busy, uss(), sum(len(data) for _, data in provider._cache.newest_first()))
"""


_IDLE = """
import sys, time
from fieldcam.provider import SharedVolumeImageProvider

provider = SharedVolumeImageProvider(sys.argv[1], ring_dir="")
provider.start_monitoring()
while provider.get_status()["cache_size"] < 1:
    time.sleep(0.01)
began, used = time.monotonic(), time.process_time()
print("ready", flush=True)
sys.stdin.read()
share = (time.process_time() - used) / (time.monotonic() - began)
print(share, provider.get_status()["total_images_loaded"])
"""


def _in_a_process(program: str, hand_off: HandOff, jpeg: bytes = b"") -> str:
    file = hand_off.area.parent / "a.jpg"
    file.write_bytes(jpeg)
    done = subprocess.run(
        [sys.executable, "-c", program, str(hand_off.folder), str(file)],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestThread:
    def test_it_starts_on_first_use_and_ends_when_it_is_stopped(self, tmp_path: Path) -> None:
        with HandOff(tmp_path) as hand_off, hand_off.provider() as provider:
            assert threads() == []
            assert provider.get_status()["monitoring_active"] is False
            provider.get_latest_image()
            assert threads() == ["image-monitor"]
            assert provider.get_status()["monitoring_active"] is True

            provider.stop_monitoring()

            assert threads() == []
            assert provider.get_status()["monitoring_active"] is False
            provider.get_latest_image()
            assert threads() == [], "who stopped it does not want it"

    def test_stopping_gives_the_descriptors_back(self, tmp_path: Path) -> None:
        with HandOff(tmp_path) as hand_off, hand_off.provider() as provider:
            before = resources()
            provider.start_monitoring()
            wait_until(lambda: resources()[1] > before[1], "it watches")

            provider.stop_monitoring()

            assert resources() == before

    def test_the_end_empties_the_cache_also_under_a_look(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        reading, go_on = threading.Event(), threading.Event()
        real = LiveFrame.read

        def read_slowly(frame: LiveFrame) -> bytes:
            reading.set()
            assert go_on.wait(20)
            return real(frame)

        monkeypatch.setattr(LiveFrame, "read", read_slowly)
        with HandOff(tmp_path) as hand_off, hand_off.provider() as provider:
            hand_off.publish()
            provider.start_monitoring()
            assert reading.wait(20)
            closing = threading.Thread(target=provider.close)
            closing.start()
            wait_until(lambda: provider._closed, "it is being closed")
            go_on.set()
            closing.join()

            assert provider.get_status()["cache_size"] == 0

    def test_starting_and_stopping_twice_is_the_same_as_once(self, tmp_path: Path) -> None:
        with HandOff(tmp_path) as hand_off, hand_off.provider(background_monitoring=False) as provider:
            provider.get_latest_image()
            assert threads() == []
            for _ in range(3):
                provider.start_monitoring()
            assert threads() == ["image-monitor"]
            for _ in range(3):
                provider.stop_monitoring()
            assert threads() == []
            provider.start_monitoring()
            assert threads() == ["image-monitor"]
        assert threads() == []

    def test_a_provider_that_is_dropped_ends_its_thread(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fieldcam.provider.monitor.TICK_SECONDS", 60.0)  # at once, not at its next look
        with HandOff(tmp_path) as hand_off:
            provider = hand_off.provider()
            provider.get_latest_image()
            gone = weakref.ref(provider)
            assert threads() == ["image-monitor"]

            del provider

            wait_until(lambda: gone() is None, "nothing keeps the provider", 5)
            wait_until(lambda: threads() == [], "its thread ends", 5)

    def test_an_area_that_fails_does_not_end_it(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with HandOff(tmp_path) as hand_off, hand_off.provider() as provider:
            hand_off.unmount()
            provider.start_monitoring()
            provider.force_refresh()
            hand_off.mount()
            hand_off.publish()

            wait_until(lambda: provider.get_status()["cache_size"] == 1, "it reads again")
        assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1

    def test_a_decoded_picture_is_given_up_when_nobody_asks(self, tmp_path: Path) -> None:
        with HandOff(tmp_path) as hand_off, hand_off.provider(max_age_seconds=60) as provider:
            hand_off.publish()
            provider.latest_frame()
            provider.latest_frame()
            with provider.latest_view() as view:
                kept = weakref.ref(view.image.base)
            del view
            assert kept() is not None

            wait_until(lambda: kept() is None, "it is given up")

    @pytest.mark.parametrize("ring", [False, True], ids=["file", "ring"])
    def test_a_thousand_providers_leave_nothing(self, tmp_path: Path, ring: bool) -> None:
        with HandOff(tmp_path, ring=ring) as hand_off:
            hand_off.publish()

            def use(number: int) -> None:
                provider = hand_off.provider(max_age_seconds=math.inf)
                if number % 4:
                    assert provider.get_latest_image()[0]
                if number % 4 == 2:
                    with pytest.raises(Exception, match="given before"):
                        provider.wait_for_frame(timeout=0.001)
                if number % 4 == 3:
                    provider.close()

            for number in range(8):
                use(number)
            gc.collect()
            wait_until(lambda: threads() == [], "the threads end")
            before = resources()

            for number in range(1000):
                use(number)
            gc.collect()

            wait_until(lambda: resources() == before, f"threads and descriptors are {before} as before", 20)

    def test_one_that_is_never_used_opens_nothing(self, tmp_path: Path) -> None:
        with HandOff(tmp_path) as hand_off:
            before = resources()
            kept = [hand_off.provider() for _ in range(10)]
            for provider in kept:
                provider.get_status()

            assert resources() == before

    def test_idling_beside_a_camera_costs_next_to_nothing(self, tmp_path: Path, photographs: list[Path]) -> None:
        """One frame of twelve million pixels a second, read into the cache; nobody asks for any."""
        jpeg = enlarged(photographs[0])
        with HandOff(tmp_path) as hand_off:
            hand_off.publish(jpeg)
            command = [sys.executable, "-c", _IDLE, str(hand_off.folder)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, cwd=ROOT) as child:
                assert child.stdin is not None
                assert child.stdout is not None
                assert child.stdout.readline() == "ready\n"
                for _ in range(6):
                    threading.Event().wait(1.0)
                    hand_off.publish(jpeg)
                child.stdin.close()
                share, loaded = child.stdout.readline().split()
        print(f"{float(share):.2%} of a core")
        assert int(loaded) >= 6
        assert float(share) <= 0.05

    def test_a_missing_area_is_no_reason_to_spin(self, tmp_path: Path) -> None:
        with SharedVolumeImageProvider(tmp_path / "nowhere", ring_dir="") as provider:
            provider.get_latest_image()
            began, used = time.monotonic(), time.process_time()
            with pytest.raises(Exception, match="has no marker"):
                provider.wait_for_frame(timeout=2)
            share = (time.process_time() - used) / (time.monotonic() - began)
        assert share <= 0.05

    def test_without_descriptors_it_looks_again_and_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_descriptor(*_: object, **__: object) -> None:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr("fieldcam.provider.news.FolderWatch", no_descriptor)
        with HandOff(tmp_path) as hand_off, hand_off.provider(monitor_interval=0.05) as provider:
            timer = threading.Timer(0.2, hand_off.publish)
            timer.start()

            assert provider.wait_for_frame(timeout=20).sequence
            timer.join()
            wait_until(lambda: provider.get_status()["cache_size"] == 1, "the thread reads, too")


class TestNews:
    def test_what_came_between_the_look_and_the_wait_is_not_missed(self, tmp_path: Path) -> None:
        news = News([tmp_path], 0.1)
        mark = news.mark()
        other = threading.Thread(target=lambda: news.wait(news.mark(), 20))
        other.start()
        (tmp_path / "a").write_bytes(b"")
        other.join()
        began = time.monotonic()

        news.wait(mark, 20)

        assert time.monotonic() - began < 5
        news.close()

    def test_all_who_wait_are_told(self, tmp_path: Path) -> None:
        news = News([tmp_path], 0.1)
        news.mark()
        woken: list[int] = []

        def wait(number: int) -> None:
            news.wait(news.mark(), 20)
            woken.append(number)

        waiting = [threading.Thread(target=wait, args=(number,)) for number in range(5)]
        for thread in waiting:
            thread.start()
        wait_until(lambda: news._is_watching, "one watches")
        began = time.monotonic()
        (tmp_path / "a").write_bytes(b"")
        for thread in waiting:
            thread.join(10)

        assert sorted(woken) == list(range(5))
        assert time.monotonic() - began < 5
        news.close()

    def test_the_end_wakes_everybody_and_closes_once(self, tmp_path: Path) -> None:
        before = resources()
        news = News([tmp_path], 0.1)
        waiting = [threading.Thread(target=lambda: news.wait(news.mark(), 20)) for _ in range(3)]
        for thread in waiting:
            thread.start()
        wait_until(lambda: news._is_watching, "one watches")

        news.close()
        news.close()

        for thread in waiting:
            thread.join(5)
        assert resources() == before
        news.wait(news.mark(), 20)
        assert resources() == before

    def test_a_monitor_whose_object_is_gone_ends(self, tmp_path: Path) -> None:
        class Object:
            looks = 0

            def look(self) -> None:
                Object.looks += 1

        target = Object()
        news = News([tmp_path], 0.1)
        monitor = Monitor(news, target.look)
        wait_until(lambda: Object.looks, "it looks")
        del target
        news.wake()

        wait_until(lambda: not monitor.is_alive, "it ends")
        news.close()


class TestLastPicture:
    def test_a_picture_is_kept_for_who_asks_again_and_then_for_the_next_one(self) -> None:
        last = LastPicture()
        answers = [last.is_worth_keeping("main", sequence) for sequence in (1, 1, 1, 2, 2, 3, 4, 5)]

        assert answers == [False, True, True, True, True, True, False, False]

    def test_the_small_and_the_large_are_not_mixed_up(self) -> None:
        last = LastPicture()
        assert last.is_worth_keeping("main", 1) is False
        assert last.is_worth_keeping("lores", 1) is False


def test_figures_are_of_the_last_ten_seconds() -> None:
    tally = Tally()
    for second in range(5):
        tally.note_given(float(second), age=9.0, is_hit=False)
    for number in range(21):
        tally.note_given(100.0 + number / 2, age=0.5, is_hit=True)

    figures = tally.figures(110.0)

    assert (figures.average_age, figures.per_second) == (0.5, 2.0)
    assert figures.hit_rate == pytest.approx(100 * 21 / 26)
    assert tally.figures(200.0).per_second == 0.0
    assert tally.figures(200.0).average_age == 0.0


def test_an_image_counts_once_whoever_takes_it_in() -> None:
    tally = Tally()

    assert [tally.note_loaded(sequence, 5 * 10**9) for sequence in (1, 1, 2)] == [True, False, True]

    figures = tally.figures(0.0)
    assert (figures.loaded, figures.last_update) == (2, 5.0)
    for sequence in range(5000):
        tally.note_loaded(sequence, 0)
    assert len(tally._taken_in) <= 1000


def test_a_clock_that_is_set_back_does_not_keep_old_listings(tmp_path: Path) -> None:
    clock = FakeClock()
    with HandOff(tmp_path, clock=clock) as hand_off, hand_off.provider(background_monitoring=False) as provider:
        for _ in range(3):
            clock.wall -= 3600 * 10**9
            sequence = hand_off.publish()["sequence"]
            live = hand_off.folder / "live"
            os.utime(live, ns=(2**62, 2**62))  # a folder from the future: the clock of the system was set back
            assert provider.latest_frame().sequence == sequence


def test_an_array_of_twelve_million_pixels_is_handed_out_without_a_copy(tmp_path: Path) -> None:
    """What is decoded for a caller that reads each frame once is his array, not a copy of one that is kept."""
    with HandOff(tmp_path) as hand_off, hand_off.provider() as provider:
        copies: list[int] = []

        class Counted(np.ndarray):
            def copy(self, *_: object) -> Counted:
                copies.append(1)
                return self

        def decodes(data: bytes, out: object = None) -> Counted:
            return np.zeros((4, 4, 3), np.uint8).view(Counted)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fieldcam.provider.held.decode", decodes)
            for _ in range(5):
                hand_off.publish()
                provider.wait_for_frame(timeout=20)
                hand_off.publish()
                provider.latest_frame()
        assert copies == []

# SPDX-License-Identifier: MIT
"""SharedVolumeImageProvider: the same promises whether frames come out of the ring or out of files."""

from __future__ import annotations

import logging
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from fieldcam.core.errors import (
    CacheError,
    ConfigError,
    FieldcamError,
    ImageNotFoundError,
    ImageTooOldError,
    RequestInvalidError,
    SharedVolumeError,
    StorageUnavailableError,
)
from fieldcam.provider import ImageProviderConfig, SharedVolumeImageProvider
from fieldcam.testing import HandOff, picture
from tests.appliance_tree import wait_until
from tests.frames_on_disk import FakeClock

SIZE = (320, 240)


@pytest.fixture(params=["file", "ring"])
def source(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hand_off(tmp_path: Path, source: str, clock: FakeClock) -> Iterator[HandOff]:
    with HandOff(tmp_path, ring=source == "ring", clock=clock) as made:
        yield made


@pytest.fixture
def provider(hand_off: HandOff) -> Iterator[SharedVolumeImageProvider]:
    with hand_off.provider(background_monitoring=False) as made:
        yield made


def shade_of(image: Any) -> int:
    return round(float(image[..., 0].mean()))


class TestBothSources:
    def test_the_newest_frame_is_given_with_its_metadata(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider, source: str
    ) -> None:
        hand_off.publish(picture(10))
        published = hand_off.publish(picture(200, SIZE), age=1.5, gain=2.5, settings={"Lux": 3.0})

        success, image, metadata = provider.get_latest_image()

        assert success is True
        assert image is not None
        assert metadata is not None
        assert (image.shape, str(image.dtype), image.flags.writeable) == ((240, 320, 3), "uint8", True)
        assert np.abs(image.astype(int) - picture(200, SIZE)).max() <= 4
        assert metadata == published | {"age": 1.5}
        assert metadata["settings"] == {"Lux": 3.0}
        frame = provider.latest_frame()
        assert (frame.source, frame.sequence, frame.metadata) == (source, published["sequence"], metadata)

    def test_the_array_and_the_metadata_are_the_callers_own(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider
    ) -> None:
        hand_off.publish(picture(200), settings={"Lux": 3.0})
        provider.start_monitoring()
        for _ in range(3):
            frame = provider.latest_frame()
            frame.image[:] = 0
            frame.metadata["settings"]["Lux"] = "changed"

        frame = provider.latest_frame()

        assert abs(shade_of(frame.image) - 200) <= 2
        assert frame.metadata["settings"] == {"Lux": 3.0}

    @pytest.mark.parametrize(
        ("age", "max_age", "is_given"),
        [
            (5.0, None, True),
            (5.1, None, False),
            (0.0, 0.0, True),
            (0.1, 0.0, False),
            (99.0, math.inf, True),
            (-0.1, None, False),
        ],
    )
    def test_a_frame_is_given_up_to_its_age(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider, age: float, max_age: float | None, is_given: bool
    ) -> None:
        hand_off.publish(age=age)

        success, image, metadata = provider.get_latest_image(max_age)

        assert success is is_given
        assert (image is not None) is is_given
        assert (metadata is not None) is is_given
        if not is_given:
            with pytest.raises(ImageTooOldError, match="s old, at most"):
                provider.latest_frame(max_age)

    def test_age_is_not_a_matter_of_wall_time(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider, clock: FakeClock
    ) -> None:
        hand_off.publish()
        clock.wall -= 365 * 86400 * 10**9

        assert provider.latest_frame().metadata["age"] == 0.0

        clock.wall += 3 * 365 * 86400 * 10**9
        clock.boottime += 2 * 10**9

        assert provider.latest_frame().metadata["age"] == 2.0

    def test_frames_of_another_boot_are_not_given(self, hand_off: HandOff, provider: SharedVolumeImageProvider) -> None:
        hand_off.publish(boot_id="another")

        with pytest.raises(ImageNotFoundError, match="of another boot"):
            provider.latest_frame(math.inf)

    def test_a_frozen_camera_gives_nothing_fresh(self, hand_off: HandOff, provider: SharedVolumeImageProvider) -> None:
        hand_off.publish(picture(10))
        hand_off.make_frozen()

        assert provider.get_latest_image() == (False, None, None)
        with pytest.raises(ImageTooOldError, match="frozen: 4 identical images"):
            provider.latest_frame()

    def test_never_an_older_frame_than_one_given_before(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider
    ) -> None:
        hand_off.publish(sequence=5)
        newest = hand_off.publish(sequence=6)
        assert provider.latest_frame().sequence == 6

        hand_off.clear()
        hand_off.publish(sequence=4)

        with pytest.raises(ImageTooOldError, match="given before"):
            provider.latest_frame()
        hand_off.publish(sequence=6)
        assert provider.latest_frame().sequence == newest["sequence"]

    def test_the_same_frame_is_given_again_until_there_is_a_newer_one(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider
    ) -> None:
        hand_off.publish(sequence=5)

        assert [provider.latest_frame().sequence for _ in range(3)] == [5, 5, 5]
        hand_off.publish(sequence=6)
        assert provider.latest_frame().sequence == 6

    def test_a_damaged_frame_is_passed_over_for_the_next_newest(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider
    ) -> None:
        whole = hand_off.publish(picture(77))
        hand_off.make_damaged("cut")
        hand_off.make_damaged("half-written")
        hand_off.make_damaged("no sidecar")
        hand_off.make_damaged("bad sidecar")

        for _ in range(2):
            frame = provider.latest_frame()

            assert frame.sequence == whole["sequence"]
            assert abs(shade_of(frame.image) - 77) <= 2

    def test_only_newer_frames_when_that_is_asked(self, hand_off: HandOff, provider: SharedVolumeImageProvider) -> None:
        hand_off.publish(sequence=5)

        with pytest.raises(ImageTooOldError):
            provider.latest_frame(newer_than=5)
        assert provider.latest_frame(newer_than=4).sequence == 5

    @pytest.mark.parametrize("form", [lambda moment: moment, lambda moment: moment.timestamp()], ids=["aware", "epoch"])
    def test_only_exposures_after_a_moment_when_that_is_asked(
        self,
        hand_off: HandOff,
        provider: SharedVolumeImageProvider,
        clock: FakeClock,
        form: Callable[[datetime], Any],
    ) -> None:
        hand_off.publish(age=1.0)
        now = datetime.fromtimestamp(clock.wall / 1e9, UTC)

        with pytest.raises(ImageTooOldError, match="before the moment asked for"):
            provider.latest_frame(not_before=form(now - timedelta(seconds=0.9)))
        assert provider.latest_frame(not_before=form(now - timedelta(seconds=1.1))).sequence

    def test_waiting_for_what_is_newer_than_the_last(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider
    ) -> None:
        hand_off.publish(sequence=5)
        assert provider.wait_for_frame(timeout=0).sequence == 5
        timer = threading.Timer(0.3, lambda: hand_off.publish(picture(9), sequence=6))
        timer.start()

        frame = provider.wait_for_frame(timeout=20)

        timer.join()
        assert frame.sequence == 6
        assert abs(shade_of(frame.image) - 9) <= 2

    def test_a_wait_ends_with_what_is_wrong(self, hand_off: HandOff, provider: SharedVolumeImageProvider) -> None:
        hand_off.publish(sequence=5)
        began = time.monotonic()

        with pytest.raises(ImageTooOldError):
            provider.wait_for_frame(5, timeout=0.3)

        assert 0.3 <= time.monotonic() - began < 5

    def test_grey_and_small_pictures(self, hand_off: HandOff, provider: SharedVolumeImageProvider) -> None:
        hand_off.publish(picture(200, (1001, 751)))
        grey = round(0.114 * 200 + 0.587 * 55 + 0.299 * 100)

        assert provider.latest_frame(gray=True).image.shape == (751, 1001)
        assert abs(float(provider.latest_frame(gray=True).image.mean()) - grey) <= 2
        assert provider.latest_frame(divisor=4).image.shape == (188, 251, 3)
        assert provider.latest_frame(divisor=2, gray=True).image.shape == (376, 501)
        small = provider.latest_frame(stream="lores")
        assert small.image.shape == (480, 640, 3)
        assert abs(shade_of(small.image) - 200) <= 2
        assert small.metadata["width"] == 1001

    def test_a_view_is_read_only_and_of_the_newest_frame(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider, source: str
    ) -> None:
        published = hand_off.publish(picture(200), age=1.0)

        with provider.latest_view() as view:
            assert view.image.flags.writeable is False
            assert abs(shade_of(view.image) - 200) <= 2
            assert (view.source, view.sequence) == (source, published["sequence"])
            assert view.metadata == published | {"age": 1.0}
            assert (view.age, view.sidecar.sequence) == (1.0, published["sequence"])

    def test_a_view_of_a_picture_that_is_kept_is_read_only_too(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider
    ) -> None:
        hand_off.publish(picture(200))
        provider.start_monitoring()
        for _ in range(3):
            assert provider.latest_frame().image.flags.writeable is True

        with provider.latest_view() as view:
            assert view.image.flags.writeable is False
            assert view.image.base is not None
        assert provider.latest_frame().image.flags.writeable is True

    def test_a_frame_from_the_future_is_not_the_newest(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider
    ) -> None:
        hand_off.publish(age=-3600.0)

        assert provider.get_status()["latest_image_age"] == math.inf

        hand_off.publish(sequence=0, age=2.0)
        assert provider.get_status()["latest_image_age"] == 2.0

    def test_a_held_frame_is_decoded_later(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider, source: str
    ) -> None:
        published = hand_off.publish(picture(200))
        out = np.zeros((480, 640, 3), np.uint8)

        with provider.hold() as held:
            hand_off.publish(picture(10))
            assert held.source == source
            assert (held.jpeg is None) is (source == "ring")
            assert held.image(out=out) is out
            assert abs(shade_of(out) - 200) <= 2
            assert held.metadata() == published | {"age": 0.0}
        with pytest.raises(ValueError, match="closed"):
            held.image()
        with pytest.raises(ImageTooOldError):
            provider.hold(newer_than=10**15)

    def test_nothing_is_given_after_the_end(self, hand_off: HandOff, provider: SharedVolumeImageProvider) -> None:
        hand_off.publish()
        provider.latest_frame()
        provider.close()
        provider.close()

        assert provider.get_latest_image() == (False, None, None)
        assert provider.force_refresh() is False
        assert provider.get_cached_images() == []
        assert provider.get_status()["latest_image_age"] == math.inf
        provider.stop_monitoring()
        calls: list[Callable[[], object]] = [
            provider.latest_frame,
            provider.wait_for_frame,
            provider.hold,
            provider.start_monitoring,
            provider.latest_view().__enter__,
        ]
        for call in calls:
            with pytest.raises(CacheError, match="closed"):
                call()

    def test_what_has_not_happened_yet_is_not_made_up(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider
    ) -> None:
        assert provider.get_latest_image() == (False, None, None)
        with pytest.raises(ImageNotFoundError, match="does the camera deliver"):
            provider.latest_frame()
        assert provider.get_status() == {
            "monitoring_active": False,
            "cache_size": 0,
            "latest_image_age": math.inf,
            "total_images_loaded": 0,
            "cache_hit_rate": 0.0,
            "last_update": None,
        }

    def test_the_status_counts(self, hand_off: HandOff, clock: FakeClock, source: str) -> None:
        with hand_off.provider(background_monitoring=False, enable_performance_monitoring=True) as provider:
            hand_off.publish(age=1.0)
            for _ in range(4):
                provider.latest_frame()
            clock.advance(2.0)

            status = provider.get_status()

            assert status["total_images_loaded"] == 1
            assert status["cache_hit_rate"] == (75.0 if source == "file" else 100.0)
            assert status["latest_image_age"] == 3.0
            assert status["last_update"] == clock.wall / 1e9 - 2.0
            assert status["average_image_age"] == 1.0
            assert status["images_per_second"] > 1.0

    def test_a_wrong_argument_is_named(self, hand_off: HandOff, provider: SharedVolumeImageProvider) -> None:
        hand_off.publish()
        wrong: list[tuple[Callable[[], object], str]] = [
            (lambda: provider.latest_frame(stream="raw"), "stream is 'raw'"),
            (lambda: provider.latest_frame(divisor=3), "divisor is 3"),  # type: ignore[arg-type]
            (lambda: provider.latest_frame(math.nan), "max_age_seconds is nan"),
            (lambda: provider.latest_frame(-1), "max_age_seconds is -1"),
            (lambda: provider.latest_frame("5"), "max_age_seconds is '5'"),  # type: ignore[arg-type]
            (lambda: provider.latest_frame(not_before=datetime(2026, 1, 1)), "no time zone"),  # noqa: DTZ001
            (lambda: provider.latest_frame(not_before=math.nan), "not_before is nan"),
            (lambda: provider.wait_for_frame(timeout=math.nan), "timeout is nan"),
        ]
        for call, said in wrong:
            with pytest.raises(RequestInvalidError, match=said):
                call()
        assert provider.get_latest_image(math.nan) == (False, None, None)
        assert provider.get_latest_image()[0] is True


class TestRingAndFilesTogether:
    @pytest.fixture
    def source(self) -> str:
        return "ring"

    def test_a_file_that_is_newer_than_the_ring_is_given(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider, tmp_path: Path
    ) -> None:
        hand_off.publish(sequence=5)
        assert provider.latest_frame().source == "ring"
        hand_off._ring, ring = None, hand_off._ring

        hand_off.publish(picture(9), sequence=8)
        hand_off.publish(picture(10), sequence=9)

        frame = provider.latest_frame()
        hand_off._ring = ring
        assert (frame.source, frame.sequence) == ("file", 9)

    def test_who_waits_gets_the_decoded_frame_when_it_comes_a_moment_after_its_file(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider
    ) -> None:
        hand_off.publish(sequence=5)
        assert provider.wait_for_frame(timeout=0).source == "ring"
        ring, hand_off._ring = hand_off._ring, None
        assert ring is not None
        hand_off.publish(sequence=6)
        stored = hand_off._stored[-1]
        timer = threading.Timer(0.1, lambda: hand_off_ring(hand_off, ring, stored))
        timer.start()

        frame = provider.wait_for_frame(timeout=20)

        timer.join()
        hand_off._ring = ring
        assert (frame.source, frame.sequence) == ("ring", 6)

    def test_who_does_not_wait_gets_what_is_decoded_already(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider
    ) -> None:
        hand_off.publish(sequence=5)
        assert provider.latest_frame().source == "ring"
        ring, hand_off._ring = hand_off._ring, None
        hand_off.publish(sequence=6)

        frame = provider.latest_frame()
        wait_until(lambda: provider.latest_frame().sequence == 6, "the file is decoded when the ring does not come")
        hand_off._ring = ring

        assert (frame.source, frame.sequence) == ("ring", 5)

    def test_a_ring_that_comes_late_for_one_frame_is_waited_for_at_the_next(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider
    ) -> None:
        hand_off.publish(sequence=4)
        ring, hand_off._ring = hand_off._ring, None
        assert ring is not None
        hand_off.publish(sequence=5)
        hand_off.publish(sequence=6)
        late = hand_off._stored[-1]
        assert provider.wait_for_frame(timeout=0).source == "file"
        hand_off_ring(hand_off, ring, late)
        hand_off.publish(sequence=7)
        timer = threading.Timer(0.1, lambda: hand_off_ring(hand_off, ring, hand_off._stored[-1]))
        timer.start()

        frame = provider.wait_for_frame(timeout=20)

        timer.join()
        hand_off._ring = ring
        assert (frame.source, frame.sequence) == ("ring", 7)

    def test_a_ring_that_falls_silent_costs_one_short_wait(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider
    ) -> None:
        hand_off.publish(sequence=5)
        assert provider.wait_for_frame(timeout=0).source == "ring"
        ring, hand_off._ring = hand_off._ring, None
        took = []
        for sequence in (6, 7, 8):
            hand_off.publish(sequence=sequence)
            began = time.monotonic()
            assert provider.wait_for_frame(timeout=20).source == "file"
            took.append(time.monotonic() - began)

        hand_off._ring = ring
        assert 0.4 <= took[0] < 5
        assert max(took[1:]) < 0.4

    def test_a_ring_that_speaks_again_is_used_again(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider
    ) -> None:
        hand_off.publish(sequence=5)
        ring, hand_off._ring = hand_off._ring, None
        hand_off.publish(sequence=6)
        hand_off.publish(sequence=7)
        assert provider.latest_frame().source == "file"
        hand_off._ring = ring

        hand_off.publish(sequence=8)

        assert provider.wait_for_frame(timeout=0).source == "ring"

    def test_a_stale_ring_does_not_hide_a_fresh_file(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider, clock: FakeClock
    ) -> None:
        hand_off.publish(sequence=5)
        provider.latest_frame()
        clock.advance(60)
        hand_off._ring, ring = None, hand_off._ring
        hand_off.publish(sequence=6)

        frame = provider.latest_frame()

        hand_off._ring = ring
        assert (frame.source, frame.sequence) == ("file", 6)

    def test_the_ring_of_another_area_is_not_taken(self, hand_off: HandOff, tmp_path: Path, clock: FakeClock) -> None:
        with HandOff(tmp_path / "other", ring=True, clock=clock) as other:
            other.publish(picture(1), sequence=100)
            hand_off.publish(picture(200), sequence=5)
            with hand_off.provider(ring_dir=other.ring_dir, background_monitoring=False) as provider:
                frame = provider.latest_frame()

        assert (frame.source, frame.sequence) == ("file", 5)

    def test_a_frame_without_a_file_yet_has_no_name_and_gets_it(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider
    ) -> None:
        ring = hand_off._ring
        assert ring is not None
        published = hand_off.publish(sequence=5)
        stored = hand_off._stored[-1]
        raw = replace(stored.sidecar, filename="", sha256="", file_size=0)
        hand_off.clear()
        for mark in hand_off._presence:
            mark.touch()
        assert hand_off._ring is not None
        hand_off._ring.publish_pixels(raw, picture(200))

        assert provider.latest_frame().metadata["filename"] == ""
        assert provider.get_status()["latest_image_age"] == 0.0

        (hand_off._metadata / (stored.path.stem + ".json")).write_bytes(stored.sidecar.to_json())
        stored.path.write_bytes(hand_off._last_jpeg)
        frame = provider.latest_frame()
        assert frame.source == "ring"
        assert frame.metadata["filename"] == published["filename"]


def hand_off_ring(hand_off: HandOff, ring: Any, stored: Any) -> None:
    for mark in hand_off._presence:
        mark.touch()
    ring.publish_jpeg(stored.sidecar, hand_off._last_jpeg)


class TestPlaces:
    def test_an_area_that_is_not_there_is_said_to_be_missing(self, tmp_path: Path) -> None:
        with SharedVolumeImageProvider(tmp_path / "nowhere", ring_dir="") as provider:
            assert provider.get_latest_image() == (False, None, None)
            with pytest.raises(StorageUnavailableError, match="has no marker"):
                provider.latest_frame()

    def test_an_area_that_goes_and_comes_back(
        self, hand_off: HandOff, provider: SharedVolumeImageProvider, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        hand_off.publish()
        assert provider.get_latest_image()[0] is True
        hand_off.unmount()

        assert [provider.get_latest_image()[0] for _ in range(3)] == [False] * 3
        assert provider.get_status()["latest_image_age"] == math.inf

        hand_off.mount()
        assert [provider.get_latest_image()[0] for _ in range(3)] == [True] * 3
        codes = [record.getMessage().split(maxsplit=1)[0] for record in caplog.records]
        assert codes == ["NO_FRESH_IMAGE", "NO_FRESH_IMAGE_OVER"]

    def test_a_wait_goes_on_over_a_remount(self, hand_off: HandOff, provider: SharedVolumeImageProvider) -> None:
        hand_off.unmount()

        def come_back() -> None:
            hand_off.mount()
            hand_off.publish(sequence=6)

        timer = threading.Timer(0.2, come_back)
        timer.start()

        assert provider.wait_for_frame(timeout=20).sequence == 6
        timer.join()

    def test_another_area_in_the_same_place_has_sequences_of_its_own(
        self, tmp_path: Path, clock: FakeClock, source: str
    ) -> None:
        with HandOff(tmp_path / "x", ring=source == "ring", clock=clock) as first:
            first.publish(picture(10), sequence=1000)
            first.publish(picture(10), sequence=1001)
            provider = first.provider(background_monitoring=False)
            assert provider.latest_frame().sequence == 1001
            assert provider.force_refresh() is False
            assert len(provider.get_cached_images()) == 2
        clock.advance(1)
        shutil.rmtree(tmp_path / "x")
        with HandOff(tmp_path / "x", ring=source == "ring", clock=clock) as second, provider:
            second.publish(picture(200), sequence=1000, age=2.0)
            with pytest.raises(ImageTooOldError, match="of another volume"):
                provider.latest_frame()
            status = provider.get_status()
            assert (status["cache_size"], status["latest_image_age"]) == (0, 2.0)
            loaded = status["total_images_loaded"]
            second.publish(picture(200), sequence=1001)

            frame = provider.wait_for_frame(timeout=0)

            assert frame.sequence == 1001
            assert abs(shade_of(frame.image) - 200) <= 2
            assert provider.get_status()["total_images_loaded"] == loaded + 1
            second.publish(picture(200), sequence=1002)
            assert provider.force_refresh() is True
            assert provider.get_cached_images()[0][2]["sequence"] == 1002

    def test_a_wait_goes_on_over_a_change_of_areas(self, tmp_path: Path, clock: FakeClock) -> None:
        with HandOff(tmp_path / "x", clock=clock) as first:
            first.publish(sequence=1000)
            provider = first.provider(background_monitoring=False)
            assert provider.latest_frame().sequence == 1000

        def replace_area() -> None:
            shutil.rmtree(tmp_path / "x")
            with HandOff(tmp_path / "x", clock=clock) as second:
                second.publish(sequence=3)

        timer = threading.Timer(0.2, replace_area)
        timer.start()
        with provider:
            assert provider.wait_for_frame(timeout=20).sequence == 3
        timer.join()

    def test_a_further_camera_is_found_by_its_folder(self, tmp_path: Path, source: str) -> None:
        with HandOff(tmp_path, camera="north", ring=source == "ring") as hand_off:
            hand_off.publish(picture(200))
            assert hand_off.folder == hand_off.area / "cameras" / "north"
            with hand_off.provider() as provider:
                frame = provider.latest_frame()

        assert frame.metadata["camera"] == "north"
        assert frame.source == source

    def test_the_environment_is_the_default_and_no_more(
        self, hand_off: HandOff, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: FakeClock, source: str
    ) -> None:
        hand_off.publish()
        for name, value in hand_off.environment.items():
            monkeypatch.setenv(name, value)

        with SharedVolumeImageProvider(clock=clock) as provider:
            assert provider.latest_frame().source == source
        with SharedVolumeImageProvider(tmp_path / "elsewhere", clock=clock) as provider:
            assert provider.get_latest_image()[0] is False

    def test_a_config_object_is_taken(self, hand_off: HandOff, clock: FakeClock) -> None:
        hand_off.publish(age=2.0)
        config = ImageProviderConfig(
            str(hand_off.folder), cache_size=3, max_age_seconds=1.0, background_monitoring=False
        )

        with SharedVolumeImageProvider(config, ring_dir=hand_off.ring_dir, clock=clock) as provider:
            assert provider.get_latest_image()[0] is False
            assert provider.get_latest_image(2.0)[0] is True


@pytest.mark.parametrize("size", [-1, "10", 1.0, True, None])
def test_a_cache_size_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(CacheError, match="cache_size is"):
        SharedVolumeImageProvider("/nowhere", size)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"max_age_seconds": math.nan}, "max_age_seconds is nan"),
        ({"max_age_seconds": -1}, "max_age_seconds is -1"),
        ({"max_age_seconds": "5"}, "max_age_seconds is '5'"),
        ({"monitor_interval": -0.1}, "monitor_interval is -0.1"),
        ({"monitor_interval": math.inf}, "monitor_interval is infinite"),
        ({"shared_volume_dir": ""}, "shared_volume_dir is ''"),
        ({"shared_volume_dir": 5}, "shared_volume_dir is 5"),
    ],
)
def test_an_argument_that_cannot_be_worked_with_is_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SharedVolumeImageProvider(**arguments)


def test_every_error_of_the_strict_forms_is_one_of_the_shared_volume() -> None:
    for error in (CacheError, ImageNotFoundError, ImageTooOldError, StorageUnavailableError):
        assert issubclass(error, SharedVolumeError)
    assert not issubclass(RequestInvalidError, SharedVolumeError)
    assert issubclass(RequestInvalidError, FieldcamError)


def test_two_threads_never_get_an_older_frame_than_one_of_them_has(tmp_path: Path) -> None:
    with HandOff(tmp_path) as hand_off, hand_off.provider() as provider:
        hand_off.publish()
        stop = threading.Event()
        order: list[int] = []
        backwards: list[tuple[int, int]] = []

        def read() -> None:
            while not stop.is_set():
                before = max(order, default=-1)
                frame = provider.latest_frame()
                if frame.sequence < before:
                    backwards.append((before, frame.sequence))
                order.append(frame.sequence)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        published = [hand_off.publish(picture(number % 256, (1600, 1200)))["sequence"] for number in range(30)]
        wait_until(lambda: published[-1] in order, "the last frame is read")
        stop.set()
        for thread in threads:
            thread.join()

    assert backwards == []


def test_whoever_reads_ten_million_pixels_never_waits_for_another_thread_that_decodes(tmp_path: Path) -> None:
    """The lock is for choosing: while one decodes, another can ask for the status."""
    with HandOff(tmp_path) as hand_off, hand_off.provider(background_monitoring=False) as provider:
        hand_off.publish()
        decoding, go_on = threading.Event(), threading.Event()

        def decode_slowly(data: bytes, *_: Any, **__: Any) -> Any:
            decoding.set()
            assert go_on.wait(20)
            return simplejpeg.decode_jpeg(data, "BGR")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fieldcam.provider.held.decode", decode_slowly)
            thread = threading.Thread(target=provider.latest_frame)
            thread.start()
            assert decoding.wait(20)
            assert provider.get_status()["latest_image_age"] < 60
            go_on.set()
            thread.join()


def test_a_thread_that_decodes_slowly_does_not_bring_an_older_frame(tmp_path: Path) -> None:
    with HandOff(tmp_path) as hand_off, hand_off.provider(background_monitoring=False) as provider:
        hand_off.publish(sequence=5)
        decoding, go_on = threading.Event(), threading.Event()
        slow: list[int] = []

        def decode_slowly(data: bytes, **_: Any) -> Any:
            if threading.current_thread() is thread and not decoding.is_set():
                decoding.set()
                assert go_on.wait(20)
            return simplejpeg.decode_jpeg(data, "BGR")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fieldcam.provider.held.decode", decode_slowly)
            thread = threading.Thread(target=lambda: slow.append(provider.latest_frame().sequence))
            thread.start()
            assert decoding.wait(20)
            hand_off.publish(sequence=6)
            assert provider.latest_frame().sequence == 6
            go_on.set()
            thread.join()

    assert slow == [6]

# SPDX-License-Identifier: MIT
"""Memory of pictures is used again, and never while anybody can still see it."""

from __future__ import annotations

import copy
import ctypes
import gc
import random
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from fieldcam.core.errors import SharedVolumeError
from fieldcam.provider import picture_buffers
from fieldcam.provider.last_picture import KEEP_SECONDS
from fieldcam.provider.picture_buffers import MOST_BUFFERS, PictureBuffers
from fieldcam.testing import HandOff
from fieldcam.testing import picture as picture_of
from tests.appliance_tree import wait_until

SHAPE = (40, 60, 3)
Picture = npt.NDArray[np.uint8]


@pytest.fixture(autouse=True)
def _small_pictures_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_buffers, "LEAST_BYTES", 0)


def address(picture: Picture) -> int:
    """Return where it is in memory."""
    return int(picture.__array_interface__["data"][0])


def filled(buffers: PictureBuffers, value: int, shape: tuple[int, ...] = SHAPE) -> Picture:
    """Take a picture of one value."""
    picture = buffers.take(shape)
    picture[...] = value
    return picture


def _in_place(picture: Picture) -> Picture:
    picture.shape = (60, 120)
    return picture


def _locked(picture: Picture) -> Picture:
    picture.flags.writeable = False
    return picture


def _in_a_cycle(picture: Picture) -> list[Any]:
    cycle: list[Any] = [picture[2:4]]
    cycle.append(cycle)
    return cycle


def _in_an_error(picture: Picture) -> ValueError:
    def fail(_: Picture) -> None:
        raise ValueError

    try:
        fail(picture)
    except ValueError as error:
        return error
    raise AssertionError


def _in_a_generator(picture: Picture) -> Any:
    def rows(picture: Picture) -> Any:
        yield from picture

    generator = rows(picture)
    next(generator)
    return generator


def _umat(picture: Picture) -> Any:
    open_cv: Any = cv2  # its stub leaves arrays out here
    return open_cv.UMat(picture)


def _cv2_result(picture: Picture) -> Any:
    return cv2.flip(picture, 0, dst=picture)


# How a consumer may hold on to what he was given.
KEPT: dict[str, Callable[[Picture], Any]] = {
    "the picture": lambda picture: picture,
    "a part": lambda picture: picture[3:9, 4:8],
    "one pixel of it": lambda picture: picture[3:4, 4:5, 0],
    "a part of a part": lambda picture: picture[3:9][1:][::-1],
    "turned": lambda picture: np.asarray(picture).T,
    "flat": lambda picture: picture.ravel(),
    "an iterator": lambda picture: picture.flat,
    "a memoryview": lambda picture: picture.data,
    "a part of a memoryview": lambda picture: picture.data.cast("B")[100:200],
    "another type": lambda picture: picture.reshape(40, -1).view(np.uint32),
    "another class": lambda picture: picture[:, :, 0].view(np.matrix),
    "a record": lambda picture: picture.view([("b", "u1"), ("g", "u1"), ("r", "u1")])["g"],
    "another buffer": lambda picture: np.frombuffer(picture, np.uint8),
    "strides": lambda picture: np.lib.stride_tricks.as_strided(picture, (4,), (7,)),
    "a masked array": lambda picture: np.ma.masked_array(picture, copy=False),
    "the array below": lambda picture: picture.base,
    "a pointer": lambda picture: picture.ctypes,
    "an exchanged one": np.from_dlpack,
    "changed in shape": _in_place,
    "locked": _locked,
    "in a cycle": _in_a_cycle,
    "in an error": _in_an_error,
    "in a generator": _in_a_generator,
    "in a function": lambda picture: lambda: picture,
    "what OpenCV gives back": _cv2_result,
    "what OpenCV has a copy of": _umat,
}


def test_memory_that_was_let_go_is_used_again_and_the_picture_looks_like_any_other() -> None:
    buffers = PictureBuffers()
    first = filled(buffers, 1)
    where = address(first)
    assert first.shape == SHAPE
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous
    assert first.flags.writeable
    del first

    for number in range(10):
        picture = filled(buffers, number)
        assert address(picture) == where
        del picture
    assert len(buffers) == 1


def test_whoever_keeps_one_picture_while_he_asks_for_the_next_has_two_in_turn() -> None:
    buffers = PictureBuffers()
    seen = set()
    last = filled(buffers, 0)
    for number in range(1, 20):
        picture = filled(buffers, number)
        assert (last == number - 1).all()
        last = picture
        seen.add(address(picture))

    assert len(seen) == MOST_BUFFERS


@pytest.mark.parametrize("how", KEPT)
def test_whatever_is_kept_of_a_picture_never_changes(how: str) -> None:
    buffers = PictureBuffers()
    picture = filled(buffers, 7)
    where = address(picture)
    kept = KEPT[how](picture)
    del picture

    later = [filled(buffers, number) for number in range(4)]
    for number in range(4, 12):
        filled(buffers, number)

    if how != "what OpenCV has a copy of":
        assert all(address(other) != where for other in later)
    for part in _parts(kept):
        assert (np.asarray(part) == np.asarray(7 if part.dtype.itemsize == 1 else 0x07070707)).all()


def _parts(kept: Any) -> list[Any]:
    """Return the arrays of what was kept."""
    if isinstance(kept, list):
        return kept[:1]
    if isinstance(kept, cv2.UMat):
        return [kept.get()]
    if isinstance(kept, ValueError):
        assert kept.__traceback__ is not None
        assert kept.__traceback__.tb_next is not None
        return [kept.__traceback__.tb_next.tb_frame.f_locals["_"]]
    if callable(kept):
        return [kept()]
    if hasattr(kept, "gi_frame"):
        return [next(kept)]
    if hasattr(kept, "data_as"):
        return [np.ctypeslib.as_array(kept.data_as(ctypes.POINTER(ctypes.c_uint8)), (9,))]
    return [np.asarray(kept)]


@pytest.mark.parametrize("how", sorted(set(KEPT) - {"what OpenCV has a copy of"}))
def test_once_that_is_gone_the_memory_is_used_again(how: str) -> None:
    buffers = PictureBuffers()
    picture = filled(buffers, 7)
    where = address(picture)
    kept = KEPT[how](picture)
    del picture
    assert address(filled(buffers, 1)) != where

    del kept
    gc.collect()

    assert where in {address(picture) for picture in [filled(buffers, 2), filled(buffers, 3)]}


def test_a_picture_that_another_thread_looks_at_is_left_alone() -> None:
    buffers = PictureBuffers()
    has_it, may_go = threading.Event(), threading.Event()
    found = []

    def look(rows: Picture) -> None:
        has_it.set()
        may_go.wait(30)
        found.append(bool((rows == 7).all()))

    thread = threading.Thread(target=look, args=(filled(buffers, 7)[1:3],))
    thread.start()
    assert has_it.wait(30)
    for number in range(20):
        filled(buffers, number)
    may_go.set()
    thread.join()

    assert found == [True]


def test_many_threads_never_get_the_same_memory() -> None:
    buffers = PictureBuffers()
    torn: list[int] = []
    ends_at = time.monotonic() + 2

    def use(value: int) -> None:
        dice = random.Random(value)
        kept: list[Picture] = []
        while time.monotonic() < ends_at and not torn:
            kept.append(filled(buffers, value)[dice.randrange(20) :])
            if not all((part == value).all() for part in kept):
                torn.append(value)
            if len(kept) > dice.randrange(4):
                kept.pop(dice.randrange(len(kept)))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=use, args=(value,)) for value in range(1, 7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert torn == []


def test_a_weak_reference_to_a_picture_ends_with_the_picture() -> None:
    buffers = PictureBuffers()
    picture = filled(buffers, 7)
    gone = weakref.ref(picture)

    del picture

    assert gone() is None


def test_memory_that_somebody_could_get_back_by_a_weak_reference_is_left_alone() -> None:
    buffers = PictureBuffers()
    picture = filled(buffers, 7)
    below = weakref.ref(picture.base)
    del picture

    filled(buffers, 1)
    filled(buffers, 2)

    memory = below()
    assert memory is None or (memory == 7).all()


def _reshaped(memory: Any) -> None:
    memory.shape = (2, memory.size // 2)


def _retyped(memory: Any) -> None:
    memory.dtype = np.uint16


def _protected(memory: Any) -> None:
    memory.flags.writeable = False


@pytest.mark.parametrize("change", [_reshaped, _retyped, _protected])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_memory_whose_owner_was_found_and_changed_is_not_used_again(change: Callable[[Any], None]) -> None:
    buffers = PictureBuffers()
    change(filled(buffers, 7).base)

    for number in range(4):
        picture = filled(buffers, number)
        assert picture.shape == SHAPE
        assert picture.dtype == np.uint8
        assert picture.flags.writeable


def test_pictures_of_another_size_get_memory_of_theirs() -> None:
    buffers = PictureBuffers()
    large, small = filled(buffers, 1), filled(buffers, 2, (5, 5, 3))
    where = address(large), address(small)
    del large, small

    for _ in range(3):
        large, small = filled(buffers, 3), filled(buffers, 4, (5, 5, 3))
        assert (address(large), address(small)) == where
        assert small.shape == (5, 5, 3)
        del large, small
    assert len(buffers) == 2


def test_a_copy_of_a_picture_is_a_usual_array() -> None:
    picture = filled(PictureBuffers(), 7)

    for other in (picture.copy(), copy.deepcopy(picture)):
        assert other.flags.owndata
        assert (other == 7).all()


def test_no_more_than_two_are_kept_and_what_a_caller_keeps_becomes_his() -> None:
    buffers = PictureBuffers()
    kept = [filled(buffers, number) for number in range(10)]
    assert len(buffers) == MOST_BUFFERS
    memory = [weakref.ref(picture.base) for picture in kept]

    assert all((picture == number).all() for number, picture in enumerate(kept))
    kept.clear()
    gc.collect()

    assert sum(found() is not None for found in memory) == MOST_BUFFERS
    buffers.clear()
    assert not any(found() is not None for found in memory)


def test_memory_is_given_back_when_nobody_asked_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    buffers = PictureBuffers()
    kept = filled(buffers, 7)
    filled(buffers, 8)
    buffers.let_go()
    assert len(buffers) == 2
    later = time.monotonic() + KEEP_SECONDS + 0.1
    monkeypatch.setattr(time, "monotonic", lambda: later)

    buffers.let_go()

    assert len(buffers) == 0
    filled(buffers, 9)
    assert (kept == 7).all()


def test_small_pictures_are_left_to_the_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_buffers, "LEAST_BYTES", 10**6)
    buffers = PictureBuffers()

    assert filled(buffers, 1).flags.owndata
    assert len(buffers) == 0


def test_where_references_are_not_counted_each_picture_has_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_buffers, "_COUNTS_REFERENCES", False)
    buffers = PictureBuffers()

    assert filled(buffers, 1).flags.owndata
    assert len(buffers) == 0


# --- as a consumer sees it -------------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["file", "ring"])
def hand_off(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HandOff]:
    """Return a hand-off area, with a ring and without."""
    with HandOff(tmp_path, ring=request.param) as made:
        yield made


def test_every_frame_a_consumer_keeps_stays_as_it_was(hand_off: HandOff) -> None:
    kept = []
    with hand_off.provider() as provider:
        for number in range(24):
            hand_off.publish(picture_of(10 * number + 5))
            frame = provider.wait_for_frame(timeout=20) if number % 3 else provider.latest_frame()
            assert frame.image.flags.writeable
            frame.image[0, 0] = number  # it is the consumer's own
            if number % 2:
                kept.append((number, frame.image[: 100 + number]))
            for before, part in kept:
                assert abs(int(part[50, 50, 0]) - (10 * before + 5)) <= 2
                assert (part[0, 0] == before).all()

    for before, part in kept:
        assert abs(int(part[50, 50, 0]) - (10 * before + 5)) <= 2


def test_a_consumer_that_drops_each_frame_gets_the_same_memory_until_nobody_asks(hand_off: HandOff) -> None:
    with hand_off.provider() as provider:
        provider.start_monitoring()

        def take(shade: int) -> int:
            hand_off.publish(picture_of(shade))
            return address(provider.wait_for_frame(timeout=20).image)

        assert len({take(shade) for shade in range(10, 100, 10)}) == 1
        buffers = provider._giver._buffers
        assert len(buffers) == 1

        wait_until(lambda: len(buffers) == 0, "the memory is given back")


def test_a_frame_outlives_the_provider_that_gave_it(hand_off: HandOff) -> None:
    with hand_off.provider() as provider:
        hand_off.publish(picture_of(100))
        image = provider.wait_for_frame(timeout=20).image
        held = provider.hold(newer_than=-1)
    with hand_off.provider() as other:
        hand_off.publish(picture_of(200))
        other.wait_for_frame(timeout=20)

    with held:
        assert abs(int(held.image()[50, 50, 0]) - 100) <= 2
    assert abs(int(image[50, 50, 0]) - 100) <= 2
    assert len(provider._giver._buffers) == 0


def test_without_the_thread_that_gives_it_back_no_memory_is_kept(hand_off: HandOff) -> None:
    with hand_off.provider(background_monitoring=False) as provider:
        hand_off.publish()
        provider.wait_for_frame(timeout=20)
        assert len(provider._giver._buffers) == 0

        provider.start_monitoring()
        hand_off.publish()
        provider.wait_for_frame(timeout=20)
        assert len(provider._giver._buffers) == 1
        provider.stop_monitoring()
        assert len(provider._giver._buffers) == 0


def test_a_damaged_file_is_decoded_into_nobodys_picture(tmp_path: Path) -> None:
    with HandOff(tmp_path) as hand_off, hand_off.provider(cache_size=0) as provider:
        hand_off.publish(picture_of(100))
        image = provider.wait_for_frame(timeout=20).image
        hand_off.publish(picture_of(200))
        hand_off.make_damaged("cut")

        for _ in range(3):
            with suppress(SharedVolumeError):
                provider.latest_frame(newer_than=1)

    assert abs(int(image[50, 50, 0]) - 100) <= 2

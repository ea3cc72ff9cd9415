# SPDX-License-Identifier: MIT
"""What lies in a hand-off area and is no good must neither be given, nor hide what is, nor be opened for ever."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fieldcam.core.errors import ImageNotFoundError, ImageTooOldError, SharedVolumeError, StorageUnavailableError
from fieldcam.core.jpeg import decode
from fieldcam.core.layout import MARKER
from fieldcam.provider import SharedVolumeImageProvider
from fieldcam.provider.files import LiveFrame
from fieldcam.store import reader
from fieldcam.testing import HandOff, picture
from tests.frames_on_disk import FakeClock, as_an_ordinary_user

FAR = "capture_20990101_000000_000"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hand_off(tmp_path: Path, clock: FakeClock) -> Iterator[HandOff]:
    with HandOff(tmp_path, clock=clock) as made:
        yield made


@pytest.fixture
def provider(hand_off: HandOff) -> Iterator[SharedVolumeImageProvider]:
    with hand_off.provider(background_monitoring=False) as made:
        yield made


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Make a folder that other users can go through; pytest's own are closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="fc-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def live(hand_off: HandOff) -> Path:
    return hand_off.folder / "live"


def metadata(hand_off: HandOff) -> Path:
    return hand_off.folder / "metadata"


def plant_pipe(hand_off: HandOff) -> None:
    os.mkfifo(live(hand_off) / f"{FAR}.jpg")
    os.mkfifo(metadata(hand_off) / f"{FAR}.json")


def plant_pipe_beside_an_image(hand_off: HandOff) -> None:
    (live(hand_off) / f"{FAR}.jpg").write_bytes(b"x")
    os.mkfifo(metadata(hand_off) / f"{FAR}.json")


def plant_links(hand_off: HandOff) -> None:
    (live(hand_off) / f"{FAR}.jpg").symlink_to("/etc/hostname")
    (metadata(hand_off) / f"{FAR}.json").symlink_to("/etc/hostname")


def plant_folders(hand_off: HandOff) -> None:
    (live(hand_off) / f"{FAR}.jpg").mkdir()
    (metadata(hand_off) / f"{FAR}.json").mkdir()


def plant_copies(hand_off: HandOff) -> None:
    for number in range(10):
        stored = hand_off._stored[0].path
        shutil.copy(stored, live(hand_off) / f"capture_20990101_000000_{number:03d}.jpg")
        shutil.copy(
            metadata(hand_off) / f"{stored.stem}.json",
            metadata(hand_off) / f"capture_20990101_000000_{number:03d}.json",
        )


def plant_names_only(hand_off: HandOff) -> None:
    for number in range(10):
        (live(hand_off) / f"capture_20990101_000000_{number:03d}.jpg").write_bytes(b"half of an ima")


def plant_huge_sidecar(hand_off: HandOff) -> None:
    (live(hand_off) / f"{FAR}.jpg").write_bytes(b"x")
    (metadata(hand_off) / f"{FAR}.json").write_bytes(b"[" * 10**6)


def plant_old_boot(hand_off: HandOff) -> None:
    for number in range(10):
        hand_off.publish(sequence=10**9 + number, boot_id="another")


def plant_future(hand_off: HandOff) -> None:
    hand_off.publish(sequence=10**9, age=-3600.0)


def plant_wrong_types(hand_off: HandOff) -> None:
    sidecar = json.loads((metadata(hand_off) / f"{hand_off._stored[0].path.stem}.json").read_bytes())
    (live(hand_off) / f"{FAR}.jpg").write_bytes(b"x")
    for wrong in ({"sequence": "9"}, {"monotonic_ns": None}, {"settings": 7}):
        (metadata(hand_off) / f"{FAR}.json").write_text(json.dumps(sidecar | {"filename": f"{FAR}.jpg"} | wrong))


def plant_temporaries(hand_off: HandOff) -> None:
    (live(hand_off) / f".{FAR}.jpg.77-0.tmp").write_bytes(b"half")
    (live(hand_off) / "holiday.jpg").write_bytes(b"x")


PLANTS = [value for name, value in sorted(globals().items()) if name.startswith("plant_")]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_what_is_no_frame_does_not_hide_one(
    hand_off: HandOff, provider: SharedVolumeImageProvider, plant: Callable[[HandOff], None]
) -> None:
    published = hand_off.publish(picture(77))
    plant(hand_off)

    for _ in range(3):
        assert provider.latest_frame().sequence == published["sequence"]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_what_is_no_frame_is_opened_once(
    hand_off: HandOff,
    provider: SharedVolumeImageProvider,
    plant: Callable[[HandOff], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand_off.publish()
    plant(hand_off)
    opened: list[Path] = []
    real = reader.open_plain

    def opens(path: Path) -> int:
        opened.append(path)
        return real(path)

    monkeypatch.setattr(reader, "open_plain", opens)
    provider.latest_frame()
    first = len(opened)
    opened.clear()

    for _ in range(5):
        hand_off.publish()
        provider.latest_frame()

    assert first <= 14
    assert len(opened) == 5, "one sidecar for each new frame"


def test_each_look_is_at_most_one_listing(
    hand_off: HandOff, provider: SharedVolumeImageProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        hand_off.publish()
    provider.latest_frame()
    before = [path.stat().st_mtime_ns for path in (live(hand_off), metadata(hand_off))]
    while time.time_ns() - max(before) < 30_000_000:
        pass  # until two changes cannot have the same time
    listed: list[object] = []
    real = os.scandir

    def lists(folder: Path) -> object:
        listed.append(folder)
        return real(folder)

    monkeypatch.setattr(os, "scandir", lists)

    provider.latest_frame()
    assert len(listed) == 1
    for _ in range(10):
        provider.latest_frame()
    assert len(listed) == 1, "nothing changed, so nothing is listed"
    hand_off.publish()
    provider.latest_frame()
    assert len(listed) == 2


def test_keys_of_a_newer_release_are_tolerated(hand_off: HandOff, provider: SharedVolumeImageProvider) -> None:
    hand_off.publish()
    sidecar = metadata(hand_off) / f"{hand_off._stored[0].path.stem}.json"
    data = json.loads(sidecar.read_bytes())
    sidecar.write_text(json.dumps(data | {"schema": 99, "invented_later": {"x": [1]}}))

    frame = provider.latest_frame()

    assert frame.metadata["schema"] == 99
    assert "invented_later" not in frame.metadata


@pytest.mark.parametrize(
    ("damage", "error", "said"),
    [
        ("cut", ImageNotFoundError, "is damaged"),
        ("half-written", ImageNotFoundError, "bytes, its sidecar says"),
        ("no sidecar", ImageNotFoundError, "there is no sidecar"),
        ("bad sidecar", ImageNotFoundError, "is damaged"),
    ],
)
def test_when_nothing_is_left_it_is_said_what_is_wrong(
    hand_off: HandOff, provider: SharedVolumeImageProvider, damage: str, error: type[Exception], said: str
) -> None:
    name = hand_off.make_damaged(damage)  # type: ignore[arg-type]
    messages: list[str] = []

    for _ in range(2):
        with pytest.raises(error) as caught:
            provider.latest_frame()
        messages.append(str(caught.value))
    assert all(name.removesuffix(".jpg") in message for message in messages)
    assert said in messages[0]
    assert provider.get_latest_image() == (False, None, None)


def test_a_damaged_image_is_decoded_once(
    hand_off: HandOff, provider: SharedVolumeImageProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_off.publish()
    hand_off.make_damaged("cut")
    decoded: list[int] = []

    def decodes(data: bytes, **arguments: Any) -> object:
        decoded.append(len(data))
        return decode(data, **arguments)

    monkeypatch.setattr("fieldcam.provider.held.decode", decodes)

    for _ in range(3):
        provider.latest_frame()

    assert len(decoded) == 4, "the damaged one at first, and the whole one each time"


def test_a_sidecar_that_comes_after_its_image_is_seen(hand_off: HandOff, provider: SharedVolumeImageProvider) -> None:
    hand_off.publish(sequence=5)
    sidecar = metadata(hand_off) / f"{hand_off._stored[0].path.stem}.json"
    kept = sidecar.read_bytes()
    sidecar.unlink()
    with pytest.raises(ImageNotFoundError, match="there is no sidecar"):
        provider.latest_frame()

    sidecar.write_bytes(kept)

    assert provider.latest_frame().sequence == 5


def test_files_that_are_deleted_by_hand_are_just_gone(hand_off: HandOff, provider: SharedVolumeImageProvider) -> None:
    hand_off.publish(sequence=5)
    provider.latest_frame()
    shutil.rmtree(live(hand_off))

    with pytest.raises(ImageNotFoundError, match="the folder is missing"):
        provider.latest_frame()

    live(hand_off).mkdir()
    with pytest.raises(ImageNotFoundError, match="does the camera deliver"):
        provider.latest_frame()
    hand_off.publish(sequence=6)
    assert provider.latest_frame().sequence == 6


def test_a_file_that_goes_between_the_look_and_the_read_is_passed_over(
    hand_off: HandOff, provider: SharedVolumeImageProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_off.publish(sequence=5)
    hand_off.publish(sequence=6)
    real = LiveFrame.read

    def rolled(frame: LiveFrame) -> bytes:
        if frame.sidecar.sequence == 6:
            frame.path.unlink()
        return real(frame)

    monkeypatch.setattr(LiveFrame, "read", rolled)

    assert provider.latest_frame().sequence == 5


def test_another_folder_with_the_same_names_is_read_anew(
    hand_off: HandOff, provider: SharedVolumeImageProvider
) -> None:
    hand_off.publish(picture(10), sequence=5)
    assert abs(int(provider.latest_frame().image[0, 0, 0]) - 10) <= 2
    old, name = live(hand_off), hand_off._stored[0].path
    sidecar = metadata(hand_off) / f"{name.stem}.json"
    hand_off.publish(picture(200), sequence=5)
    other = hand_off._stored[1].path
    data = json.loads((metadata(hand_off) / f"{other.stem}.json").read_bytes())
    jpeg = other.read_bytes()
    shutil.rmtree(old)
    old.mkdir()
    sidecar.write_text(json.dumps(data | {"filename": name.name}))
    name.write_bytes(jpeg)

    frame = provider.latest_frame()

    assert (frame.sequence, frame.metadata["filename"]) == (5, name.name)
    assert abs(int(frame.image[0, 0, 0]) - 200) <= 2


@pytest.mark.parametrize("marker", [b"", b"{", b"[]", b'{"kind": "archive", "id": "x"}', None])
def test_an_area_that_is_none_is_refused(
    hand_off: HandOff, provider: SharedVolumeImageProvider, marker: bytes | None
) -> None:
    hand_off.publish()
    file = hand_off.area / MARKER
    file.unlink()
    if marker is not None:
        file.write_bytes(marker)

    with pytest.raises(StorageUnavailableError, match=r"marker|kind|damaged"):
        provider.latest_frame()
    assert provider.get_latest_image() == (False, None, None)


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("", StorageUnavailableError),
        (MARKER, StorageUnavailableError),
        ("live", StorageUnavailableError),
        ("metadata", ImageNotFoundError),
        ("image", StorageUnavailableError),
        ("sidecar", ImageNotFoundError),
    ],
)
def test_what_may_not_be_read_is_said(open_folder: Path, what: str, error: type[SharedVolumeError]) -> None:
    with HandOff(open_folder) as hand_off:
        hand_off.publish()
        name = hand_off._stored[0].path
        path = {"image": name, "sidecar": metadata(hand_off) / f"{name.stem}.json"}.get(what, hand_off.area / what)
        with as_an_ordinary_user(hand_off.area), hand_off.provider(background_monitoring=False) as provider:
            assert provider.get_latest_image()[0] is True
        path.chmod(0)
        try:
            with as_an_ordinary_user(), hand_off.provider(background_monitoring=False) as provider:
                with pytest.raises(error) as caught:
                    provider.latest_frame()
                assert "ermission denied" in str(caught.value)
                assert provider.get_latest_image() == (False, None, None)
                assert provider.force_refresh() is False
        finally:
            path.chmod(0o755)


def test_frames_of_several_clock_steps_are_in_their_order(
    hand_off: HandOff, provider: SharedVolumeImageProvider, clock: FakeClock
) -> None:
    for sequence, step in enumerate((0, -3600, -7200, 9000, -1), start=1):
        clock.wall += step * 10**9
        clock.boottime += 10**8
        hand_off.publish(sequence=sequence)

        assert provider.latest_frame().sequence == sequence


def test_frames_written_in_another_order_than_exposed_are_in_their_order(
    hand_off: HandOff, provider: SharedVolumeImageProvider, clock: FakeClock
) -> None:
    hand_off.publish(sequence=7)
    clock.advance(0.01)
    hand_off.publish(sequence=6)
    assert [stored.path.stem.count("_") for stored in hand_off._stored] == [3, 3], "both of one generation of names"

    assert provider.latest_frame().sequence == 7
    with pytest.raises(ImageTooOldError):
        provider.latest_frame(newer_than=7)


def test_a_copy_is_no_frame_even_when_nothing_else_is_there(
    hand_off: HandOff, provider: SharedVolumeImageProvider
) -> None:
    hand_off.publish()
    plant_copies(hand_off)
    hand_off.clear()

    with pytest.raises(ImageNotFoundError, match="is a copy of capture_"):
        provider.latest_frame()

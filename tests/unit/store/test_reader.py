# SPDX-License-Identifier: MIT
"""store.reader: only what is whole is seen, and never an older frame for a newer one."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fieldcam.core.clock import Instant
from fieldcam.core.errors import ImageNotFoundError, SharedVolumeError
from fieldcam.core.frame import Sidecar
from fieldcam.core.names import ParsedName, parse
from fieldcam.store.reader import (
    MAX_SIDECAR_BYTES,
    iter_frames,
    iter_sidecars,
    newest_frame,
    open_plain,
    read_sidecar,
)
from tests.crash.site import CrashClock, sidecar_of

BOOT = "boot-0"


def put(folder: Path, stem: str, *, sequence: int = 1, boot_id: str = BOOT) -> None:
    made = sidecar_of(b"image", "0", "live", sequence, Instant.now(CrashClock(boot_id=boot_id)))
    (folder / f"{stem}.json").write_bytes(replace(made, filename=f"{stem}.jpg").to_json())
    (folder / f"{stem}.jpg").write_bytes(b"image")


def newest(folder: Path) -> str:
    return newest_frame(folder, folder, boot_id=BOOT)[0].stem


def test_frames_of_ours_are_found_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path, "capture_20260113_103045_123")
    put(tmp_path, "capture_S1_20260113_103045_124_2")
    for name in (".capture_20260113_103045_125.jpg.7-0.tmp", "holiday.jpg", "capture_20260113_103045_126.png", "x"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "capture_20260113_103045_127.jpg").mkdir()
    (tmp_path / "capture_20260113_103045_128.jpg").symlink_to(tmp_path / "capture_20260113_103045_123.jpg")

    found = {frame.stem for frame in iter_frames(tmp_path, tmp_path)}

    assert found == {"capture_20260113_103045_123", "capture_S1_20260113_103045_124_2"}


def test_the_sidecar_of_a_frame_is_in_the_other_folder(tmp_path: Path) -> None:
    put(tmp_path, "capture_20260113_103045_123")

    (frame,) = iter_frames(tmp_path, tmp_path / "metadata")

    assert frame.sidecar == tmp_path / "metadata" / "capture_20260113_103045_123.json"


def test_sidecars_are_found_without_their_images(tmp_path: Path) -> None:
    put(tmp_path, "capture_20260113_103045_123")
    (tmp_path / "capture_20260113_103045_123.jpg").unlink()
    (tmp_path / "identity.json").write_bytes(b"{}")

    assert [path.stem for path in iter_sidecars(tmp_path)] == ["capture_20260113_103045_123"]


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert list(iter_frames(tmp_path / "live", tmp_path)) == []


def test_a_folder_that_cannot_be_read_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "live").write_bytes(b"a file")

    with pytest.raises(SharedVolumeError, match="live: Not a directory"):
        list(iter_frames(tmp_path / "live", tmp_path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"[]", "damaged"),
        (b'{"filename": "x"}', "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[" * 200_000, "damaged"),
        (b" " * (MAX_SIDECAR_BYTES + 1), "too large"),
    ],
    ids=["empty", "cut", "list", "incomplete", "binary", "nested", "huge"],
)
def test_a_damaged_sidecar_is_as_good_as_none(tmp_path: Path, text: bytes, said: str) -> None:
    (tmp_path / "a.json").write_bytes(text)

    with pytest.raises(ImageNotFoundError, match=said):
        read_sidecar(tmp_path / "a.json")


def test_a_missing_sidecar_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ImageNotFoundError, match="there is no sidecar"):
        read_sidecar(tmp_path / "a.json")


def test_a_sidecar_that_cannot_be_read_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ImageNotFoundError, match="cannot be read"):
        read_sidecar(tmp_path)


def test_a_sidecar_of_a_newer_release_is_read(tmp_path: Path) -> None:
    made = sidecar_of(b"image", "0", "live", 1, Instant.now(CrashClock()))
    (tmp_path / "a.json").write_bytes(made.to_json().replace(b"{", b'{"invented_later": 1,', 1))

    assert isinstance(read_sidecar(tmp_path / "a.json"), Sidecar)


def test_the_newest_is_the_highest_sequence_whatever_names_and_file_times_say(tmp_path: Path) -> None:
    put(tmp_path, "capture_20360113_103045_123", sequence=10)
    put(tmp_path, "capture_20260113_103045_123_2", sequence=11)
    os.utime(tmp_path / "capture_20360113_103045_123.jpg")

    assert newest(tmp_path) == "capture_20260113_103045_123_2"


def test_a_frame_of_another_boot_is_never_the_newest(tmp_path: Path) -> None:
    put(tmp_path, "capture_20260113_103045_123", sequence=5)
    put(tmp_path, "capture_20260113_103045_124", sequence=9_000, boot_id="boot-before")

    assert newest(tmp_path) == "capture_20260113_103045_123"


def test_without_a_frame_of_this_boot_there_is_none(tmp_path: Path) -> None:
    put(tmp_path, "capture_20260113_103045_124", boot_id="boot-before")

    with pytest.raises(ImageNotFoundError, match="no frame of this boot"):
        newest(tmp_path)


def test_a_frame_whose_sidecar_is_gone_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "capture_20260113_103045_123", sequence=5)
    put(tmp_path, "capture_20260113_103045_124", sequence=6)
    (tmp_path / "capture_20260113_103045_124.json").unlink()

    assert newest(tmp_path) == "capture_20260113_103045_123"


def test_looking_for_the_newest_opens_few_sidecars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(100):
        put(tmp_path, f"capture_20260113_103045_{number:03d}", sequence=number)
    opened: list[Path] = []

    def opens(path: Path) -> int:
        opened.append(path)
        return open_plain(path)

    monkeypatch.setattr("fieldcam.store.reader.open_plain", opens)

    found = newest(tmp_path)

    assert found == "capture_20260113_103045_099"
    assert 1 <= len(opened) <= 3


def test_names_that_are_no_frames_of_this_boot_do_not_hide_the_newest(tmp_path: Path) -> None:
    put(tmp_path, "capture_20260113_103045_123", sequence=5)
    for number in range(5):
        put(tmp_path, f"capture_20360113_103045_{number:03d}", boot_id="boot-before")
        (tmp_path / f"capture_20370113_103045_{number:03d}.jpg").write_bytes(b"a copy without a sidecar")

    assert newest(tmp_path) == "capture_20260113_103045_123"


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_what_is_no_ordinary_file_is_never_waited_for(tmp_path: Path, kind: str) -> None:
    path, elsewhere = tmp_path / "a.json", tmp_path / "b.json"
    elsewhere.write_bytes(sidecar_of(b"image", "0", "live", 1, Instant.now(CrashClock())).to_json())
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(elsewhere)
    else:
        path.mkdir()

    with pytest.raises(ImageNotFoundError, match="cannot be read"):
        read_sidecar(path)


def test_names_known_from_the_look_before_are_not_taken_apart_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "capture_20260113_103045_123")
    put(tmp_path, "capture_20260113_103045_124")
    known = {frame.image.name: frame for frame in iter_frames(tmp_path, tmp_path)}
    put(tmp_path, "capture_20260113_103045_125")
    (tmp_path / "capture_20260113_103045_123.jpg").unlink()
    parsed: list[str] = []

    def parses(stem: str) -> ParsedName | None:
        parsed.append(stem)
        return parse(stem)

    monkeypatch.setattr("fieldcam.store.reader.parse", parses)

    found = {frame.stem for frame in iter_frames(tmp_path, tmp_path, known=known)}

    assert found == {"capture_20260113_103045_124", "capture_20260113_103045_125"}
    assert parsed == ["capture_20260113_103045_125"]

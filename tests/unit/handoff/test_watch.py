# SPDX-License-Identifier: MIT
"""handoff.watch: news are noticed, also in folders that come later; what cannot be watched is polled."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fieldcam.handoff import watch as watch_module
from fieldcam.handoff.watch import FolderWatch
from tests.rings import open_descriptors

LONG = 20.0


@pytest.fixture
def make_watch() -> Iterator[Callable[..., FolderWatch]]:
    made: list[FolderWatch] = []

    def make(*folders: Path, **options: Any) -> FolderWatch:
        made.append(FolderWatch(folders, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(autouse=True)
def _no_slow_look(monkeypatch: pytest.MonkeyPatch) -> None:
    # What is noticed in these tests is noticed by inotify; a test that wants the slow look says so.
    monkeypatch.setattr(watch_module, "SLOW_LOOK_SECONDS", 1000.0)


def later(action: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(0.1, action)
    timer.start()
    return timer


def publish(folder: Path, name: str) -> None:
    (folder / f".{name}.tmp").write_text("x")
    (folder / f".{name}.tmp").rename(folder / name)


def test_a_file_that_is_renamed_in_is_noticed_at_once(tmp_path: Path, make_watch: Any) -> None:
    watch = make_watch(tmp_path)
    assert watch.mode == "inotify"
    started = time.monotonic()
    later(lambda: publish(tmp_path, "a"))

    assert watch.wait(LONG)
    assert time.monotonic() - started < LONG / 2


def test_what_came_before_the_wait_is_not_missed_and_many_are_one(tmp_path: Path, make_watch: Any) -> None:
    watch = make_watch(tmp_path)
    for number in range(50):
        publish(tmp_path, str(number))

    assert watch.wait(0.0)
    assert not watch.wait(0.05)


@pytest.mark.parametrize("force_poll", [False, True])
def test_without_news_the_time_passes(tmp_path: Path, make_watch: Any, force_poll: bool) -> None:
    watch = make_watch(tmp_path, force_poll=force_poll, poll_interval=30.0)
    started = time.monotonic()

    assert not watch.wait(0.2)
    assert time.monotonic() - started >= 0.2
    assert not watch.wait(0.0)


def test_a_file_on_its_way_is_no_news(tmp_path: Path, make_watch: Any) -> None:
    watch = make_watch(tmp_path)
    (tmp_path / ".a.tmp").write_text("x")

    assert not watch.wait(0.1)
    (tmp_path / ".a.tmp").rename(tmp_path / "a")
    assert watch.wait(LONG)


def test_a_file_that_disappears_is_no_news(tmp_path: Path, make_watch: Any) -> None:
    (tmp_path / "a").write_text("x")
    watch = make_watch(tmp_path)
    (tmp_path / "a").unlink()

    assert not watch.wait(0.1)


def test_any_of_several_folders_is_enough(tmp_path: Path, make_watch: Any) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    watch = make_watch(*folders)
    for folder in folders:
        publish(folder, "x")
        assert watch.wait(LONG)
        assert not watch.wait(0.0)


def test_a_folder_that_comes_later_is_watched_from_then_on(
    tmp_path: Path, make_watch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "SLOW_LOOK_SECONDS", 0.1)
    watch = make_watch(tmp_path / "later")
    (tmp_path / "later").mkdir()
    assert watch.wait(LONG)
    monkeypatch.setattr(watch_module, "SLOW_LOOK_SECONDS", 1000.0)
    watch.wait(0.2)

    later(lambda: publish(tmp_path / "later", "a"))
    assert watch.wait(LONG)


@pytest.mark.parametrize("how", ["moved away", "removed"])
def test_a_folder_that_is_replaced_is_watched_on(tmp_path: Path, make_watch: Any, how: str) -> None:
    folder = tmp_path / "live"
    folder.mkdir()
    watch = make_watch(folder)
    for _ in range(5):
        folder.rename(tmp_path / "old")
        folder.mkdir()
        if how == "removed":
            shutil.rmtree(tmp_path / "old")
        assert watch.wait(LONG)
        while watch.wait(0.05):
            pass
        if how == "moved away":
            publish(tmp_path / "old", "not here")
            assert not watch.wait(0.1)
            shutil.rmtree(tmp_path / "old")
            while watch.wait(0.05):
                pass

        publish(folder, "here")
        assert watch.wait(LONG)
        while watch.wait(0.05):
            pass
        (folder / "here").unlink()


@pytest.mark.root
def test_a_folder_that_is_mounted_over_is_watched_on(
    tmp_path: Path, make_watch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "SLOW_LOOK_SECONDS", 0.1)
    watch = make_watch(tmp_path)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], check=True)
    try:
        assert watch.wait(LONG)
        monkeypatch.setattr(watch_module, "SLOW_LOOK_SECONDS", 1000.0)
        watch.wait(0.3)
        timer = later(lambda: publish(tmp_path, "a"))
        assert watch.wait(LONG)
        timer.join()
        assert watch.mode == "inotify"
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)
    watch.wait(0.0)  # the kernel says so, and the folder beneath is watched again
    while watch.wait(0.05):
        pass
    later(lambda: publish(tmp_path, "b"))
    assert watch.wait(LONG)


def test_it_is_worth_a_look_every_now_and_then(
    tmp_path: Path, make_watch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "SLOW_LOOK_SECONDS", 0.1)

    assert make_watch(tmp_path).wait(LONG)


def test_polling_says_look_again_once_in_each_interval(tmp_path: Path, make_watch: Any) -> None:
    watch = make_watch(tmp_path, force_poll=True, poll_interval=0.1)
    assert watch.mode == "poll"

    started, looks = time.monotonic(), 0
    while time.monotonic() - started < 1.0:
        looks += watch.wait(0.03)

    assert 5 <= looks <= 10


def test_an_interval_of_nothing_does_not_spin(tmp_path: Path, make_watch: Any) -> None:
    watch = make_watch(tmp_path, force_poll=True, poll_interval=0.0)

    started = time.monotonic()
    for _ in range(50):
        assert watch.wait(1.0)
    assert time.monotonic() - started >= 0.045


@pytest.mark.parametrize("magic", [0x6969, 0x65735546, 0x794C7630])
def test_file_systems_without_notice_are_polled(
    tmp_path: Path, make_watch: Any, monkeypatch: pytest.MonkeyPatch, magic: int
) -> None:
    monkeypatch.setattr(watch_module, "file_system_type", lambda _: magic)

    watch = make_watch(tmp_path, poll_interval=0.05)

    assert watch.mode == "poll"
    assert watch.wait(LONG)


def test_where_the_limit_of_watches_is_reached_it_is_polled(
    tmp_path: Path, make_watch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fieldcam.handoff.watch.INotify.add_watch", refuse)
    watch = make_watch(tmp_path, poll_interval=0.05)

    assert watch.mode == "poll"
    assert watch.wait(LONG)


def test_where_the_limit_of_instances_is_reached_it_is_polled(
    tmp_path: Path, make_watch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(watch_module, "INotify", refuse)
    watch = make_watch(tmp_path, poll_interval=0.05)

    assert watch.mode == "poll"
    assert watch.wait(LONG)


@pytest.mark.root
def test_an_overlay_is_polled(tmp_path: Path, make_watch: Any) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path / "upper")], check=True)
    try:
        for name in ("u", "w"):
            (tmp_path / "upper" / name).mkdir()
        options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper/u,workdir={tmp_path}/upper/w"
        made = subprocess.run(
            ["mount", "-t", "overlay", "-o", options, "overlay", str(tmp_path / "merged")],
            capture_output=True,
            check=False,
        )
        if made.returncode != 0:
            pytest.skip("this kernel makes no overlay here")
        try:
            assert make_watch(tmp_path / "merged").mode == "poll"
        finally:
            subprocess.run(["umount", str(tmp_path / "merged")], check=True)
    finally:
        subprocess.run(["umount", str(tmp_path / "upper")], check=True)


@pytest.mark.parametrize("force_poll", [False, True])
def test_another_thread_ends_the_wait(tmp_path: Path, make_watch: Any, force_poll: bool) -> None:
    watch = make_watch(tmp_path, force_poll=force_poll, poll_interval=LONG)
    started = time.monotonic()
    later(watch.wake)
    assert watch.wait(LONG)
    watch.wake()
    watch.wake()
    assert watch.wait(LONG)
    assert not watch.wait(0.0)
    assert time.monotonic() - started < LONG / 2


@pytest.mark.parametrize("force_poll", [False, True])
def test_closing_ends_the_wait_of_another_thread_and_gives_the_descriptors_back(
    tmp_path: Path, force_poll: bool
) -> None:
    before = open_descriptors()
    watch = FolderWatch([tmp_path], force_poll=force_poll, poll_interval=LONG)
    timer = later(watch.close)

    assert not watch.wait(LONG)
    timer.join()
    watch.close()
    watch.wake()

    assert not watch.wait(LONG)
    assert open_descriptors() == before


def test_a_watch_that_was_dropped_gives_its_descriptors_back(tmp_path: Path) -> None:
    before = open_descriptors()
    for _ in range(20):
        FolderWatch([tmp_path]).wait(0.0)

    assert open_descriptors() == before


def test_a_path_that_is_a_file_or_may_not_be_seen_is_waited_for(tmp_path: Path, make_watch: Any) -> None:
    (tmp_path / "file").write_text("x")

    watch = make_watch(tmp_path / "file", tmp_path / "file" / "below")

    assert watch.mode == "inotify"
    assert not watch.wait(0.05)


def test_more_news_than_the_kernel_remembers_are_news(tmp_path: Path, make_watch: Any) -> None:
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    watch = make_watch(tmp_path)
    (tmp_path / ".a").write_text("x")
    (tmp_path / ".b").write_text("x")
    for number in range(queue + 10):
        os.close(os.open(tmp_path / (".a", ".b")[number % 2], os.O_WRONLY))

    assert watch.wait(LONG)
    assert not watch.wait(0.05)

# SPDX-License-Identifier: MIT
"""Each result is kept once, whoever is killed where."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fieldcam.catalog import writer as catalog_writer
from fieldcam.catalog.connect import transaction
from fieldcam.core import plain_file
from fieldcam.manager import processed, result_folders
from tests.crash.faulty_disk import DiedError, FaultyDisk
from tests.frames_on_disk import put_capture
from tests.results_stage import Stage, results_config

FOLDER_CALLS = ("open", "scandir", "stat", "unlink", "replace", "access")
FILE_CALLS = ("open", "fstat", "read")


class SteppedOs:
    """`os` of a module, each of its calls a step of the disk."""

    def __init__(self, disk: FaultyDisk, calls: tuple[str, ...]) -> None:
        self._disk = disk
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self._calls:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self._disk.step(f"{name} by the sweeper")
            return real(*args, **kwargs)

        return call


@contextmanager
def stepped(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyDisk]:
    """Make every call to the kernel and every boundary of a transaction a step that can fail or be the last."""
    with monkeypatch.context() as patched:
        disk = FaultyDisk(patched)
        patched.setattr(result_folders, "os", SteppedOs(disk, FOLDER_CALLS))
        patched.setattr(plain_file, "os", SteppedOs(disk, FILE_CALLS))
        patched.setattr(processed, "os", SteppedOs(disk, ("scandir",)))

        @contextmanager
        def in_steps(*args: Any) -> Iterator[None]:
            disk.step("begin")
            with transaction(*args):
                yield
                disk.step("commit")
            disk.step("committed")

        patched.setattr(catalog_writer, "transaction", in_steps)
        yield disk


class Scene:
    """Two services, two cameras, a capture to be acknowledged, and something that is no result."""

    def __init__(self, base: Path) -> None:
        base.mkdir()
        self.stage = Stage(results_config(base, live_backing="storage"))
        self.stage.pass_time(0)
        self.capture = put_capture(self.stage.config, 7)
        self.stage.put("sky", 1, filename=self.capture.filename)
        self.stage.put("sky", 2, camera="north")
        self.stage.put("cars", 3)
        (self.stage.folder("cars") / "result_bad.json").write_text("{")
        self.stage.clock.advance(10)

    def sweep(self) -> None:
        self.stage.sweeper.tick()
        while self.stage.sweeper.busy:
            self.stage.sweeper.work()

    def check(self) -> None:
        """Everything is there exactly once."""
        stage = self.stage
        assert sorted(stage.numbers()) == [1, 2, 3]
        captures_of = {row.result.data["number"]: row.result.image_id for row in stage.rows()}
        assert captures_of == {1: self.capture.id, 2: None, 3: None}
        assert stage.processed() == stage.rows()
        assert stage.waiting("sky") == []
        assert [name for name in stage.waiting("cars") if not name.endswith(".rejected")] == []
        captures = stage.config.layout.camera("default").captures
        assert [path.name for path in captures.glob("*.ack")] == [self.capture.filename.replace(".jpg", ".ack")]
        assert list(stage.config.capture_dir.rglob(".*.tmp")) == []


def steps_of_a_sweep(base: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    scene = Scene(base)
    with stepped(monkeypatch) as disk:
        scene.sweep()
        steps = list(disk.steps)
    scene.check()
    scene.stage.close()
    return steps


def test_killed_before_any_step_everything_is_kept_exactly_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = steps_of_a_sweep(tmp_path / "whole", monkeypatch)
    assert {"begin", "commit", "committed", "unlink by the sweeper", "rename sidecar"} <= set(steps)

    for number in range(len(steps)):
        scene = Scene(tmp_path / str(number))
        with stepped(monkeypatch) as disk:
            disk.die(number)
            with pytest.raises(DiedError):
                scene.sweep()
        scene.stage.close()
        scene.stage.restart()
        scene.stage.pass_time()

        scene.check()
        scene.stage.close()


@pytest.mark.parametrize("code", [5, 28])  # EIO, ENOSPC
def test_after_a_failure_at_any_step_everything_is_kept_exactly_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    steps = steps_of_a_sweep(tmp_path / "whole", monkeypatch)

    for number in range(len(steps)):
        scene = Scene(tmp_path / str(number))
        with stepped(monkeypatch) as disk:
            disk.fail(number, code)
            scene.sweep()
        scene.stage.pass_time(2)
        scene.stage.close()
        scene.stage.restart()  # what one manager gave up, such as a file that could not be removed, the next one takes
        scene.stage.pass_time()

        scene.check()
        scene.stage.close()

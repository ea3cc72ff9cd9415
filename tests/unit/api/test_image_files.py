# SPDX-License-Identifier: MIT
"""api.image_files: nothing outside the two places is ever opened, whatever a row says and whatever is planted."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldcam.api.app import create_app
from fieldcam.api.context import EXTENSION, Context
from fieldcam.api.image_files import open_row, wait_for_newest
from fieldcam.catalog.image_row import ImageRow
from fieldcam.core.errors import ImageNotFoundError, ImageTooOldError
from tests.appliance_tree import Tree, deployed_tree
from tests.frames_on_disk import of_this_boot, put_live

NAME = "capture_20260113_103045_123.jpg"
ROW = ImageRow(
    id=5, job_id=None, user_id=None, filename=NAME, thumbnail_path=None, captured_at="2026-01-13T10:30:45.123Z",
    x_position=None, y_position=None, z_position=None, exposure_time=1.0, gain=1.0, file_size=5, width=4, height=3,
    metadata={}, camera="default", kind="capture", sha256="0" * 64, sample_no=None, submission_no=None,
    description=None, backend="rpicam", simulated=False, boot_id="b", monotonic_ns=1, sequence=1, state="present",
)  # fmt: skip


@pytest.fixture
def tree() -> Iterator[Tree]:
    with deployed_tree() as made:
        for camera in ("default", "north"):
            made.paths(camera).captures.mkdir(parents=True)
            made.paths(camera).live.mkdir(parents=True)
        yield made


@pytest.fixture
def context(tree: Tree) -> Context:
    made: Context = create_app(tree.config).extensions[EXTENSION]
    return made


def refused(context: Context, **changes: object) -> bool:
    try:
        open_row(context, dataclasses.replace(ROW, **changes)).close()  # type: ignore[arg-type]
    except ImageNotFoundError:
        return True
    return False


@pytest.mark.parametrize(("camera", "kind"), [("default", "capture"), ("north", "live"), ("north", "capture")])
def test_the_file_of_a_row_is_opened(tree: Tree, context: Context, camera: str, kind: str) -> None:
    paths = tree.paths(camera)
    ((paths.captures if kind == "capture" else paths.live) / NAME).write_bytes(b"image")

    with open_row(context, dataclasses.replace(ROW, camera=camera, kind=kind)) as file:
        content = file.read()

    assert content == b"image"


@pytest.mark.parametrize(
    "changes",
    [
        {"filename": "../../../etc/passwd"},
        {"filename": "/etc/passwd"},
        {"filename": f"../{NAME}"},
        {"filename": f"x/{NAME}"},
        {"filename": "identity.json"},
        {"filename": NAME + "\x00"},
        {"filename": ""},
        {"camera": "../north"},
        {"camera": "/etc"},
        {"kind": "../live"},
        {"state": "removed"},
    ],
)
def test_a_row_that_names_something_else_is_refused(tree: Tree, context: Context, changes: dict[str, object]) -> None:
    (tree.paths().captures / NAME).write_bytes(b"image")

    assert refused(context, **changes)


def test_a_file_that_is_gone_is_not_found(context: Context) -> None:
    assert refused(context)


def test_a_planted_link_is_not_followed(tree: Tree, context: Context, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tree.paths().captures / NAME).symlink_to(tmp_path / "secret")

    assert refused(context)


def test_a_planted_link_in_place_of_a_folder_is_not_followed(tree: Tree, context: Context, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"secret")
    tree.paths().captures.rmdir()
    tree.paths().captures.symlink_to(tmp_path)

    assert refused(context)


def test_a_pipe_of_that_name_holds_nobody(tree: Tree, context: Context) -> None:
    os.mkfifo(tree.paths().captures / NAME)

    assert refused(context)


def test_the_newest_frame_of_a_frozen_camera_is_never_fresh(tree: Tree, context: Context) -> None:
    put_live(tree.config, 1, identical_frames=2, **of_this_boot(0.2))
    believed = wait_for_newest(context, tree.paths(), max_age=60, wait_seconds=0, other_than=None)
    put_live(tree.config, 2, identical_frames=3, **of_this_boot(0.1))

    with pytest.raises(ImageTooOldError, match="is frozen: its last 4 frames are identical"):
        wait_for_newest(context, tree.paths(), max_age=60, wait_seconds=0, other_than=None)

    assert believed.sidecar.sequence == 1

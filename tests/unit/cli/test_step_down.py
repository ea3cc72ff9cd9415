# SPDX-License-Identifier: MIT
"""cli.step_down: what root starts becomes the user whose data it touches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from fieldcam.cli.step_down import step_down
from tests.requirements import require_root

BECOME = """
import os, pathlib, sys
from fieldcam.cli.step_down import step_down
step_down(pathlib.Path(sys.argv[1]))
print(os.getuid(), os.getgid(), oct(os.umask(0)))
"""


def become(folder: Path) -> str:
    command = [sys.executable, "-c", BECOME, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_root_becomes_the_owner_of_the_folder_and_cannot_go_back(tmp_path: Path) -> None:
    require_root()
    folder = tmp_path / "events"
    folder.mkdir()
    os.chown(folder, 1, 1)  # daemon, on every Linux

    assert become(folder) == "1 1 0o2"


def test_root_becomes_a_user_who_has_no_name(tmp_path: Path) -> None:
    require_root()
    folder = tmp_path / "events"
    folder.mkdir()
    os.chown(folder, 54321, 54322)

    assert become(folder) == "54321 54322 0o2"


def test_without_a_folder_or_as_its_owner_nothing_happens(tmp_path: Path) -> None:
    before = os.getuid(), os.getgid()

    step_down(tmp_path / "nowhere")
    step_down(tmp_path)

    assert (os.getuid(), os.getgid()) == before

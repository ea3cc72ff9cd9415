# SPDX-License-Identifier: MIT
"""The folder of a release, when a killed play left something running that writes into it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from tests.ansible.conftest import APPLIANCE, play
from tests.appliance_tree import wait_until

NAME = "release | Remove what an interrupted run left"


def test_what_still_writes_into_it_is_waited_for_before_it_is_emptied(tmp_path: Path) -> None:
    release = tmp_path / "releases" / "1.0"
    (release / "venv").mkdir(parents=True)
    blocks = yaml.safe_load((APPLIANCE / "tasks" / "release.yml").read_text(encoding="utf-8"))
    task = next(task for block in blocks for task in block.get("block", []) if task["name"] == NAME)
    script = 'touch "$0/begun"; sleep 6; touch "$0/late"'

    with subprocess.Popen(["flock", release, "sh", "-c", script, release]) as left_behind:
        wait_until((release / "begun").exists, "it holds the folder", 5)
        run = play(APPLIANCE, [task], tmp_path / "play", __appliance_release_dir=str(release))
        has_ended = left_behind.poll() is not None

    assert run.status == 0, run.output
    assert has_ended
    assert list(release.iterdir()) == []

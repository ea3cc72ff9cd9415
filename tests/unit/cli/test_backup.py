# SPDX-License-Identifier: MIT
"""cli.backup: the three commands as they are typed, on an appliance that runs and one that is stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from fieldcam.api.auth_store import AuthStore
from fieldcam.control import protocol
from fieldcam.core.clock import SystemClock
from tests.appliance_tree import deployed_tree


def fieldcam(*words: object) -> Any:
    """Run a command of ours."""
    command = [sys.executable, "-m", "fieldcam.cli.main", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_backup_is_made_while_pictures_are_taken_verified_and_put_back_after_a_stop(tmp_path: Path) -> None:
    archive = tmp_path / "backup.tar.gz"
    with deployed_tree() as tree:
        token = AuthStore(tree.config.layout.auth, SystemClock()).issue("device", "viewer").text
        with tree.capture_process():
            tree.ask(protocol.CAPTURE)
            made = fieldcam("backup", "create", archive, "--captures", "--config", tree.file, "--json")
            refused = fieldcam("backup", "restore", archive, "--config", tree.file)
        tree.config.layout.auth.unlink()
        verified = fieldcam("backup", "verify", archive)

        restored = fieldcam("backup", "restore", archive, "--config", tree.file, "--json")

        assert (made.returncode, verified.returncode, restored.returncode) == (0, 0, 0), made.stderr + restored.stderr
        assert json.loads(made.stdout)["files"] >= 5
        assert "sound" in verified.stdout
        assert (refused.returncode, "stop it first" in refused.stderr) == (75, True), refused.stderr
        assert AuthStore(tree.config.layout.auth, SystemClock()).check(token).name == "device"


def test_what_is_no_backup_is_said_in_one_line_with_its_own_exit_code(tmp_path: Path) -> None:
    file = tmp_path / "x.tar.gz"
    file.write_bytes(b"no backup")

    for path in (file, tmp_path / "missing"):
        said = fieldcam("backup", "verify", path)

        assert said.returncode == 65
        assert said.stderr.startswith("error: BACKUP_INVALID: ")
        assert len(said.stderr.splitlines()) == 1

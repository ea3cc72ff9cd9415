# SPDX-License-Identifier: MIT
"""core.ownership: never two owners, and a dead one leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fieldcam.core.errors import CameraInUseError
from fieldcam.core.ownership import is_owned, owned
from tests.requirements import require_root

HOLD = """
import sys, time, pathlib
from fieldcam.core.ownership import owned
with owned(pathlib.Path(sys.argv[1]), "it"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_owner_is_refused_and_told_the_pid(tmp_path: Path) -> None:
    lock = tmp_path / "run" / "owner.lock"

    with (
        owned(lock, "camera 'default'"),
        pytest.raises(CameraInUseError, match=str(os.getpid())),
        owned(lock, "camera"),
    ):
        pass

    assert not is_owned(lock)


def test_a_killed_owner_frees_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "owner.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdin=-1, stdout=-1) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        before = is_owned(lock)
        holder.send_signal(signal.SIGKILL)
        holder.wait()

    assert (before, is_owned(lock)) == (True, False)
    with owned(lock, "it"):
        pass


def test_the_lock_is_for_the_group_of_its_process_whatever_the_folder_says(tmp_path: Path) -> None:
    require_root()
    tmp_path.chmod(0o2775)
    os.chown(tmp_path, -1, 1)
    lock = tmp_path / "owner.lock"
    lock.touch(0o664)

    with owned(lock, "it"):
        facts = lock.stat()

    assert (facts.st_gid, oct(facts.st_mode & 0o777)) == (os.getegid(), "0o640")


def test_a_lock_that_may_not_be_looked_at_counts_as_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)

    assert is_owned(tmp_path / "owner.lock")

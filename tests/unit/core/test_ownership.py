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

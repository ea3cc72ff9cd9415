# SPDX-License-Identifier: MIT
"""What a test may need from its machine, and the switch that makes a missing thing a failure.

On a developer's laptop a test without Docker or root is skipped, and says why. CI sets TESTS_REQUIRE_ALL=1: there
the same test fails, because a suite that silently skips proves nothing. Its name has no prefix of ours: the
configuration refuses unknown FIELDCAM_ variables, and so would every program that the tests start.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SWITCH = "TESTS_REQUIRE_ALL"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


def require(condition: object, reason: str) -> None:
    """Skip the running test with this reason unless the condition holds; fail instead when everything is required."""
    if condition:
        return
    if everything_is_required():
        pytest.fail(f"{reason} ({SWITCH} is set, so this is no skip)", pytrace=False)
    pytest.skip(reason)


def everything_is_required() -> bool:
    """Return whether TESTS_REQUIRE_ALL is set to anything but empty or 0."""
    return os.environ.get(SWITCH, "") not in {"", "0"}


def require_root() -> None:
    """Need root, for mounts and other users."""
    require(os.geteuid() == 0, "needs root")


def require_docker() -> None:
    """Need a Docker daemon that answers."""
    require(docker_answers(), "needs a Docker daemon that answers")


def require_browser() -> None:
    """Need a headless Chromium."""
    require(chromium(), "needs Chromium")


def require_commands(*names: str) -> None:
    """Need programs on PATH."""
    missing = [name for name in names if shutil.which(name) is None]
    require(not missing, f"needs on PATH: {', '.join(missing)}")


def require_disk(folder: Path) -> str:
    """Need a folder that is not in RAM; return on which kind of file system it is."""
    command = ["stat", "--file-system", "--format=%T", str(folder)]
    kind = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    require(kind not in {"tmpfs", "ramfs"}, f"needs {folder} to be on a disk")
    return kind


@functools.cache
def docker_answers() -> bool:
    """Ask the daemon once per run: the client alone proves nothing."""
    try:
        subprocess.run(["docker", "info"], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


@functools.cache
def chromium() -> str | None:
    """Return the path of a Chromium, or None."""
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)

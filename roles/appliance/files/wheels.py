# SPDX-License-Identifier: MIT
"""Fetch the wheels of a lock for another machine than this one.

Used by bundle.py, and by tools/container_image.py for the image of the consumers.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST_GLIBC = 17  # manylinux2014: nothing in the locks is built for less


def pip_options(python: tuple[int, int], machine: str, glibc_minor: int) -> list[str]:
    """Return what makes pip fetch for a machine with glibc 2.x. pip derives no older platforms by itself."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(OLDEST_GLIBC, glibc_minor + 1)]
    options = ["--implementation", "cp", "--python-version", f"{python[0]}.{python[1]}"]
    for platform in (*platforms, f"manylinux2014_{machine}", f"linux_{machine}"):
        options += ["--platform", platform]
    return options


def fetch(requirements: list[Path], options: list[str], folder: Path) -> int:
    """Fill a folder with the wheels of some locks, whole or not at all; return pip's exit status."""
    scratch = folder.with_name(f"{folder.name}.{os.getpid()}")
    scratch.mkdir(parents=True)
    try:
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--quiet"]
        command += ["--progress-bar", "off", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
        command += [*options, "--dest", str(scratch)]
        for file in requirements:
            command += ["--requirement", str(file)]
        status = subprocess.run(command, check=False, stdout=sys.stderr).returncode
        if status == 0 and not folder.is_dir():  # somebody else may have been faster
            scratch.replace(folder)
        return status
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file another name, without using its space twice where that can be."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def sha256(file: Path) -> str:
    """Return the checksum of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

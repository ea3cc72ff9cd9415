# SPDX-License-Identifier: MIT
"""Make a virtual environment, or bring an old one up to date, from a hash-pinned lock.

Runs on any supported Python with nothing installed. Wheels only, so that no compiler is ever needed, and without
dependency resolution, so that what the lock says is what is installed.
"""

from __future__ import annotations

import argparse
import fcntl
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PINNED = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*==", re.MULTILINE)
MILESTONE = 25  # packages between two lines of progress in a log


def main() -> int:
    """Parse the command line, do the work, and return an exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="the virtual environment")
    parser.add_argument("lock", type=Path, help="a lock with hashes, from locks/")
    parser.add_argument("--editable", type=Path, metavar="PROJECT", help="also install this source tree in place")
    arguments = parser.parse_args()

    # Two `make` at once (a developer's and an editor's) must not write into one environment together.
    guard = arguments.folder.with_name(f"{arguments.folder.name}.lock")
    with guard.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        started = time.monotonic()
        python = create(arguments.folder)
        status = install_lock(python, arguments.lock)
        if status == 0 and arguments.editable:
            status = install_editable(python, arguments.editable)
    if status:
        print(f"{arguments.folder}: not complete (pip ended with {status}, see above)", file=sys.stderr)
    else:
        print(f"{arguments.folder}: ready after {time.monotonic() - started:.0f} s")
    return status


def create(folder: Path) -> Path:
    """Make the environment unless one of this very Python is there; return its interpreter."""
    python = folder / "bin" / "python"
    if folder.exists() and version_of(python) != list(sys.version_info[:2]):
        print(f"{folder}: made anew for Python {sys.version_info[0]}.{sys.version_info[1]}")
        shutil.rmtree(folder)
    if not folder.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return python


def version_of(python: Path) -> list[int] | None:
    """Return major and minor version, or None when it does not run (its base Python was removed, say)."""
    ask = "import sys, pip; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return [int(part) for part in answer.stdout.split()]


def install_lock(python: Path, lock: Path) -> int:
    """Install every pin that applies here and return pip's exit status."""
    total = len(PINNED.findall(lock.read_text(encoding="utf-8")))
    command: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar",
        "off",
    ]
    command += ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement", lock]
    command += ["--no-compile"]  # a third of the time goes into bytecode that mostly is never run
    seen = 0
    # What pip warns of is kept back and only shown when it fails: a run that works should be short to read.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as complaints:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True) as pip:
            for line in pip.stdout or ():
                if line.startswith(("Collecting ", "Requirement already satisfied")):
                    seen += 1
                    show(f"{lock}: {seen} of {total} packages", last=False, milestone=seen % MILESTONE == 0)
                elif line.startswith("Installing collected"):
                    show(f"{lock}: {seen} packages fetched and checked, installing", last=True)
        if pip.returncode:
            complaints.seek(0)
            print(complaints.read(), file=sys.stderr)
    return pip.returncode


def install_editable(python: Path, project: Path) -> int:
    """Install the source tree in place, with the build tools of the lock rather than fetched ones."""
    command: list[str | Path] = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
    command += ["--no-deps", "--no-build-isolation", "--no-index", "--editable", project]
    return subprocess.run(command, check=False).returncode


def show(message: str, *, last: bool, milestone: bool = False) -> None:
    """Print progress: one line rewritten in a terminal, a few lines in a log."""
    if sys.stdout.isatty():
        print(f"\r\033[K{message}", end="\n" if last else "", flush=True)
    elif last or milestone:
        print(message, flush=True)


if __name__ == "__main__":
    sys.exit(main())

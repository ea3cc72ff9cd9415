# SPDX-License-Identifier: MIT
"""Name the release that a checkout holds, and build its wheel.

Run on the controller by tasks/preflight.yml, and used by bundle.py. The name is the project's version and a hash over
everything that is deployed, so the same sources are the same release, and a changed line is another one.

    release.py name SOURCE          prints the name
    release.py build SOURCE FOLDER NAME
                                    leaves FOLDER/NAME/fieldcam-….whl; prints `built` or `kept`, and its path
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

DEPLOYED = ("pyproject.toml", "LICENSE", "locks/host.txt")
PACKAGES = "appliance"
HASH_DIGITS = 10


def main(arguments: list[str]) -> int:
    """Do one of the two things above."""
    action, source = arguments[0], Path(arguments[1])
    if action == "name":
        print(name_of(source))
        return 0
    return build(source, Path(arguments[2]), arguments[3])


def name_of(source: Path) -> str:
    """Return `<version>-<hash>`."""
    version = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    digest = hashlib.sha256()
    for file in deployed_files(source):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(source)}\0{len(content)}\0".encode())
        digest.update(content)
    return f"{version}-{digest.hexdigest()[:HASH_DIGITS]}"


def deployed_files(source: Path) -> Iterator[Path]:
    """Yield what makes the release, in a fixed order; not what Python and pip leave behind."""
    yield from (source / name for name in DEPLOYED)
    for file in sorted((source / PACKAGES).rglob("*")):
        inside = file.relative_to(source).parts
        left_behind = any(part == "__pycache__" or part.endswith(".egg-info") for part in inside)
        if file.is_file() and not left_behind:
            yield file


def build(source: Path, folder: Path, name: str, *, say: bool = True) -> int:
    """Build the wheel unless it is there, from a copy: in place, setuptools would pack what an older build left.

    The copy must still be what the name says, so that nobody's unfinished edit is deployed under it.
    """
    missing = [name for name in ("pip", "setuptools") if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"{sys.executable} has no {' and no '.join(missing)}: run Ansible from .venv-controller "
            "(make venv-controller)",
            file=sys.stderr,
        )
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as guard:  # the hosts of a fleet ask for the same wheel at once
        fcntl.flock(guard, fcntl.LOCK_EX)
        result = folder / name
        if result.is_dir():
            if say:
                print(f"kept {wheel_in(result)}")
            return 0
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            copy, made = Path(scratch) / "source", Path(scratch) / "wheel"
            for file in deployed_files(source):
                target = copy / file.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
            if name_of(copy) != name:
                print(f"the sources in {source} have changed since this began; run it again", file=sys.stderr)
                return 1
            command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command += ["--no-build-isolation", "--no-index", "--wheel-dir", str(made), str(copy)]
            status = subprocess.run(command, check=False, stdout=sys.stderr).returncode
            if status == 0:
                for old in folder.glob("*-*/"):  # the host keeps older releases, the controller need not
                    shutil.rmtree(old)
                made.replace(result)
                if say:
                    print(f"built {wheel_in(result)}")
        return status


def wheel_in(folder: Path) -> Path:
    """Return the one wheel of a folder."""
    return next(folder.glob("*.whl"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

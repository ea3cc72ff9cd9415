# SPDX-License-Identifier: MIT
"""Build the image of the consumers, on a machine that may have no network but what pip's index needs.

    container_image.py --base python:3.13-slim --tag fieldcam/consumer:latest [--lock locks/vision.txt]

It asks the base for its Python and machine, fetches the wheels of the lock for them (again only when the lock or the
base changed), builds the wheel of this checkout as the appliance role does, puts both with their hashes into a folder,
and lets Docker build from that folder without a network. Run by `make container-image`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "appliance" / "container"
FILES = ROOT / "roles" / "appliance" / "files"
RELEASE = FILES / "release.py"
SUPPORTED = ((3, 11), (3, 12), (3, 13))
ASK = """
import ctypes, json, platform, sys
try:
    ctypes.CDLL("libstdc++.so.6")
    has_libstdcpp = True
except OSError:
    has_libstdcpp = False
print(json.dumps([*sys.version_info[:2], platform.machine(), *platform.libc_ver(), has_libstdcpp]))
"""


def _load(file: Path) -> ModuleType:
    """Import a program of the role, which is no package."""
    spec = importlib.util.spec_from_file_location(f"appliance_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError(str(file))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


wheels_for = _load(FILES / "wheels.py")


class BuildError(Exception):
    """The image cannot be built; the message says why and what to do."""


@dataclass(frozen=True)
class Target:
    """What the base image runs.

    Attributes:
        python: major and minor version of its python3.
        machine: as `uname -m` says.
        glibc_minor: of glibc 2.x.
    """

    python: tuple[int, int]
    machine: str
    glibc_minor: int

    def __str__(self) -> str:
        """Name it as a person would."""
        return f"Python {self.python[0]}.{self.python[1]}, {self.machine}, glibc 2.{self.glibc_minor}"

    @property
    def folder(self) -> str:
        """A folder name for its wheels."""
        return f"{self.python[0]}.{self.python[1]}-{self.machine}-{self.glibc_minor}"

    def pip_options(self) -> list[str]:
        """Return what makes pip fetch for it instead of for this machine."""
        return list(wheels_for.pip_options(self.python, self.machine, self.glibc_minor))


def main() -> int:
    """Parse the command line, build, and return an exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--base", default="python:3.13-slim", help="a glibc image with python3 (default %(default)s)")
    parser.add_argument("--tag", default="fieldcam/consumer:latest", help="name of the result (default %(default)s)")
    parser.add_argument("--lock", type=Path, default=ROOT / "locks" / "vision.txt", help="what to install besides")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "container", help="where wheels are kept")
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        build(arguments.base, arguments.tag, arguments.lock.resolve(), arguments.work.resolve())
    except BuildError as error:
        print(f"container image: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.tag}: ready after {time.monotonic() - started:.0f} s")
    return 0


def build(base: str, tag: str, lock: Path, work: Path) -> None:
    """Put the build folder together and let Docker build from it."""
    target = ask_base(base)
    print(f"1/4 {base}: {target}", flush=True)
    release = build_release(work / "release")
    print(f"2/4 {release.parent.name}: {release.name}", flush=True)
    wheels = fetch_wheels(target, lock, work / "wheels")
    print(f"3/4 {lock.name}: {', '.join(sorted(wheel.name.split('-')[0] for wheel in wheels))}", flush=True)
    context = work / f"context-{os.getpid()}"  # two builds at once: each its own
    try:
        assemble(context, release, wheels, lock)
        print(f"4/4 docker build ({sum(wheel.stat().st_size for wheel in wheels) / 1e6:.0f} MB of wheels)", flush=True)
        command = ["docker", "build", "--network", "none", "--build-arg", f"BASE={base}", "--tag", tag, str(context)]
        run(command, "docker build failed, see above")
    finally:
        shutil.rmtree(context, ignore_errors=True)


def ask_base(base: str) -> Target:
    """Run the base's python3 once; Docker fetches the image when it is not there."""
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "python3", base, "-c", ASK]
    hint = (
        f"{base} cannot be asked for its Python: the image has to be there, or Docker able to fetch it, for this kind "
        "of machine and with python3 in it"
    )
    try:
        answer = json.loads(run(command, hint, capture=True))
    except ValueError:
        raise BuildError(hint) from None
    major, minor, machine, libc, libc_version, has_libstdcpp = answer
    if libc != "glibc":
        raise BuildError(f"{base} is not built on glibc (Alpine?); the locks hold wheels for glibc only, take Debian")
    if not has_libstdcpp:
        raise BuildError(f"{base} has no libstdc++.so.6, which NumPy needs; add Debian's package libstdc++6 to it")
    if (major, minor) not in SUPPORTED:
        raise BuildError(f"{base} has Python {major}.{minor}; fieldcam runs on 3.11 to 3.13")
    return Target((major, minor), machine, int(libc_version.split(".")[1]))


def build_release(folder: Path) -> Path:
    """Build the wheel of this checkout as roles/appliance does, unless one of the same sources is there."""
    name = run([sys.executable, str(RELEASE), "name", str(ROOT)], "the checkout has no version", capture=True).strip()
    said = run(
        [sys.executable, str(RELEASE), "build", str(ROOT), str(folder), name],
        "the wheel of this checkout cannot be built, see above",
        capture=True,
    )
    return Path(said.strip().partition(" ")[2])


def fetch_wheels(target: Target, lock: Path, store: Path) -> list[Path]:
    """Return the wheels of the lock for the target, and pip's own; from the store or else from pip's index."""
    digest = hashlib.sha256(lock.read_bytes() + (SOURCE / "pip.txt").read_bytes()).hexdigest()[:12]
    folder = store / f"{lock.stem}-{target.folder}-{digest}"
    if not folder.is_dir() and wheels_for.fetch([lock, SOURCE / "pip.txt"], target.pip_options(), folder) != 0:
        raise BuildError(f"pip found no wheels for {target}: is its index reachable, and does it have this Python?")
    return sorted(folder.glob("*.whl"))


def assemble(context: Path, release: Path, wheels: list[Path], lock: Path) -> None:
    """Make the folder that Docker builds from."""
    shutil.rmtree(context, ignore_errors=True)
    shutil.copytree(SOURCE, context, ignore=shutil.ignore_patterns("__pycache__"))
    (context / "services").mkdir(exist_ok=True)
    for folder, files in (("wheels", wheels), ("release", [release])):
        (context / folder).mkdir()
        for file in files:
            wheels_for.link_or_copy(file, context / folder / file.name)
    version = re.match(r"fieldcam-([^-]+)-", release.name)
    if version is None:
        raise BuildError(f"{release.name} is no wheel of fieldcam")
    own = f"fieldcam=={version[1]} --hash=sha256:{wheels_for.sha256(release)}\n"
    (context / "release" / "requirements.txt").write_text(own, encoding="utf-8")
    shutil.copyfile(lock, context / "requirements.txt")
    # Sorted and without dates, so that Docker finds an unchanged build in its cache.
    sums = [f"{wheels_for.sha256(file)}  wheels/{file.name}\n" for file in sorted(wheels)]
    (context / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


def run(command: list[str], complaint: str, *, capture: bool = False) -> str:
    """Run a command whose progress and errors the user sees; return what it printed when that is asked for."""
    try:
        done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE if capture else None)
    except FileNotFoundError:
        raise BuildError(f"{command[0]} is not installed") from None
    except subprocess.CalledProcessError:
        raise BuildError(complaint) from None
    return done.stdout or ""


if __name__ == "__main__":
    sys.exit(main())

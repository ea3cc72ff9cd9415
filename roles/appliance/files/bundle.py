# SPDX-License-Identifier: MIT
"""Put together what a host installs a release from: wheels of the lock and of the package, hashed, nothing to fetch.

A slice is for one Python on one kind of machine: `py3.13-aarch64`. It is made once and kept for as long as lock and
release stay what they are; hosts that ask at the same time wait for each other. Run on the controller.

    bundle.py slice SOURCE FOLDER RELEASE PYTHON MACHINE GLIBC [--packed] [--from BUNDLE]
        leaves the slice as a folder, or packed as one file for a host elsewhere; prints `built` or `kept`, and its
        path. GLIBC is the minor number of the host's. --from: nothing is fetched, the slice is one of BUNDLE
    bundle.py all SOURCE FOLDER BUNDLE
        packs every slice into BUNDLE, with SHA256SUMS, for a controller without internet

In a slice: `wheels/`, `requirements.txt` with a hash for each of them, `pip.zip`, which is pip and is run as it is so
that a host needs none of its own, and SHA256SUMS.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import re
import shutil
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import release
import wheels

PYTHONS = ((3, 11), (3, 12), (3, 13))
MACHINES = ("aarch64", "x86_64")
GLIBC = 36  # of Debian 12; wheels for less run there, too
LOCK = "locks/host.txt"
SUMS = "SHA256SUMS"


class BundleError(Exception):
    """There is no slice; the message says why and what to do."""


@dataclass(frozen=True)
class Slice:
    """A kind of host."""

    python: tuple[int, int]
    machine: str
    glibc_minor: int = GLIBC

    def __str__(self) -> str:
        """Name it, as files are named."""
        older = f"-glibc2.{self.glibc_minor}" if self.glibc_minor != GLIBC else ""
        return f"py{self.python[0]}.{self.python[1]}-{self.machine}{older}"

    @classmethod
    def of_host(cls, python: str, machine: str, glibc_minor: int) -> Slice:
        """Return the slice of a host as it describes itself."""
        version = tuple(int(part) for part in python.split(".")[:2])
        if version not in PYTHONS or machine not in MACHINES:
            raise BundleError(f"there are no wheels for Python {python} on {machine}: 3.11 to 3.13, aarch64 or x86_64")
        return cls((version[0], version[1]), machine, min(glibc_minor, GLIBC))


def main(arguments: list[str]) -> int:
    """Do one of the two things above."""
    parser = argparse.ArgumentParser(prog="bundle.py")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("slice")
    every = commands.add_parser("all")
    for command in (one, every):
        command.add_argument("source", type=Path)
        command.add_argument("folder", type=Path)
    for name in ("release", "python", "machine"):
        one.add_argument(name)
    one.add_argument("glibc", type=int)
    one.add_argument("--packed", action="store_true")
    one.add_argument("--from", dest="bundle", type=Path)
    every.add_argument("bundle", type=Path)
    asked = parser.parse_args(arguments)
    try:
        asked.folder.mkdir(parents=True, exist_ok=True)
        with (asked.folder / ".bundle.lock").open("w") as guard:  # the hosts of a fleet ask for the same at once
            fcntl.flock(guard, fcntl.LOCK_EX)
            if asked.command == "all":
                make_all(asked.source, asked.folder, asked.bundle)
                return 0
            wanted = Slice.of_host(asked.python, asked.machine, asked.glibc)
            if asked.bundle is not None:
                was_there, packed = True, from_bundle(asked.bundle, asked.release, wanted)
                path = packed if asked.packed else unpack(packed, asked.folder / "unpacked")
            else:
                was_there, path = make(asked.source, asked.folder, asked.release, wanted)
                path = pack(path, asked.folder) if asked.packed else path
            print(f"{'kept' if was_there else 'built'} {path}")
    except BundleError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def make(source: Path, folder: Path, name: str, wanted: Slice) -> tuple[bool, Path]:
    """Make a slice as a folder, unless it is there; return whether it was, and where it is."""
    made = folder / name / str(wanted)
    if made.is_dir():
        return True, made
    if release.build(source, folder, name, say=False) != 0:
        raise BundleError(f"the wheel of {name} cannot be built, see above")
    own = release.wheel_in(folder / name)
    lock = source / LOCK
    scratch = folder / name / f".{wanted}"
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "wheels").mkdir(parents=True)
    for wheel in (*fetched(lock, folder / "wheels", wanted), own):
        wheels.link_or_copy(wheel, scratch / "wheels" / wheel.name)
    wheels.link_or_copy(next((scratch / "wheels").glob("pip-*.whl")), scratch / "pip.zip")
    version = name.rpartition("-")[0]
    requirements = f"{lock.read_text(encoding='utf-8')}\nfieldcam=={version} --hash=sha256:{wheels.sha256(own)}\n"
    (scratch / "requirements.txt").write_text(requirements, encoding="utf-8")
    write_sums(scratch, sorted(path for path in scratch.rglob("*") if path.is_file()))
    scratch.replace(made)
    return False, made


def fetched(lock: Path, store: Path, wanted: Slice) -> list[Path]:
    """Return the wheels of the lock; they are fetched again only when the lock changes."""
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    kept = store / f"{wanted}-{digest}"
    if not kept.is_dir():
        for old in store.glob(f"{wanted}-*"):
            shutil.rmtree(old, ignore_errors=True)
        options = wheels.pip_options(wanted.python, wanted.machine, wanted.glibc_minor)
        if wheels.fetch([lock], options, kept) != 0:
            raise BundleError(
                f"pip cannot fetch the wheels of {lock.name} for {wanted}, see above. Without a way to its index: "
                "`make bundle` on a machine that has one, and appliance_bundle_dir here"
            )
    return sorted(kept.glob("*.whl"))


def make_all(source: Path, folder: Path, bundle: Path) -> None:
    """Pack every slice into a folder, with the checksums of the files."""
    name = release.name_of(source)
    slices = [Slice(python, machine) for python in PYTHONS for machine in MACHINES]
    packed = []
    for number, wanted in enumerate(slices, 1):
        file = pack(make(source, folder, name, wanted)[1], folder)
        packed.append(file)
        print(f"{number}/{len(slices)} {file.name}: {file.stat().st_size / 1e6:.0f} MB", flush=True)
    bundle.mkdir(parents=True, exist_ok=True)
    for old in bundle.glob("fieldcam-*.tar"):
        old.unlink()
    for file in packed:
        wheels.link_or_copy(file, bundle / file.name)
    write_sums(bundle, [bundle / file.name for file in packed])
    print(f"{bundle}: release {name}; use it with appliance_bundle_dir")


def from_bundle(bundle: Path, name: str, wanted: Slice) -> Path:
    """Return a packed slice of a bundle, after a look at its checksum."""
    file = bundle / file_name(name, str(wanted))
    there = sorted(path.name for path in bundle.glob("fieldcam-*.tar"))
    if not file.is_file():
        raise BundleError(
            f"appliance_bundle_dir: {bundle} has no {file.name} (it has {', '.join(there) or 'no slices'}): "
            "`make bundle` from this very checkout makes it"
        )
    try:
        lines = (bundle / SUMS).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BundleError(f"appliance_bundle_dir: {bundle / SUMS} cannot be read: {error.strerror}") from None
    known = dict(reversed(line.split(maxsplit=1)) for line in lines if line.strip())
    if known.get(file.name) != wheels.sha256(file):
        raise BundleError(
            f"appliance_bundle_dir: {file} is not what {SUMS} says it is, so it was damaged on its way: copy the "
            "bundle again, or make it again (make bundle)"
        )
    return file


def pack(made: Path, folder: Path) -> Path:
    """Pack a slice into one file; wheels are compressed already. Same content, same bytes."""
    name = made.parent.name
    file = folder / name / file_name(name, made.name)
    if not file.is_file():
        scratch = file.with_suffix(".tmp")
        with tarfile.open(scratch, "w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(path for path in made.rglob("*") if path.is_file()):
                facts = tar.gettarinfo(path, str(path.relative_to(made)))
                facts.uid = facts.gid = facts.mtime = 0
                facts.uname = facts.gname = "root"
                facts.mode, facts.type, facts.linkname = 0o644, tarfile.REGTYPE, ""
                facts.size = path.stat().st_size
                with path.open("rb") as stream:
                    tar.addfile(facts, stream)
        scratch.replace(file)
    return file


def unpack(file: Path, folder: Path) -> Path:
    """Unpack a slice of a bundle beside; only where the host is this machine."""
    made = folder / file.stem
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(file) as tar:
        # By hand, as filters of tarfile came with Python 3.11.4, after that of Debian 12.
        for member in tar:
            target, content = made / member.name, tar.extractfile(member)
            if content is None or not target.resolve().is_relative_to(made.resolve()):
                raise BundleError(f"{file}: {member.name!r} is no file of ours; make it again (make bundle)")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.read())
    return made


def file_name(name: str, wanted: str) -> str:
    """Return what a packed slice is called."""
    return f"fieldcam-{re.sub(r'[^A-Za-z0-9._-]', '_', name)}-{wanted}.tar"


def write_sums(folder: Path, files: list[Path]) -> None:
    """Write SHA256SUMS as sha256sum(1) reads it."""
    lines = [f"{wheels.sha256(file)}  {file.relative_to(folder)}\n" for file in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

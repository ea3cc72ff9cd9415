# SPDX-License-Identifier: MIT
"""Prove that every pin of a lock can be installed from a wheel on each machine that fieldcam supports.

A lock that resolves on a developer's x86-64 may still lack the wheel a Raspberry Pi needs, and nobody would know before
the update is rolled out. uv asks the index which wheels each pinned version has; this script then keeps those whose
hash stands in the lock and looks for one whose tags fit, per architecture and Python. Nothing is downloaded.

Needs the network, so it is `make lock-check` and no part of `make test`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

ARCHITECTURES = ("aarch64", "x86_64")
PYTHONS = ((3, 11), (3, 12), (3, 13))
GLIBC_MINOR = 36  # Debian 12 and Raspberry Pi OS bookworm have glibc 2.36
OLDEST_GLIBC_MINOR = 5  # manylinux1
LEGACY_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}

PIN = re.compile(r"^(?P<requirement>[A-Za-z0-9][^\n]*?) \\\n(?P<hashes>(?:    --hash=[^\n]*\n)+)", re.MULTILINE)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Target:
    """One kind of machine: processor architecture and Python version."""

    architecture: str
    python: tuple[int, int]

    def __str__(self) -> str:
        """Name it as a person would."""
        return f"{self.architecture}, Python {self.python[0]}.{self.python[1]}"

    def tags(self) -> frozenset[Tag]:
        """Return every wheel tag that installs there."""
        platforms = list(linux_platforms(self.architecture))
        interpreter = f"cp{self.python[0]}{self.python[1]}"
        return frozenset(
            (*cpython_tags(self.python, platforms=platforms), *compatible_tags(self.python, interpreter, platforms))
        )

    def environment(self) -> dict[str, str]:
        """Return the values that markers are evaluated with."""
        version = f"{self.python[0]}.{self.python[1]}"
        return {
            **{key: str(value) for key, value in default_environment().items()},
            "os_name": "posix",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": self.architecture,
            "platform_python_implementation": "CPython",
            "implementation_name": "cpython",
            "python_version": version,
            "python_full_version": f"{version}.0",
            "implementation_version": f"{version}.0",
        }


@dataclass(frozen=True)
class Pin:
    """One package of a lock: the exact version, its marker and the hashes that are allowed."""

    requirement: Requirement
    hashes: frozenset[str]


def main() -> int:
    """Check the locks named on the command line; 0 when every one can be installed everywhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("locks", nargs="+", type=Path)
    failures = 0
    for lock in parser.parse_args().locks:
        pins = read_pins(lock)
        problems = list(unpinned_lines(lock, pins)) or list(missing_wheels(pins, published_wheels(lock)))
        failures += len(problems)
        for problem in problems:
            print(f"{lock}: {problem}", file=sys.stderr)
        if not problems:
            print(f"{lock}: {len(pins)} packages, each with a hashed wheel for {len(TARGETS)} kinds of machine")
    return 1 if failures else 0


def linux_platforms(architecture: str) -> Iterator[str]:
    """Yield the platform tags of a Debian 12 machine, newest first."""
    for minor in range(GLIBC_MINOR, OLDEST_GLIBC_MINOR - 1, -1):
        yield f"manylinux_2_{minor}_{architecture}"
        if minor in LEGACY_NAMES:
            yield f"{LEGACY_NAMES[minor]}_{architecture}"
    yield f"linux_{architecture}"


TARGETS = tuple(Target(architecture, python) for architecture in ARCHITECTURES for python in PYTHONS)


def read_pins(lock: Path) -> list[Pin]:
    """Return what the lock pins, in its order."""
    return [
        Pin(Requirement(found["requirement"]), frozenset(HASH.findall(found["hashes"])))
        for found in PIN.finditer(lock.read_text(encoding="utf-8"))
    ]


def unpinned_lines(lock: Path, pins: list[Pin]) -> Iterator[str]:
    """Yield a complaint for each requirement without an exact version or without hashes, and for an empty lock."""
    hashed = {str(pin.requirement) for pin in pins if pin.hashes}
    if not pins:
        yield "nothing is pinned"
    for line in lock.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith(("#", " ")):
            continue
        requirement = Requirement(line.removesuffix(" \\"))
        if str(requirement) not in hashed or not re.fullmatch(r"==[^*,]+", str(requirement.specifier)):
            yield f"{line}: not an exact pin with hashes"


def published_wheels(lock: Path) -> dict[tuple[str, str], list[tuple[frozenset[Tag], str]]]:
    """Ask the index, through uv, for the wheels of each pin: (name, version) to a list of (tags, sha256)."""
    uv = Path(sys.executable).with_name("uv")
    with tempfile.TemporaryDirectory() as scratch:
        listing = Path(scratch) / "pylock.toml"
        command: list[str | Path] = [
            uv,
            "pip",
            "compile",
            "--quiet",
            "--no-config",
            "--universal",
            "--python-version",
            "3.11",
        ]
        command += [
            "--no-deps",
            "--only-binary",
            ":all:",
            "--format",
            "pylock.toml",
            "--output-file",
            listing,
            lock.resolve(),
        ]
        # From the scratch folder, where no pyproject.toml can have a say.
        subprocess.run(command, check=True, cwd=scratch, stdout=subprocess.DEVNULL)
        packages: list[dict[str, Any]] = tomllib.loads(listing.read_text(encoding="utf-8"))["packages"]
    return {
        (canonicalize_name(package["name"]), package["version"]): [
            (parse_wheel_filename(wheel.get("name") or wheel["url"].rpartition("/")[2])[3], wheel["hashes"]["sha256"])
            for wheel in package.get("wheels", [])
        ]
        for package in packages
    }


def missing_wheels(
    pins: list[Pin], published: dict[tuple[str, str], list[tuple[frozenset[Tag], str]]]
) -> Iterator[str]:
    """Yield a complaint for each pin that some kind of machine cannot install."""
    for target in TARGETS:
        tags, environment = target.tags(), target.environment()
        for pin in pins:
            requirement = pin.requirement
            if requirement.marker and not requirement.marker.evaluate(environment):
                continue
            version = str(requirement.specifier).removeprefix("==")
            wheels = published.get((canonicalize_name(requirement.name), version), [])
            if not any(sha256 in pin.hashes and not tags.isdisjoint(fits) for fits, sha256 in wheels):
                yield f"{requirement.name}=={version}: no wheel with a hash from the lock for {target}"


if __name__ == "__main__":
    sys.exit(main())

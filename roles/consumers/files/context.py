# SPDX-License-Identifier: MIT
"""Name the image that a checkout makes, and put together what it is built from, for a host to build.

    context.py name SOURCE LOCK BASE-ID
                                    prints the image's tag: of the same sources, lock and base it is the same
    context.py ask SOURCE           prints a program for the Python of the base, whose answer is the TARGET below
    context.py make SOURCE LOCK WORK TAG TARGET
                                    writes a tar for `docker build -`, with the wheels of the target; prints `made` or
                                    `kept`, and its path

Run on the controller by the tasks. It is tools/container_image.py of the checkout that does the work, with a host in
place of this machine's Docker.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

DIGITS = 12


def main(arguments: list[str]) -> int:
    """Do one of the things above."""
    action, source = arguments[0], Path(arguments[1]).resolve()
    tool = load(source / "tools" / "container_image.py")
    if action == "ask":
        print(tool.ASK)
    elif action == "name":
        print(name_of(source, Path(arguments[2]), arguments[3]))
    else:
        try:
            print(*make(tool, Path(arguments[2]), Path(arguments[3]), arguments[4], arguments[5]))
        except tool.BuildError as error:
            print(f"container image: {error}", file=sys.stderr)
            return 1
    return 0


def load(file: Path) -> ModuleType:
    """Import a program of the checkout."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file} is missing: consumers_source_dir is no checkout of fieldcam")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def name_of(source: Path, lock: Path, base: str) -> str:
    """Return a tag that changes with everything that goes into the image."""
    release = load(source / "roles" / "appliance" / "files" / "release.py")
    name: str = release.name_of(source)  # over the whole package, Dockerfile and services included
    digest = hashlib.sha256(f"{base}\0".encode() + lock.read_bytes()).hexdigest()
    return f"{name}-{digest[:DIGITS]}"


def make(tool: ModuleType, lock: Path, work: Path, tag: str, answer: str) -> tuple[str, Path]:
    """Write the tar unless it is there; return `made` or `kept`, and which it is."""
    target = target_of(tool, answer)
    work.mkdir(parents=True, exist_ok=True)
    file = work / f"context-{tag}-{target.folder}.tar"
    if file.exists():
        return "kept", file
    wheels = tool.fetch_wheels(target, lock, work / "wheels")
    release = tool.build_release(work / "release")
    with tempfile.TemporaryDirectory(dir=work, prefix="context-") as scratch:
        context = Path(scratch) / "context"
        tool.assemble(context, release, wheels, lock)
        unfinished = Path(scratch) / "context.tar"
        with tarfile.open(unfinished, "w") as tar:
            tar.add(context, arcname=".", filter=without_owner)
        unfinished.replace(file)
    for old in work.glob("context-*.tar"):
        if not old.name.startswith(f"context-{tag}-"):
            old.unlink(missing_ok=True)  # of sources that were edited since
    return "made", file


def target_of(tool: ModuleType, answer: str) -> Any:
    """Return what the base runs, or raise what is wrong with it: the tool asks, a host has answered."""
    ask, tool.run = tool.run, lambda *_, **__: answer
    try:
        return tool.ask_base("consumers_base")
    finally:
        tool.run = ask


def without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return a member as everybody's checkout would have it, so that Docker finds an unchanged build in its cache."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = 0
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

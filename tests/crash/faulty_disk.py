# SPDX-License-Identifier: MIT
"""A disk that fails or dies at a chosen step of what core.durable does, for tests in one process.

A *failure* is an error of the kernel, after which the code goes on and cleans up. A *death* is a kill: from that step
on nothing has any effect any more, cleaning up included.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fieldcam.core import durable

WRAPPED = ("open", "write", "utime", "fsync", "close", "link")


class DiedError(BaseException):
    """The process was killed here. No `Exception`: nothing may handle it."""


class FaultyDisk:
    """Counts the steps core.durable takes, such as `fsync image`, and breaks one of them.

    Args:
        monkeypatch: undoes it all at the end of the test.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self._fails: dict[int, int] = {}
        self._dies_at: int | None = None
        self._dies_before: str | None = None
        self._dead = False
        self._what: dict[int, str] = {}
        monkeypatch.setattr(durable, "os", _Os(self))
        self._real_renameat2 = durable._libc.renameat2
        monkeypatch.setattr(durable, "_libc", _Libc(self))
        for name in ("unlink", "replace", "mkdir"):
            monkeypatch.setattr(Path, name, self._wrapped_method(name, getattr(Path, name)))

    def fail(self, step: int, code: int) -> None:
        """Let the step of that number, counted from 0, fail with an error of the kernel."""
        self.begin()
        self._fails = {step: code}

    def die(self, step: int) -> None:
        """Die before the step of that number."""
        self.begin()
        self._dies_at = step

    def die_before(self, name: str) -> None:
        """Die before the first step of that name."""
        self.begin()
        self._dies_before = name

    def begin(self) -> None:
        """Work again, and count from 0."""
        self.steps = []
        self._fails = {}
        self._dies_at = self._dies_before = None
        self._dead = False

    def step(self, name: str) -> None:
        """Take a step: note it, fail or die."""
        if self._dead:
            raise DiedError(f"dead since before {name}")
        number = len(self.steps)
        self.steps.append(name)
        if number == self._dies_at or name == self._dies_before:
            self._dead = True
            raise DiedError(name)
        if number in self._fails:
            code = self._fails[number]
            raise OSError(code, os.strerror(code))

    def call(self, name: str, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Take the step of a function of `os` and call it."""
        target = args[0]
        if name == "close" and self._dead:
            return real(target)  # a kill closes files, too
        what = self._what.get(target, "folder") if isinstance(target, int) else kind_of(str(target))
        try:
            self.step(f"{name} {what}")
        except OSError:
            if name == "close":
                real(target)  # an error of close(2) still closes
            raise
        result = real(*args, **kwargs)
        if name == "open":
            self._what[result] = what
        return result

    def rename(self, *args: Any) -> int:
        """Take the step of renameat2(2) and call it, with its way of reporting errors."""
        try:
            self.step(f"rename {kind_of(os.fsdecode(args[3]))}")
        except OSError as error:
            ctypes.set_errno(error.errno or errno.EIO)
            return -1
        result: int = self._real_renameat2(*args)
        return result

    def _wrapped_method(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def method(path: Path, *args: Any, **kwargs: Any) -> Any:
            self.step(f"{name} {kind_of(str(path))}")
            return real(path, *args, **kwargs)

        return method


def kind_of(path: str) -> str:
    """Return what a path is, whether it is still temporary or not."""
    name = path.rsplit("/", 1)[-1]
    for kind, part in (("identity", "identity"), ("identity", "live_names"), ("image", ".jpg"), ("sidecar", ".json")):
        if part in name:
            return kind
    return "folder"


class _Os:
    def __init__(self, disk: FaultyDisk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in WRAPPED:
            return real
        return lambda *args, **kwargs: self._disk.call(name, real, *args, **kwargs)


class _Libc:
    def __init__(self, disk: FaultyDisk) -> None:
        self.renameat2 = disk.rename

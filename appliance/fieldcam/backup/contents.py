# SPDX-License-Identifier: MIT
"""What belongs into a backup, by a name that stays the same wherever an appliance keeps its files.

Live frames, thumbnails, the live catalog and decoded frames are not in it: they are made again. Captures are in it only
on request, as a disk of them is better copied by a program for that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldcam.core.config import Config
from fieldcam.core.durable import TEMPORARY_SUFFIX
from fieldcam.core.layout import MARKER

Kind = Literal["database", "file", "capture"]

# Folders of the configuration that hold what cannot be made again: tokens, and the key and certificate of the gateway.
KEPT_CONFIG = ("secrets", "gateway")
DATABASES = ("state/auth.db", "state/events.db", "archive/catalog.db")
_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}"
_NAME = re.compile(rf"(state|archive|config|captures)(/{_PART}){{1,4}}")


@dataclass(frozen=True, slots=True)
class Item:
    """A file of the appliance and its name in a backup."""

    name: str
    path: Path
    kind: Kind


def is_allowed(name: str) -> bool:
    """Return whether this can be the name of something in a backup: it never leads anywhere else."""
    return _NAME.fullmatch(name) is not None


def contents(config: Config, config_dir: Path | None, *, with_captures: bool) -> Iterator[Item]:
    """Yield what is to be kept, as far as it is there.

    The counters of ids come last: those of a backup are never lower than the ids in its catalog.

    Args:
        config: of the appliance.
        config_dir: where its secrets are; None = none are kept.
        with_captures: pictures that were asked for, too.
    """
    layout = config.layout
    databases = zip(DATABASES, (layout.auth, layout.events, layout.catalog), strict=True)
    yield from (Item(name, path, "database") for name, path in databases if path.is_file())
    for camera in config.all_cameras:
        yield from _files(f"state/cameras/{camera}", layout.camera(camera).state)
    if config_dir is not None:
        toml = config_dir / "fieldcam.toml"
        if toml.is_file():
            yield Item("config/fieldcam.toml", toml.resolve(), "file")
        for folder in KEPT_CONFIG:
            yield from _files(f"config/{folder}", config_dir / folder)
    marker = config.archive_dir / MARKER
    if marker.is_file():
        yield Item("archive/marker.json", marker, "file")
    if with_captures:
        for camera in config.all_cameras:
            for item in _files(f"captures/{camera}", layout.camera(camera).captures):
                yield Item(item.name, item.path, "capture")
    for camera in config.all_cameras:
        identity = layout.camera(camera).identity
        if identity.is_file():
            yield Item(f"archive/cameras/{camera}/identity.json", identity, "file")


def place_of(name: str, config: Config, config_dir: Path | None) -> Path | None:
    """Return where something of a backup belongs; None for what is only kept to be read, or belongs to no camera here.

    The configuration itself and the marker of the archive are made by deployment.
    """
    layout = config.layout
    top, _, rest = name.partition("/")
    if name in DATABASES:
        return (layout.auth, layout.events, layout.catalog)[DATABASES.index(name)]
    if top == "config" and config_dir is not None and rest.partition("/")[0] in KEPT_CONFIG:
        return config_dir / rest
    parts = name.split("/")
    camera = parts[1] if top == "captures" else parts[2] if len(parts) > 3 and parts[1] == "cameras" else None
    if camera not in config.all_cameras or camera is None:
        return None
    paths = layout.camera(camera)
    if top == "captures" and len(parts) == 3:
        return paths.captures / parts[2]
    if top == "state":
        return paths.state / parts[3]
    return paths.identity if parts[3] == "identity.json" else None


def _files(name: str, folder: Path) -> Iterator[Item]:
    """Yield the plain files of a folder and of those below it; links and what is being written are left out."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for path in sorted(folder.iterdir()):
        inner = f"{name}/{path.name}"
        if path.is_symlink() or path.name.endswith(TEMPORARY_SUFFIX) or not is_allowed(inner):
            continue
        if path.is_dir():
            yield from _files(inner, path)
        elif path.is_file():
            yield Item(inner, path, "file")

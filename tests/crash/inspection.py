# SPDX-License-Identifier: MIT
"""What must hold after a crash, looked at with as little of the product's own code as possible."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import simplejpeg

from fieldcam.core.clock import Clock
from fieldcam.manager.keeper import OK, Catalog, Keeper
from fieldcam.manager.sources import Sources
from fieldcam.store.live_roll import LiveRoll
from fieldcam.store.volume import Volume
from fieldcam.store.writer import FrameWriter
from tests.crash.site import CAMERA, CAMERA_NUMBER, Ack, Site

STEPS = 100_000


@dataclass
class Ledger:
    """What is known of an archive over all its crashes.

    Attributes:
        acks: everything acknowledged, in order.
        whole: names whose image has been decoded once.
        named: SHA-256 by name, of everything ever seen under that name.
    """

    acks: list[Ack] = field(default_factory=list)
    whole: set[str] = field(default_factory=set)
    named: dict[str, str] = field(default_factory=dict)


def visible_problems(images: Path, sidecars: Path, ledger: Ledger) -> list[str]:
    """Return what is wrong with the images that can be seen in a folder."""
    problems = []
    for image in sorted(images.glob("*.jpg")):
        data = image.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        if image.name not in ledger.whole:
            if not data.endswith(b"\xff\xd9") or not _decodes(data):
                problems.append(f"partial: {image.name} has {len(data)} bytes and cannot be decoded")
            else:
                ledger.whole.add(image.name)
        try:
            sidecar = json.loads((sidecars / f"{image.stem}.json").read_bytes())
        except (OSError, ValueError) as error:
            problems.append(f"sidecar: {image.name}: {error!r}")
            continue
        told = (sidecar["filename"], sidecar["sha256"], sidecar["file_size"])
        if told != (image.name, sha256, len(data)):
            problems.append(f"sidecar: {image.name}: it speaks of another image")
        if ledger.named.setdefault(image.name, sha256) != sha256:
            problems.append(f"name twice: {image.name}")
    return problems


def acknowledged_problems(site: Site, ledger: Ledger, fresh: list[Ack]) -> list[str]:
    """Return what was acknowledged and is not there, and ids and names that were given twice."""
    problems = []
    for ack in fresh:
        if ledger.acks and ack.id <= ledger.acks[-1].id:
            problems.append(f"id: {ack.id} was given after {ledger.acks[-1].id}")
        ledger.acks.append(ack)
    problems += [f"name twice: {name}" for name, times in Counter(ack.name for ack in ledger.acks).items() if times > 1]
    for ack in ledger.acks:
        try:
            sha256 = hashlib.sha256((site.paths.captures / ack.name).read_bytes()).hexdigest()
            number = json.loads((site.paths.captures / ack.name).with_suffix(".json").read_bytes())["id"]
        except (OSError, ValueError) as error:
            problems.append(f"lost: {ack.name}: {error!r}")
            continue
        if (sha256, number) != (ack.sha256, ack.id):
            problems.append(f"lost: {ack.name} is another image than was acknowledged")
    return problems


def restart(site: Site, boot_id: str) -> list[str]:
    """Open both places as a new capture process does; return what is left over or damaged then."""
    layout, paths = site.layout, site.paths
    FrameWriter.for_captures(Volume.open(layout.archive_dir, "archive"), paths, CAMERA_NUMBER)
    FrameWriter.for_live(Volume.open(layout.capture_dir, "handoff"), paths, durable=False, boot_id=boot_id)
    LiveRoll(paths.live, paths.metadata, max_images=100, max_bytes=None, boot_id=boot_id)
    problems = leftovers(site)
    lonely = {file.stem for file in paths.metadata.glob("*.json")} - {file.stem for file in paths.live.glob("*.jpg")}
    return problems + [f"leftover: {stem}.json in metadata/ without an image" for stem in lonely]


def leftovers(site: Site) -> list[str]:
    """Return the temporary files that can be found."""
    paths = site.paths
    folders = (paths.captures, paths.live, paths.metadata, paths.archive_root, paths.run)
    return [f"leftover: {file.name}" for folder in folders for file in folder.glob(".*.tmp")]


def recover_catalog(site: Site, clock: Clock) -> list[str]:
    """Do what the manager does at its start: open, check, make anew where needed, reconcile."""
    layout = site.layout
    catalog = Catalog("capture", layout.catalog, layout.archive_dir, "archive")
    keeper = Keeper(
        catalog, Sources(layout, [CAMERA]), clock, lambda _camera, _name: True, lambda _cause, _details: None
    )
    try:
        keeper.tick()
        steps = 0
        while keeper.busy and (steps := steps + 1) < STEPS:
            keeper.work()
        return [] if keeper.state == OK else [f"catalog: {keeper.state}"]
    finally:
        keeper.close()


def catalog_problems(site: Site) -> list[str]:
    """Compare rows with files both ways, ids and hashes included, reading the catalog with plain SQL."""
    files: set[tuple[Any, ...]] = set()
    for image in site.paths.captures.glob("*.jpg"):
        try:
            sidecar = json.loads(image.with_suffix(".json").read_bytes())
        except (OSError, ValueError):
            continue  # told by `visible_problems`; no row can be made of it
        files.add((sidecar["id"], sidecar["camera"], image.name, sidecar["sha256"]))
    try:
        with closing(sqlite3.connect(f"file:{site.layout.catalog}?mode=ro", uri=True)) as connection:
            whole = connection.execute("PRAGMA integrity_check").fetchone()[0]
            select = "SELECT id, camera, filename, sha256 FROM images WHERE state = 'present'"
            rows = {tuple(row) for row in connection.execute(select)}
    except sqlite3.Error as error:
        return [f"catalog: {error}"]
    problems = [] if whole == "ok" else [f"catalog: {whole}"]
    problems += [f"row without file: {row}" for row in rows - files]
    return problems + [f"file without row: {row}" for row in files - rows]


def _decodes(data: bytes) -> bool:
    try:
        simplejpeg.decode_jpeg(data)
    except ValueError:
        return False
    return True

# SPDX-License-Identifier: MIT
"""Comparing a catalog with the files it speaks of, changing neither."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from fieldcam.catalog.connect import Cause, Connection, catalog_errors, cause_of, open_reader
from fieldcam.catalog.image_row import VALUE_COLUMNS
from fieldcam.catalog.rebuild import MAX_PROBLEMS, Found
from fieldcam.catalog.schema import require_schema
from fieldcam.catalog.writer import known_image
from fieldcam.core.errors import CatalogError

CHUNK = 500
_READ = 1 << 20


@dataclass(slots=True)
class Verdict:
    """What was found. `ok` is True when the catalog equals the files; damaged images and strays are told, too.

    Attributes:
        structure: what SQLite says of the file; `ok` when it is whole.
        rows, files: images present in the catalog, and on disk with a sidecar.
        rows_without_file, files_without_row, damaged_rows: what makes the catalog wrong.
        files_without_sidecar: put there by hand; no fault of the catalog.
        damaged_images: with `deep`, images whose bytes are not those their row speaks of.
        problems: the first `MAX_PROBLEMS`, in words.
    """

    structure: str = "ok"
    rows: int = 0
    files: int = 0
    rows_without_file: int = 0
    files_without_row: int = 0
    damaged_rows: int = 0
    files_without_sidecar: int = 0
    damaged_images: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the catalog is whole and equals the files, and no image is damaged."""
        return self.structure == "ok" and not (
            self.rows_without_file or self.files_without_row or self.damaged_rows or self.damaged_images
        )

    def problem(self, text: str) -> None:
        """Note something that is wrong."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(text)


def verify(
    path: Path,
    frames: Iterable[Found],
    image_path: Callable[[str, str], Path],
    *,
    deep: bool = False,
    progress: Callable[[int], None] = lambda _done: None,
) -> Verdict:
    """Compare a catalog with its files, both ways, in bounded memory.

    Args:
        path: the catalog.
        frames: every frame on disk.
        image_path: where the image of (camera, filename) is.
        deep: read every image and compare its SHA-256.
        progress: told how many rows and files have been looked at.

    Raises:
        CatalogUnavailableError, CatalogTooNewError: the catalog cannot be read at all.
    """
    verdict = Verdict()
    try:
        with closing(open_reader(path)) as connection:
            require_schema(connection, path)
            with catalog_errors(path):
                found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)")]
            if found != ["ok"]:
                verdict.structure = "; ".join(found)
            _rows_against_files(connection, path, image_path, deep, verdict, progress)
            _files_against_rows(connection, path, frames, verdict, progress)
    except CatalogError as error:
        if cause_of(error) is not Cause.DAMAGED:
            raise
        if verdict.structure == "ok":
            verdict.structure = error.message
    return verdict


def _rows_against_files(
    connection: Connection,
    path: Path,
    image_path: Callable[[str, str], Path],
    deep: bool,
    verdict: Verdict,
    progress: Callable[[int], None],
) -> None:
    sql = (
        f"SELECT id, camera, filename, state, thumbnail_path, digest, {', '.join(VALUE_COLUMNS)} "  # noqa: S608
        "FROM images WHERE id > ? ORDER BY id LIMIT ?"
    )
    sha256_at = 6 + VALUE_COLUMNS.index("sha256")
    last = -(2**63)
    while True:
        with catalog_errors(path):
            rows = connection.execute(sql, (last, CHUNK)).fetchall()
        if not rows:
            return
        for row in rows:
            image = known_image(row)
            last = image.id
            if not image.whole:
                verdict.damaged_rows += 1
                verdict.problem(f"row {image.id} ({image.filename}) is damaged")
            if not image.present:
                continue
            verdict.rows += 1
            file = image_path(image.camera, image.filename)
            if not file.is_file():
                verdict.rows_without_file += 1
                verdict.problem(f"row {image.id}: there is no {file}")
            elif deep and _sha256(file) != row[sha256_at]:
                verdict.damaged_images += 1
                verdict.problem(f"{file} is not the image that was captured: its SHA-256 differs")
            progress(verdict.rows + verdict.files)


def _files_against_rows(
    connection: Connection,
    path: Path,
    frames: Iterable[Found],
    verdict: Verdict,
    progress: Callable[[int], None],
) -> None:
    for found in frames:
        frame = found.frame
        if not frame.sidecar.is_file():
            verdict.files_without_sidecar += 1
            continue
        verdict.files += 1
        with catalog_errors(path):
            row = connection.execute(
                "SELECT 1 FROM images WHERE camera = ? AND filename = ? AND state = 'present'",
                (found.camera, frame.image.name),
            ).fetchone()
        if row is None:
            verdict.files_without_row += 1
            verdict.problem(f"{frame.image} has no row")
        progress(verdict.rows + verdict.files)


def _sha256(file: Path) -> str | None:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while block := stream.read(_READ):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()

# SPDX-License-Identifier: MIT
"""Pack media on the controller into one file: many small files are slow to send one by one.

    pack.py name SOURCE          prints a name made from what is in SOURCE, a folder or a file
    pack.py pack SOURCE FOLDER   makes FOLDER/<name>.tar where it is missing, and prints its path

Only regular files are packed, without owners and times, so that equal media have equal names.
"""

from __future__ import annotations

import hashlib
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path


def main() -> int:
    """Print a name or a path; say on standard error what is wrong with the media."""
    source = Path(sys.argv[2]).expanduser()
    files = dict(media(source))
    if not files:
        print(f"{source} {'has no files in it' if source.exists() else 'does not exist'}", file=sys.stderr)
        return 1
    name = f"media-{digest(files)[:16]}"
    if sys.argv[1] == "name":
        print(name)
        return 0
    target = Path(sys.argv[3], f"{name}.tar")
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        pack(files, target)
    print(target)
    return 0


def media(source: Path) -> Iterator[tuple[str, Path]]:
    """Yield names in the archive and files, in a fixed order; hidden files are left out."""
    if source.is_file():
        yield source.name, source
    elif source.is_dir():
        for path in sorted(source.rglob("*")):
            relative = path.relative_to(source)
            if path.is_file() and not any(part.startswith(".") for part in relative.parts):
                yield relative.as_posix(), path


def digest(files: dict[str, Path]) -> str:
    """Return a hash over names and contents."""
    total = hashlib.sha256()
    for name, path in files.items():
        with path.open("rb") as stream:
            inside = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{name}\0{inside}\n".encode())
    return total.hexdigest()


def pack(files: dict[str, Path], target: Path) -> None:
    """Write the archive under another name first: it is whole or not there."""
    temporary = target.with_suffix(".unfinished")
    with tarfile.open(temporary, "w") as archive:
        for name, path in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as stream:
                archive.addfile(entry, stream)
    temporary.replace(target)


if __name__ == "__main__":
    sys.exit(main())

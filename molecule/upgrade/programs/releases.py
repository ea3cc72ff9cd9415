# SPDX-License-Identifier: MIT
"""Make two other releases of this checkout: the one before, and one that never delivers a frame.

    releases.py CHECKOUT FOLDER     makes FOLDER/previous and FOLDER/broken

The one before has a lower version, the last step of the catalog's schema is not there, and it does not know the key
`ring_lores_width`: neither the program nor the role, so it is deployed by its own playbooks.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

PREVIOUS, BROKEN = "0.0.9", "99.0.0"


def main(checkout: Path, folder: Path) -> None:
    """Make both."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("previous", "broken"):
        copy(checkout, folder / name)
    make_previous(folder / "previous")
    make_broken(folder / "broken")


def copy(checkout: Path, target: Path) -> None:
    """Copy the working tree as it is: what git knows, with changes, and what it would be told of."""
    command = ["git", "-C", str(checkout), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\0"):
        if name and (checkout / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout / name, target / name, follow_symlinks=False)


def make_previous(root: Path) -> None:
    """Take back the last step of the schema and one key."""
    edit(root / "pyproject.toml", r"(?m)^version = .*$", f'version = "{PREVIOUS}"')
    package = root / "appliance" / "fieldcam"
    edit(package / "catalog" / "migrations.py", r"(?s)@_steps\(\)\ndef m002_.*?(?=\n\ndef migrate)", "")
    edit(package / "catalog" / "schema.py", r"(?m)^SCHEMA_VERSION = 2$", "SCHEMA_VERSION = 1")
    edit(package / "core" / "config.py", r"(?m)^    ring_lores_width: .*\n", "")
    edit(package / "capture" / "ring.py", r"self\._config\.ring_lores_width", "640")
    edit(root / "roles" / "appliance" / "vars" / "main.yml", r"(?m)^  - ring_lores_width\n", "")


def make_broken(root: Path) -> None:
    """Let capture run, answer, and never give a frame."""
    edit(root / "pyproject.toml", r"(?m)^version = .*$", f'version = "{BROKEN}"')
    edit(
        root / "appliance" / "fieldcam" / "capture" / "pipeline.py",
        r"(?m)^    shot = camera\.capture\(.*$",
        '    raise CaptureFailedError("this release never delivers")',
    )


def edit(file: Path, pattern: str, text: str) -> None:
    """Replace what a pattern finds, once; an error when the code has changed meanwhile."""
    content, count = re.subn(pattern, lambda _: text, file.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit(f"{file}: {pattern} is there {count} times; bring {Path(__file__).name} up to date")
    file.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())

# SPDX-License-Identifier: MIT
"""What is deployed on a host, what came before it, and what may be removed.

A deployment is a release and the files it runs with: `deployments/<revision>/` holds a link to the environment of its
release, fieldcam.toml and supervisord's files; `current` is a link to one of them. So code and configuration change,
and are taken back, in one step. One that served frames is stamped with `verified`: a number that rises, since the
clock of a Pi may be wrong. Only such a one is ever returned to.

    deployments.py show INSTALL [KEEP]     prints JSON; `obsolete` is what goes when KEEP deployments stay
    deployments.py adopt INSTALL CONFIG    gives what a release without deployments left there a deployment of its own;
                                           prints `adopted` or `nothing`

Run on the host with its own Python, sent over standard input. `show` changes nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

VERIFIED, FAILED, ENVIRONMENT = "verified", "failed", "environment"
LOCAL_FILES = ("supervisord.conf", "conf.d")


def main(arguments: list[str]) -> int:
    """Do one of the two things above."""
    action, install = arguments[0], Path(arguments[1])
    if action == "adopt":
        print("adopted" if adopt(install, Path(arguments[2])) else "nothing")
        return 0
    print(json.dumps(show(install, int(arguments[2]) if len(arguments) > 2 else 0)))
    return 0


def show(install: Path, keep: int = 0) -> dict[str, Any]:
    """Return what is there; the newest verified deployment comes first."""
    current = target_of(install / "current", "deployments")
    found = [facts_of(folder) for folder in folders_in(install / "deployments")]
    found.sort(key=lambda one: (one["verified"], one["revision"] == current), reverse=True)
    previous = next((one for one in found if one["verified"] and one["revision"] != current), None)
    revisions = [one["revision"] for one in found]
    kept = {current, previous["revision"] if previous else None}
    for revision in revisions:
        if len(kept - {None}) < keep:
            kept.add(revision)
    used = {one["release"] for one in found if one["revision"] in kept}
    releases = [folder.name for folder in folders_in(install / "releases")]
    obsolete = [f"deployments/{name}" for name in revisions if name not in kept]
    obsolete += [f"releases/{name}" for name in releases if name not in used]
    return {
        "current": current,
        # Not one that served before another did: put in place again, it has to prove itself again.
        "is_verified": bool(found and found[0]["verified"] and found[0]["revision"] == current),
        "release": next((one["release"] for one in found if one["revision"] == current), None),
        "previous": previous["revision"] if previous else None,
        "deployments": found,
        "releases": releases,
        "next_stamp": max([one["verified"] for one in found], default=0) + 1,
        "old_layout": target_of(install / "current", "releases"),
        "obsolete": obsolete if keep and current else [],
    }


def adopt(install: Path, config: Path) -> bool:
    """Make a deployment of what runs, where `current` still points to a release, and let `current` point to it."""
    release = target_of(install / "current", "releases")
    if release is None:
        return False
    old = install / "releases" / release
    if not (old / "fieldcam.toml").is_file() or not (config / "supervisord.conf").is_file():
        return False  # it was never finished
    revision = f"{release}-adopted"
    made = install / "deployments" / f".{revision}"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    (made / "venv").symlink_to(f"../../releases/{release}/venv")
    shutil.copy2(old / "fieldcam.toml", made / "fieldcam.toml")
    shutil.copy2(config / "supervisord.conf", made / "supervisord.conf")
    shutil.copytree(config / "conf.d", made / "conf.d")
    values = {"HOME": os.fspath(made), "LANG": "C.UTF-8", "PATH": os.environ.get("PATH", os.defpath)}
    values |= {"FIELDCAM_CONFIG": os.fspath(config / "fieldcam.toml"), "APPLIANCE_REVISION": revision}
    (made / ENVIRONMENT).write_text("".join(f"{key}={value}\n" for key, value in values.items()), encoding="utf-8")
    (made / VERIFIED).write_text("1\n", encoding="utf-8")
    final = install / "deployments" / revision
    shutil.rmtree(final, ignore_errors=True)
    made.replace(final)
    link = install / ".current.new"
    link.unlink(missing_ok=True)
    link.symlink_to(f"deployments/{revision}")
    link.replace(install / "current")
    return True


def facts_of(folder: Path) -> dict[str, Any]:
    """Return what is known of one deployment."""
    try:
        venv = (folder / "venv").readlink()
    except OSError:
        venv = Path()
    return {
        "revision": folder.name,
        "release": venv.parent.name or None,
        "verified": number_in(folder / VERIFIED),
        "failed": text_in(folder / FAILED),
    }


def target_of(link: Path, kind: str) -> str | None:
    """Return the name a link points to, when that is in the folder `kind` beside it and there."""
    try:
        target = link.readlink()
    except OSError:
        return None
    path = link.parent / target
    return path.name if path.parent == link.parent / kind and path.is_dir() else None


def folders_in(parent: Path) -> list[Path]:
    """Return the folders in a folder, by name."""
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []


def number_in(file: Path) -> int:
    """Return the number in a stamp; 0 when there is none."""
    text = text_in(file)
    return int(text) if text is not None and text.isdecimal() else 0


def text_in(file: Path) -> str | None:
    """Return what a small file says."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

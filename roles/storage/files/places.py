# SPDX-License-Identifier: MIT
"""Look at the places of the appliance: before anything is changed, and again when all is done.

Run on the host by tasks/preflight.yml, tasks/service.yml and tasks/verify.yml with the host's own Python and nothing
installed: what to look at comes as JSON in the first argument, what was found goes out as JSON. Changes nothing. Each
problem is one sentence with key and value, and what to do.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARKER = ".fieldcam-volume"
# These names stand in unit files and in the names of unit files.
PATH = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+")
UNITS_DIR = Path("/etc/systemd/system")
RAM_KINDS = ("tmpfs", "ramfs")


@dataclass(frozen=True)
class Mount:
    """A line of the kernel's table of mounts."""

    kind: str
    options: frozenset[str]
    size: int


def main() -> int:
    """Print what was found as one JSON object."""
    asked = json.loads(sys.argv[1])
    paths, names = asked["paths"], named(asked["paths"])
    problems = list(path_problems(paths))
    if not problems:
        problems += nesting_problems(paths)
    if problems:  # the rest would only repeat them
        print(json.dumps({"problems": problems}))
        return 0
    mounts = {name: mount_at(path) for name, path in names.items()}
    units = {name: f"{escape(names[name])}.mount" for name in ("capture", "ring", "archive")}
    if asked.get("verify"):
        problems += verify_problems(asked, names, mounts)
    else:
        problems += account_problems(asked)
        problems += mount_problems(asked, names, mounts, units)
        problems += fstab_problems(paths)
        if not asked["device"]:
            problems += folder_problems(names["archive"], asked["required_free_mb"])
    uid, gid = id_of(asked["user"], asked["store_group"])
    found = {
        "problems": problems,
        "units": units,
        "uid": uid,
        "gid": gid,
        "mounted": {name: mount is not None for name, mount in mounts.items()},
        "tmpfs_sizes": {name: mount.size for name, mount in mounts.items() if mount and mount.kind == "tmpfs"},
        "missing": [name for _, _, name in missing_accounts(asked)],
        "is_marked": (Path(names["capture"]) / MARKER).exists(),
    }
    print(json.dumps(found))
    return 0


def named(paths: dict[str, str]) -> dict[str, str]:
    """Return paths by the short name of the place: storage_capture_dir is `capture`."""
    return {key.removeprefix("storage_").removesuffix("_dir"): path for key, path in paths.items()}


def escape(path: str) -> str:
    """Return a path as systemd writes it in the name of a unit (systemd-escape --path)."""
    letters = [
        "-" if letter == "/" else letter if re.match(r"[A-Za-z0-9:_.]", letter) else f"\\x{ord(letter):02x}"
        for letter in path.strip("/")
    ]
    return "".join(letters)


def path_problems(paths: dict[str, str]) -> Iterator[str]:
    """Yield paths that cannot stand in a unit file."""
    for key, path in paths.items():
        if not PATH.fullmatch(path):
            yield (
                f"{key}: {path!r} cannot be used: give an absolute path of letters, digits, _ . and -, "
                "no name beginning with . or -, nothing at the end"
            )


def nesting_problems(paths: dict[str, str]) -> Iterator[str]:
    """Yield places that are within each other, or outside of the gate."""
    gate = paths["storage_gate_dir"]
    places = {key: path for key, path in paths.items() if key not in {"storage_gate_dir", "storage_state_dir"}}
    for key, path in places.items():
        if not path.startswith(gate + "/"):
            yield f"{key}: {path} is not below storage_gate_dir {gate}, which keeps others out: move it there"
    for key, path in places.items():
        for other_key, other in places.items():
            if key != other_key and (path + "/").startswith(other + "/") and (path != other or key < other_key):
                yield (
                    f"{key}: {path} is {'the same as' if path == other else 'within'} {other_key}: places stand side "
                    "by side, as each is emptied, mounted and read on its own"
                )
    state = paths["storage_state_dir"]
    if (state + "/").startswith(gate + "/"):
        yield f"storage_state_dir: {state} is within storage_gate_dir {gate}: choose a folder of the system's own disk"


def mounts_table() -> dict[str, tuple[str, frozenset[str]]]:
    """Return kind and options of what is mounted, by mount point; the last mount on a place is the one seen."""
    table = {}
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        path = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        table[path] = (after.split()[0], frozenset(fields[5].split(",")))
    return table


def mount_at(path: str) -> Mount | None:
    """Return what is mounted there; None when it is an ordinary folder, or nothing."""
    found = mounts_table().get(path)
    if found is None:
        return None
    facts = os.statvfs(path)
    return Mount(found[0], found[1], facts.f_blocks * facts.f_frsize)


def kind_of(path: str) -> str:
    """Return on what kind of file system a path is, or would be."""
    table = mounts_table()
    here = Path(path)
    while str(here) not in table and here != here.parent:
        here = here.parent
    return table.get(str(here), ("", frozenset()))[0]


def nearest_existing(path: Path) -> Path:
    """Return the path itself or the first of its parents that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def id_of(user: str, group: str) -> tuple[int, int]:
    """Return both as numbers; 0 where there is none yet, which only check mode gets to see."""
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        uid = 0
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        gid = 0
    return uid, gid


def missing_accounts(asked: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield key, kind and name of each account that is not on this host."""
    lookups: dict[str, tuple[Callable[[str], object], str, str]] = {
        "storage_capture_user": (pwd.getpwnam, "user", asked["user"]),
        "storage_store_group": (grp.getgrnam, "group", asked["store_group"]),
        "storage_group": (grp.getgrnam, "group", asked["group"]),
    }
    for key, (look, kind, name) in lookups.items():
        try:
            look(name)
        except KeyError:
            yield key, kind, name


def account_problems(asked: dict[str, Any]) -> Iterator[str]:
    """Yield accounts that are missing. In check mode on an untouched host they have not been made yet."""
    for key, kind, name in missing_accounts(asked):
        if not asked["is_check"]:
            yield f"{key}: there is no {kind} {name!r} on this host: the role `users` makes it, deploy that first"


def contents(folder: str) -> list[str]:
    """Return what a folder holds besides the marker."""
    path = Path(folder)
    return sorted(entry.name for entry in path.iterdir() if entry.name != MARKER) if path.is_dir() else []


def mount_problems(
    asked: dict[str, Any], names: dict[str, str], mounts: dict[str, Mount | None], units: dict[str, str]
) -> Iterator[str]:
    """Yield places where something else is mounted, or where a mount would hide files."""
    gate = names["gate"]
    if mounts["gate"]:
        yield (
            f"storage_gate_dir: {gate} is itself a mounted disk, without which there would be no hand-off area: mount "
            f"it as the archive instead (take it out of /etc/fstab, umount {gate}, set storage_archive_device)"
        )
    for name in ("capture", "ring") if asked["in_ram"] else ("ring",):
        path, mount = names[name], mounts[name]
        if mount and mount.kind != "tmpfs":
            yield f"storage_{name}_dir: {path} has a {mount.kind} mounted on it, not a tmpfs: umount {path}"
        elif not mount and (held := contents(path)):
            yield (
                f"storage_{name}_dir: {path} is a folder with {', '.join(held[:3])} in it, which the tmpfs would hide: "
                f"stop the appliance and remove what is in it, it only holds what rolls (sudo rm -r {path}/*)"
            )
    archive, unit = names["archive"], UNITS_DIR / units["archive"]
    if asked["device"] and mounts["archive"] and not unit.exists():
        yield (
            f"storage_archive_dir: something is mounted on {archive} already, not by this role: umount {archive} (and "
            "take it out of /etc/fstab), so that what is below can be locked"
        )
    elif asked["device"] and not mounts["archive"] and (held := contents(archive)):
        yield (
            f"storage_archive_device: {archive} is a folder with {', '.join(held[:3])} in it, which the disk would "
            f"hide. Stop the appliance, move it away (sudo mv {archive} {archive}.old), deploy with the disk, and copy "
            f"it back without its marker (sudo rm {archive}.old/{MARKER}; sudo cp -a {archive}.old/. {archive}/)"
        )
    elif not asked["device"] and unit.exists():
        yield (
            f"storage_archive_device: is empty, but the archive of this host is on a disk ({unit}), so captures would "
            "go to two places. Set it again; or, to give the disk up: stop the appliance, "
            f"sudo systemctl disable --now '{units['archive']}'; sudo chattr -i {archive}; sudo rm '{unit}'"
        )


def fstab_problems(paths: dict[str, str], fstab: Path = Path("/etc/fstab")) -> Iterator[str]:
    """Yield places that fstab mounts, too."""
    lines = fstab.read_text(encoding="utf-8", errors="replace").splitlines() if fstab.exists() else []
    points = {line.split()[1]: line for line in lines if len(line.split()) > 1 and not line.lstrip().startswith("#")}
    for key, path in paths.items():
        if path in points:
            yield f"{key}: /etc/fstab mounts {path}, too ({points[path].strip()}): take that line out"


def folder_problems(archive: str, required_free_mb: int) -> Iterator[str]:
    """Yield what speaks against a folder as archive."""
    kind = kind_of(archive)
    if kind in RAM_KINDS:
        yield (
            f"storage_archive_dir: {archive} would be in RAM ({kind}), and captures be lost at each start: set "
            "storage_archive_device, or choose a folder on a disk"
        )
    free_mb = shutil.disk_usage(nearest_existing(Path(archive))).free // 1_000_000
    if free_mb < required_free_mb:
        yield (
            f"storage_archive_dir: {archive} has {free_mb} MB of free space, {required_free_mb} MB are needed: free "
            "some, or set storage_archive_device; storage_archive_required_free_mb sets the limit"
        )


def verify_problems(asked: dict[str, Any], names: dict[str, str], mounts: dict[str, Mount | None]) -> Iterator[str]:
    """Yield what is not as it was to be."""
    capture, store, readers = asked["user"], asked["store_group"], asked["group"]
    wanted = {
        "gate": ("root", readers, 0o750),
        "results": ("root", store, 0o755),
        "capture": (capture, store, 0o2775),
        "ring": (capture, store, 0o755),
        "archive": (capture, store, 0o2775),
    }
    if asked["device"] and not mounts["archive"]:
        if asked["verify"] == "without disk":
            del wanted["archive"]
        else:
            yield f"storage_archive_dir: the disk {asked['device']} is not mounted on {names['archive']}"
            return
    for name, (user, group, mode) in wanted.items():
        path, key = Path(names[name]), f"storage_{name}_dir"
        facts = path.stat()
        is_so = (pwd.getpwuid(facts.st_uid).pw_name, grp.getgrgid(facts.st_gid).gr_name, stat.S_IMODE(facts.st_mode))
        if is_so != (user, group, mode):
            yield f"{key}: {path} is {is_so[0]}:{is_so[1]} {is_so[2]:04o}, not {user}:{group} {mode:04o}"
        mount = mounts[name]
        is_in_ram = name == "ring" or (name == "capture" and asked["in_ram"])
        if is_in_ram and (mount is None or mount.kind != "tmpfs"):
            yield f"{key}: {path} is no tmpfs"
        if mount and name in {"capture", "ring", "archive"} and not {"nodev", "nosuid", "noexec"} <= mount.options:
            yield f"{key}: {path} is mounted with {','.join(sorted(mount.options))}; nodev, nosuid or noexec is missing"
        if name in {"capture", "archive"}:
            yield from marker_problems(key, path, "handoff" if name == "capture" else "archive")


def marker_problems(key: str, place: Path, kind: str) -> Iterator[str]:
    """Yield a complaint when a place has no good marker."""
    try:
        marker = json.loads((place / MARKER).read_text(encoding="utf-8"))
        if marker["kind"] != kind or not marker["id"]:
            yield f"{key}: {place / MARKER} says {marker}, not {kind}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield f"{key}: {place / MARKER} is no good marker: {error}"


if __name__ == "__main__":
    sys.exit(main())

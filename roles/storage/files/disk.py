# SPDX-License-Identifier: MIT
"""Look at the disk of the archive, or make a file system on it when it is blank and the operator agreed.

Run on the host by tasks/preflight.yml (which changes nothing) and, with `format`, by tasks/disk.yml, which looks anew
right before it writes. JSON comes in the first argument and goes out. Each problem is one sentence with key and value,
and what to do.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

TAG = re.compile(r"(UUID|LABEL|PARTUUID)=([A-Za-z0-9._-]{1,64})")
DEVICE = re.compile(r"/dev/(disk/by-[a-z]+/|mapper/|loop)[A-Za-z0-9._:+=@-]+")
IMAGE = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+")
COLUMNS = "PATH,TYPE,SIZE,SERIAL,MODEL,RO,FSTYPE,LABEL,UUID,PARTUUID"
MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-m", "1", "-L", "fieldcam", "-U"],
    "xfs": ["mkfs.xfs", "-q", "-L", "fieldcam", "-m"],
    "btrfs": ["mkfs.btrfs", "-q", "-L", "fieldcam", "-U"],
}
BLANK_BYTES = 2**20


class UnusableError(Exception):
    """The disk cannot be used; the text says why and what to do."""


def main() -> int:
    """Print what was found as one JSON object, or make the file system."""
    asked, todo = json.loads(sys.argv[1]), sys.argv[2]
    disk: dict[str, Any] = {
        "problems": [], "is_there": False, "is_image": False, "is_mounted": False, "to_format": False,
        "what": "", "device_unit": "", "fsck_unit": "", "note": "",
    }  # fmt: skip
    try:
        look(asked, disk)
        if todo == "format" and disk["to_format"]:
            make_file_system(asked, disk["path"])
            print("formatted")
            return 0
    except UnusableError as reason:
        if todo == "format":
            print(reason, file=sys.stderr)
            return 1
        disk["problems"].append(f"storage_archive_device: {reason}")
    print(json.dumps(disk))
    return 0


def look(asked: dict[str, Any], disk: dict[str, Any]) -> None:
    """Find the disk and say what it is.

    Raises:
        UnusableError: it cannot be the disk of the archive.
    """
    device, has_udev = asked["device"], Path("/run/udev/control").exists()
    disks = list_disks()
    check_name(device, disks)
    disk["what"] = as_path(device)
    disk["is_image"] = not disk["what"].startswith("/dev/")
    path = find(device, disk["what"], disks)
    if has_udev and not disk["is_image"]:
        disk["device_unit"] = f"{escape(disk['what'])}.device"
        if asked["fstype"] == "ext4":
            disk["fsck_unit"] = f"systemd-fsck@{escape(disk['what'])}.service"
    if path is None:
        if asked["is_required"]:
            raise UnusableError(f"{device} is not there. {told(disks)}")
        disk["note"] = f"storage_archive_device: {device} is not there; the appliance goes on without an archive"
        return
    disk.update(path=path, is_there=True)
    if "=" in device and not Path(disk["what"]).exists():
        disk["what"] = path  # a container: no udev makes the links below /dev/disk
    disk["is_mounted"] = mounted_on(path, asked["archive_dir"])
    check_size(asked, path)
    signature = probe(path)
    if not disk["is_mounted"]:
        check_unused(device, path, asked["archive_dir"])
    if asked["format"] and signature.get("UUID", "?") != remembered_uuid(asked):
        disk["to_format"] = True
        check_blank(asked, path, signature, disks)
    elif signature.get("TYPE") != asked["fstype"]:
        raise UnusableError(
            f"{device} has {described(signature)}, where storage_archive_fstype is {asked['fstype']}: "
            + ("set that to it, or choose another disk" if signature else "a blank disk needs storage_archive_format")
            + f". {told(disks)}"
        )


def check_name(device: str, disks: list[dict[str, Any]]) -> None:
    """Refuse names that are none, or that may be another disk's after the next start."""
    if TAG.fullmatch(device) or DEVICE.fullmatch(device):
        return
    if device.startswith("/dev/"):
        one = next((one for one in disks if one["path"] == device), None)
        use = f"UUID={one['uuid']}" if one and one.get("uuid") else "a name below /dev/disk/by-id/"
        raise UnusableError(f"{device} may be another disk after the next start: use {use}. {told(disks)}")
    if not IMAGE.fullmatch(device):
        raise UnusableError(
            f"{device!r} is no name of a disk: give UUID=…, LABEL=…, a name below /dev/disk/, /dev/loop… or the path "
            f"of an image file. {told(disks)}"
        )


def as_path(device: str) -> str:
    """Return the path that a unit names, as systemd translates it."""
    tag = TAG.fullmatch(device)
    return f"/dev/disk/by-{tag[1].lower()}/{tag[2]}" if tag else device


def list_disks() -> list[dict[str, Any]]:
    """Return the disks and partitions that are there, flat, each with what it is a part of."""
    said = subprocess.run(
        ["lsblk", "--json", "--bytes", "--output", COLUMNS], capture_output=True, text=True, check=False
    )
    found: list[dict[str, Any]] = []

    def walk(devices: list[dict[str, Any]], parent: str) -> None:
        for device in devices:
            # In a container the kernel names devices that are not there.
            if os.path.exists(device["path"]) and int(device["size"] or 0):  # noqa: PTH110
                found.append(device | {"parent": parent})
                if not device["fstype"]:  # without udev lsblk knows little
                    signature = probe(device["path"])
                    device_facts = {"fstype": "TYPE", "label": "LABEL", "uuid": "UUID"}
                    found[-1] |= {key: signature.get(name) for key, name in device_facts.items()}
            walk(device.get("children", []), device["path"])

    walk(json.loads(said.stdout or "{}").get("blockdevices", []), "")
    return found


def told(disks: list[dict[str, Any]]) -> str:
    """Return the disks for a person who has to choose one."""
    rows = [
        f"  {one['path']}: {one['type']}, {int(one['size']) / 1e9:.1f} GB"
        + "".join(f", {key} {one[key]}" for key in ("model", "serial", "fstype", "label") if one.get(key))
        + (f" -> storage_archive_device: UUID={one['uuid']}" if one.get("uuid") else "")
        for one in disks
        if one["type"] != "rom" and not one["path"].startswith(("/dev/ram", "/dev/zram"))
    ]
    return "There are these disks:\n" + "\n".join(rows) if rows else "There is no disk at all on this host."


def find(device: str, what: str, disks: list[dict[str, Any]]) -> str | None:
    """Return the device node or image file; None when it is not there.

    A container sees the disks of all others, too: there a link that somebody made says which is meant.
    """
    tag = TAG.fullmatch(device)
    if tag and not (Path(what).exists() and not Path("/run/udev/control").exists()):
        hits = [one["path"] for one in disks if (one.get(tag[1].lower()) or "").lower() == tag[2].lower()]
        if len(hits) > 1:
            raise UnusableError(f"{device} is on {' and '.join(hits)}: use what only one of them has. {told(disks)}")
        return hits[0] if hits else None
    path = Path(what)
    if not path.exists():
        return None
    mode = path.stat().st_mode
    if not (stat.S_ISBLK(mode) or (stat.S_ISREG(mode) and not what.startswith("/dev/"))):
        raise UnusableError(f"{device} is neither a disk nor an image file. {told(disks)}")
    return os.fspath(path.resolve())


def probe(path: str) -> dict[str, str]:
    """Return what is on a disk: nothing for a blank one."""
    said = subprocess.run(["blkid", "-p", "-o", "export", path], capture_output=True, text=True, check=False)
    if said.returncode == 8:  # more than one signature
        return {"TYPE": "several signatures at once"}
    pairs = dict(line.split("=", 1) for line in said.stdout.splitlines() if "=" in line)
    return {key: value.replace("\\", "") for key, value in pairs.items() if key not in {"DEVNAME", "USAGE", "VERSION"}}


def described(signature: dict[str, str]) -> str:
    """Return what is on a disk for a person."""
    if not signature:
        return "no file system"
    parts = [f"{key.lower()} {signature[key]}" for key in ("LABEL", "UUID") if key in signature]
    kind = signature.get("TYPE") or f"a partition table ({signature.get('PTTYPE', 'of some kind')})"
    return kind + (f" ({', '.join(parts)})" if parts else "")


def number_of(path: str) -> list[str]:
    """Return the device numbers a path stands for: its own, or those of the loop devices of an image file."""
    if stat.S_ISBLK(os.stat(path).st_mode):  # noqa: PTH116
        rdev = os.stat(path).st_rdev  # noqa: PTH116
        return [f"{os.major(rdev)}:{os.minor(rdev)}"]
    said = subprocess.run(
        ["losetup", "--associated", path, "--noheadings", "--output", "MAJ:MIN"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return said.stdout.split()


def mounts_of(path: str) -> list[str]:
    """Return where a disk is mounted."""
    numbers, found = number_of(path), []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        source = after.split()[1]
        # btrfs has a device number of its own: there the source tells.
        if before.split()[2] in numbers or (source.startswith("/dev/") and os.path.realpath(source) == path):
            found.append(before.split()[4])
    return found


def mounted_on(path: str, archive_dir: str) -> bool:
    """Return whether the disk is where the archive is to be."""
    return archive_dir in mounts_of(path)


def check_size(asked: dict[str, Any], path: str) -> None:
    """Refuse a disk that is too small from the start. One that filled up is the appliance's business."""
    with open(path, "rb") as stream:  # noqa: PTH123
        size_mb = stream.seek(0, os.SEEK_END) // 1_000_000
    if size_mb < asked["required_free_mb"]:
        raise UnusableError(
            f"{asked['device']} has {size_mb} MB, {asked['required_free_mb']} MB are needed: take a larger disk; "
            "storage_archive_required_free_mb sets the limit"
        )


def check_unused(device: str, path: str, archive_dir: str) -> None:
    """Refuse a disk that something else uses, or another disk than the one that is mounted."""
    elsewhere = mounts_of(path)
    if elsewhere:
        raise UnusableError(
            f"{device} is mounted on {', '.join(elsewhere)}: umount it there (and look into /etc/fstab)"
        )
    if os.path.ismount(archive_dir):
        raise UnusableError(
            f"{device} is to be mounted on {archive_dir}, where another disk is mounted now: stop the appliance and "
            f"umount {archive_dir} first; its captures stay on that disk"
        )
    swaps = Path("/proc/swaps").read_text(encoding="utf-8").splitlines()[1:]
    if any(os.path.realpath(line.split()[0]) == path for line in swaps):
        raise UnusableError(f"{device} is used as swap: swapoff {path}")
    if number_of(path) and not stat.S_ISBLK(os.stat(path).st_mode):  # noqa: PTH116
        raise UnusableError(
            f"{device} is attached to a loop device already: losetup --associated {path} tells, then -d it"
        )
    if stat.S_ISBLK(os.stat(path).st_mode):  # noqa: PTH116
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise UnusableError(f"{device} cannot be read: {error.strerror}") from error
            holders = Path(f"/sys/class/block/{Path(path).name}/holders")
            names = ", ".join(sorted(one.name for one in holders.iterdir())) if holders.is_dir() else ""
            raise UnusableError(
                f"{device} is in use by {names or 'the kernel'} (LVM, RAID, a mount elsewhere)"
            ) from error


def remembered_uuid(asked: dict[str, Any]) -> str:
    """Return the UUID of the file system that this role made on this host; empty when it made none."""
    file = Path(asked["state_dir"], "formatted.uuid")
    return file.read_text(encoding="ascii").strip() if file.exists() else ""


def check_blank(asked: dict[str, Any], path: str, signature: dict[str, str], disks: list[dict[str, Any]]) -> None:
    """Refuse to format anything but a blank disk that the operator named twice."""
    device, kind = asked["device"], asked["format"]
    if kind != asked["fstype"]:
        raise UnusableError(
            f"storage_archive_format is {kind} and storage_archive_fstype {asked['fstype']}: set both alike"
        )
    parts = [one["path"] for one in disks if one["parent"] == path]
    if signature or parts:
        what = described(signature) if signature else f"partitions ({', '.join(parts)})"
        raise UnusableError(
            f"{device} is not blank, it has {what}: nothing is formatted. To use it as it is set "
            'storage_archive_format to "" and name the file system; to lose what is on it: '
            f"sudo wipefs -a {path}, and deploy again"
        )
    with open(path, "rb") as stream:  # noqa: PTH123
        start = stream.read(BLANK_BYTES)
    if start.strip(b"\0") and start.strip(b"\xff"):
        raise UnusableError(
            f"{device} has no file system, but data in its first MiB: nothing is formatted. If they may be lost: "
            f"sudo dd if=/dev/zero of={path} bs=1M count=1"
        )
    one = next((one for one in disks if one["path"] == path), {})
    names = [name for name in (one.get("serial"), device) if name]
    if asked["consent"] not in names:
        size = f"{int(one['size']) / 1e9:.1f} GB" if one.get("size") else "image file"
        raise UnusableError(
            f"{device} ({size}{', ' + one['model'] if one.get('model') else ''}) is blank and would be formatted with "
            f"{kind}: agree with storage_archive_format_consent: {json.dumps(names[0])}"
        )


def make_file_system(asked: dict[str, Any], path: str) -> None:
    """Format. The UUID is remembered first, so that the next run knows the file system as its own."""
    kind, name = asked["format"], str(uuid.uuid4())
    memory = Path(asked["state_dir"], "formatted.uuid")
    memory.write_text(name + "\n", encoding="ascii")
    command = [*MKFS[kind], f"uuid={name}" if kind == "xfs" else name, path]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode:
        raise UnusableError(f"{' '.join(command)} failed: {said.stderr.strip() or said.stdout.strip()}")


def escape(path: str) -> str:
    """Return a path as systemd writes it in the name of a unit (systemd-escape --path)."""
    letters = [
        "-" if letter == "/" else letter if re.match(r"[A-Za-z0-9:_.]", letter) else f"\\x{ord(letter):02x}"
        for letter in path.strip("/")
    ]
    return "".join(letters)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""Look at what a host has for its cameras, before anything is changed and again at the end.

Run on the host by tasks/preflight.yml and tasks/verify.yml with the host's own Python and nothing installed: what to
look at comes as JSON in the first argument, what was found goes out as JSON. Changes nothing. Each problem is one
sentence with key and value, and what to do; notes are told and do not stop a play.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONFIG_TXT = ("/boot/firmware/config.txt", "/boot/config.txt")
USBFS = Path("/sys/module/usbcore/parameters/usbfs_memory_mb")
DEVICE_GROUPS = ("video", "render")
# What works on a host without the packages of Raspberry Pi OS.
ELSEWHERE = "replay or simulated"
LIST_SECONDS = 30


def main() -> int:
    """Print what was found as one JSON object."""
    asked = json.loads(sys.argv[1])
    found: dict[str, Any] = {
        "problems": [],
        "notes": [],
        "packages": [],
        "config_txt": next((path for path in CONFIG_TXT if Path(path).is_file()), ""),
        "has_udev": Path("/run/udev/control").exists(),
        "can_verify_rules": can_verify_rules(),
        "usbfs_memory_mb": read_number(USBFS),
        "usbfs_is_writable": USBFS.exists() and not os.statvfs(USBFS).f_flag & os.ST_RDONLY,
    }
    if asked.get("verify"):
        found["notes"] += camera_notes(asked["cameras"])
        found["problems"] += group_problems(asked["user"])
    else:
        look_for_packages(asked, found)
        found["problems"] += boot_problems(asked["boot_lines"], found["config_txt"])
        found["problems"] += media_problems(asked)
    print(json.dumps(found))
    return 0


def read_number(path: Path) -> int:
    """Return the number in a file; -1 when there is none."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return -1


def can_verify_rules() -> bool:
    """Return whether udevadm checks rules (since systemd 254)."""
    if not shutil.which("udevadm"):
        return False
    said = subprocess.run(["udevadm", "--version"], capture_output=True, text=True, check=False).stdout
    return said.strip().isdecimal() and int(said) >= 254


def is_installed(package: str) -> bool:
    """Ask dpkg."""
    said = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return said.stdout == "installed"


def has_candidate(package: str) -> bool:
    """Ask apt whether a source has the package."""
    said = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False)
    candidate = re.search(r"Candidate: (\S+)", said.stdout)
    return candidate is not None and candidate[1] != "(none)"


def look_for_packages(asked: dict[str, Any], found: dict[str, Any]) -> None:
    """Find which packages to install, and say what no source has."""
    rpicam = [name for name in asked["packages"] if name.startswith("rpicam")]
    names = rpicam_cameras(asked["cameras"])
    # Built from source or a stand-in: what is on PATH is what capture runs.
    wanted = [name for name in asked["packages"] if name not in rpicam or not shutil.which("rpicam-still")]
    for package in wanted:
        if is_installed(package) or has_candidate(package):
            found["packages"].append(package)
        elif package in rpicam:
            found["problems"].append(
                f"appliance_cameras.{names[0]}.backend: rpicam needs {package}, which no package source of this host "
                f"has: {system_name()} is not Raspberry Pi OS. Choose the backend {ELSEWHERE}, or install Raspberry Pi "
                "OS"
            )
        else:
            found["problems"].append(
                f"{package} is wanted (camera_picamera2_enabled, camera_imx500_enabled or a backend), but no package "
                f"source of this host has it: {system_name()} is not Raspberry Pi OS. Take it out, or install "
                "Raspberry Pi OS"
            )


def system_name() -> str:
    """Return how the system calls itself."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    return next((line.split("=", 1)[1].strip('"') for line in lines if line.startswith("PRETTY_NAME=")), "this system")


def boot_problems(lines: list[str], config_txt: str) -> Iterator[str]:
    """Yield a complaint when there is nowhere to write settings of the firmware."""
    if lines and not config_txt:
        yield (
            f"camera_overlays, camera_auto_detect or camera_config_txt: {lines} are for config.txt of a Raspberry Pi, "
            f"and there is none ({' or '.join(CONFIG_TXT)}): take them out for this host"
        )


def media_problems(asked: dict[str, Any]) -> Iterator[str]:
    """Yield media that no camera replays."""
    for name in asked["media"]:
        camera = asked["cameras"].get(name)
        place = f"{asked['media_dir']}/{name}"
        if camera is None or camera.get("backend") != "replay":
            yield f"camera_replay_media.{name}: no camera of that name has the backend replay in appliance_cameras"
        elif camera.get("media") != place and not str(camera.get("media")).startswith(place + "/"):
            yield (
                f"appliance_cameras.{name}.media: {camera.get('media')!r} is not where camera_replay_media.{name} "
                f"goes: set it to {place} (or to a video in it)"
            )


def rpicam_cameras(cameras: dict[str, dict[str, Any]]) -> list[str]:
    """Return the names of the cameras that rpicam drives."""
    return [name for name, camera in cameras.items() if (camera.get("backend") or "rpicam") == "rpicam"]


def camera_notes(cameras: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield cameras that are configured and not there."""
    names = rpicam_cameras(cameras)
    tool = next((path for name in ("rpicam-hello", "rpicam-still") if (path := shutil.which(name))), None)
    if names and tool:
        yield from rpicam_notes(names, cameras, tool)
    for name, camera in cameras.items():
        device = camera.get("device_id") or 0
        if camera.get("backend") == "opencv" and not Path(f"/dev/video{device}").exists():
            yield f"appliance_cameras.{name}: there is no /dev/video{device}: is the camera plugged in?"


def rpicam_notes(names: list[str], cameras: dict[str, dict[str, Any]], tool: str) -> Iterator[str]:
    """Ask the camera stack what it sees. It answers with 0 also when there is nothing."""
    try:
        said = subprocess.run(
            [tool, "--list-cameras"], capture_output=True, text=True, check=False, timeout=LIST_SECONDS
        )
    except subprocess.TimeoutExpired:
        yield f"{tool} --list-cameras did not end within {LIST_SECONDS} s: look at dmesg and at the ribbon cable"
        return
    numbers = {int(number) for number in re.findall(r"^(\d+) : ", said.stdout, re.MULTILINE)}
    if said.returncode:
        last = (said.stderr.strip().splitlines() or [f"status {said.returncode}"])[-1]
        yield f"{tool} --list-cameras failed: {last}"
        return
    for name in names:
        wanted = int(cameras[name].get("device_id") or 0)
        if wanted not in numbers:
            yield (
                f"appliance_cameras.{name}: camera {wanted} is not among the {len(numbers)} that {tool} sees: look at "
                "the ribbon cable, camera_overlays and camera_auto_detect, and whether the host was started since"
            )


def group_problems(user: str) -> Iterator[str]:
    """Yield groups of devices that the user is not in."""
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        yield f"camera_capture_user: there is no user {user!r} on this host: deploy the role `users` first"
        return
    member_of = set(os.getgrouplist(user, account.pw_gid))
    for name in DEVICE_GROUPS:
        try:
            group = grp.getgrnam(name)
        except KeyError:
            continue
        if group.gr_gid not in member_of:
            yield f"camera_capture_user: {user} is not in the group {name} of camera devices: deploy the role `users`"


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""Look at a machine before anything is changed on it: folders, ports, cameras, sockets, room.

Run on the host by tasks/preflight.yml with the host's own Python and nothing installed: what to look at comes as JSON
in the first argument, what was found goes out as JSON. Changes nothing. Each problem is one sentence with key and
value, and what to do.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OLDEST, NEWEST = (3, 11), (3, 13)
MACHINES = ("aarch64", "x86_64")
OLDEST_GLIBC_MINOR = 28  # what wheels are built for nowadays
SOCKET_PATH_BYTES = 107  # sun_path of unix(7) has 108 with the closing NUL
# What a path may not have, because of a file it is written into: supervisord's (comments, quotes, lists of patterns),
# or the first line of a script.
UNSAFE = re.compile(r"""[\x00-\x1f\x7f"'\\;#*?\[\]$`,]""")
CAMERA_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
BACKENDS = ("replay", "rpicam", "simulated")
LISTEN = "0A"
PHOTO_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*", b"P5", b"P6")
VIDEO_STARTS = (
    b"\x1a\x45\xdf\xa3",
    b"\x00\x00\x01\xba",
    b"\x00\x00\x01\xb3",
    b"FLV",
    b"OggS",
    b"\x47",
    b"\x00\x00\x00\x01",
)


def main() -> int:
    """Print what was found as one JSON object."""
    asked = json.loads(sys.argv[1])
    problems = [*python_problems(sys.version_info[:2], is_prepared=asked["is_prepared"])]
    problems += path_problems(asked["paths"])
    problems += folder_problems(asked["folders"])
    problems += socket_problems(asked["run_dir"], list(asked["cameras"]))
    problems += port_problems(asked["ports"], asked["config"])
    problems += room_problems(asked["install_dir"], asked["required_free_mb"], asked["required_ram_mb"])
    problems += service_problems(is_service=asked["is_service"])
    problems += account_problems(asked["accounts"])
    problems += place_problems(asked["places"])
    tools: dict[str, dict[str, str]] = {}
    problems += camera_problems(asked["cameras"], asked["default_camera"], tools, is_prepared=asked["is_prepared"])
    problems += machine_problems(os.uname().machine, glibc_minor())
    found = {"python": ".".join(map(str, sys.version_info[:3])), "machine": os.uname().machine, "glibc": glibc_minor()}
    print(json.dumps({"problems": problems, "tools": tools, **found}))
    return 0


def python_problems(version: tuple[int, ...], *, is_prepared: bool) -> Iterator[str]:
    """Yield what is wrong with the interpreter; its packages may be missing as long as the host is not prepared."""
    if not OLDEST <= version <= NEWEST:
        yield (
            f"appliance_python: {sys.executable} is Python {'.'.join(map(str, version))}; "
            f"3.11, 3.12 or 3.13 is needed: install one and set appliance_python (make up PYTHON=python3.12)"
        )
    if not is_prepared:
        return
    try:
        import venv  # noqa: F401
    except ImportError:
        yield f"appliance_python: {sys.executable} cannot make virtual environments: sudo apt install python3-venv"


def glibc_minor() -> int:
    """Return x of glibc 2.x; 0 where the C library is another one."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        major, minor = version.split(".")[:2]
        return int(minor) if (name, major) == ("glibc", "2") else 0
    except (OSError, ValueError):
        return 0


def machine_problems(machine: str, glibc: int) -> Iterator[str]:
    """Yield a complaint when there are no wheels for this kind of machine."""
    if machine not in MACHINES:
        yield f"machine: {machine} is not supported; a 64-bit system is needed (aarch64 or x86_64)"
    elif glibc < OLDEST_GLIBC_MINOR:
        yield f"machine: its C library is not glibc 2.{OLDEST_GLIBC_MINOR} or newer; take Debian or Raspberry Pi OS"


def path_problems(paths: dict[str, str]) -> Iterator[str]:
    """Yield paths that are not absolute or have characters which a configuration file would read as its own."""
    for key, path in paths.items():
        found = UNSAFE.search(path)
        if not path.startswith("/"):
            yield f"{key}: {path!r} is not an absolute path: give one that begins with /"
        elif found:
            yield f"{key}: {path!r} has the character {found.group()!r}, which cannot be used: choose another folder"
        elif not path.isprintable():
            yield f"{key}: {path!r} has a character that cannot be printed: choose another folder"


def folder_problems(folders: dict[str, str]) -> Iterator[str]:
    """Yield folders that cannot be made or written."""
    told = set()
    for key, name in folders.items():
        folder = nearest_existing(Path(name))
        if folder in told:
            continue
        if not folder.is_dir():
            yield f"{key}: {name} cannot be made: {folder} is not a folder. Move it away, or set {key} (make up VAR=…)"
        elif not os.access(folder, os.W_OK | os.X_OK):
            told.add(folder)
            yield (
                f"{key}: {name} cannot be written: {folder} is not writable for {user_name()}{read_only(folder)}. "
                f"Give it to that user, or set {key} (make up VAR=<folder>)"
            )


def nearest_existing(path: Path) -> Path:
    """Return the path itself or the first of its parents that is there."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def read_only(folder: Path) -> str:
    """Return a remark when the whole file system cannot be written."""
    return " (the file system is mounted read-only)" if os.statvfs(folder).f_flag & os.ST_RDONLY else ""


def user_name() -> str:
    """Return who this is, by number when the number has no name."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"


def socket_problems(run_dir: str, cameras: list[str]) -> Iterator[str]:
    """Yield a complaint when a Unix socket below run_dir would have too long a path."""
    # supervisord binds to <socket>.<pid> first; a pid has up to seven digits.
    names = ["supervisor.sock.4194304", "manager/control.sock", "api/gateway.sock"]
    names += [f"cameras/{name}/preview.sock" for name in cameras]
    longest = max((f"{run_dir}/{name}" for name in names), key=lambda path: len(os.fsencode(path)))
    size = len(os.fsencode(longest))
    if size > SOCKET_PATH_BYTES:
        yield (
            f"appliance_run_dir: {run_dir} is too long by {size - SOCKET_PATH_BYTES} bytes: Unix sockets such as "
            f"{longest} have at most {SOCKET_PATH_BYTES}. Use a folder with a shorter path (make up VAR=/tmp/fieldcam)"
        )


def port_problems(ports: list[dict[str, Any]], config: str) -> Iterator[str]:
    """Yield ports that are no ports, or that something other than the appliance of this configuration listens on."""
    for asked in ports:
        key, host, value, override = asked["key"], asked["host"], str(asked["port"]), asked["override"]
        if not value.isdecimal() or not 1 <= int(value) <= 65535:
            yield f"{key}: {value!r} is no port: give a number from 1 to 65535 (make up {override}=8011)"
            continue
        port = int(value)
        other = f"choose another port: make up {override}={port + 10 if port < 65000 else port - 10} (or set {key})"
        problem = try_to_bind(host, port)
        if problem == errno.EADDRINUSE:
            holders = listeners(port)
            if any(appliance_of(environment_of(pid)) == config for pid in holders):
                continue
            yield f"{key}: port {port} is taken by {name_holders(holders)}. Stop that, or {other}"
        elif problem:
            yield f"{key}: {host} port {port} cannot be used ({os.strerror(problem)}); {other}"


def try_to_bind(host: str, port: int) -> int:
    """Return 0 when a server could listen there now, else the error number."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that just ended is no obstacle
            probe.bind((host, port))
            probe.listen(1)
    except OSError as error:
        return error.errno or errno.EINVAL
    return 0


def listeners(port: int) -> list[int]:
    """Return the processes that listen on a TCP port, as far as this user may see them."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return sorted(
        int(process.name) for process in Path("/proc").glob("[0-9]*") if not inodes.isdisjoint(open_files(process))
    )


def open_files(process: Path) -> Iterator[str]:
    """Yield what the open files of a process are, as far as this user may see them."""
    try:
        links = list((process / "fd").iterdir())
    except OSError:
        return
    for link in links:
        try:
            yield os.fspath(link.readlink())
        except OSError:  # closed meanwhile
            continue


def environment_of(pid: int) -> dict[str, str]:
    """Return the environment a process was started with; empty when it may not be read."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in raw.split("\0") if "=" in line)


def appliance_of(environment: dict[str, str]) -> str | None:
    """Return the configuration that tells one appliance from another; older releases had one name for it only."""
    return environment.get("APPLIANCE_CONFIG") or environment.get("FIELDCAM_CONFIG")


def name_holders(pids: list[int]) -> str:
    """Return processes as a person would name them."""
    if not pids:
        return "a process of another user (see it with: sudo ss -ltnp)"
    pid = pids[0]
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        name = "a process"
    elsewhere = appliance_of(environment_of(pid))
    return f"{name} (pid {pid}{', the appliance of ' + elsewhere if elsewhere else ''})"


def room_problems(install_dir: str, required_free_mb: int, required_ram_mb: int) -> Iterator[str]:
    """Yield a complaint when the disk or the memory is too small."""
    folder = nearest_existing(Path(install_dir))
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    if free_mb < required_free_mb:
        yield (
            f"appliance_install_dir: {folder} has {free_mb} MB of free space, {required_free_mb} MB are needed: free "
            "some, or choose another disk (make up VAR=<folder>); appliance_required_free_mb sets the limit"
        )
    ram_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_000_000
    if ram_mb < required_ram_mb:
        yield (
            f"memory: the machine has {ram_mb} MB, {required_ram_mb} MB are needed; "
            "appliance_required_ram_mb sets the limit"
        )


def service_problems(*, is_service: bool) -> Iterator[str]:
    """Yield a complaint when systemd, which starts the appliance as root, does not run."""
    if is_service and not Path("/run/systemd/system").is_dir():
        yield (
            "appliance_become: systemd does not run here, and it starts the appliance on a host; "
            "without root and systemd: make up, or appliance_become: false"
        )


def account_problems(accounts: dict[str, list[str]]) -> Iterator[str]:
    """Yield users and groups that are missing, and groups that a user is not in."""
    import grp
    import pwd

    mend = "the role users makes the accounts: deploy with it first (ansible-playbook site.yml --tags users)"
    for user, groups in accounts.items():
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            yield f"user {user} is missing; {mend}"
            continue
        for group in groups:
            try:
                found = grp.getgrnam(group)
            except KeyError:
                yield f"group {group} is missing; {mend}"
                continue
            if found.gr_gid != entry.pw_gid and user not in found.gr_mem:
                yield f"user {user} is not in group {group}; {mend}"


def place_problems(places: dict[str, list[str]]) -> Iterator[str]:
    """Yield places without their marker: there the programs would write nothing."""
    mend = "the role storage mounts and marks it: deploy with it first (ansible-playbook site.yml --tags storage)"
    for key, (path, kind) in places.items():
        try:
            found = json.loads((Path(path) / ".fieldcam-volume").read_bytes())["kind"]
        except FileNotFoundError:
            yield f"{key}: {path} has no marker .fieldcam-volume: is its disk mounted? {mend}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield f"{key}: the marker in {path} cannot be read ({error}); {mend}"
        else:
            if found != kind:
                yield f"{key}: {path} is a place of kind {found!r}, not {kind!r}; set {key} to another folder"


def camera_problems(
    cameras: dict[str, dict[str, Any]], default_camera: str, tools: dict[str, dict[str, str]], *, is_prepared: bool
) -> Iterator[str]:
    """Yield what is wrong with cameras; put the absolute paths of their programs into `tools`.

    As long as the host is not prepared, programs and media may be missing: role camera brings them.
    """
    if default_camera not in cameras:
        known = ", ".join(sorted(cameras))
        yield f"appliance_default_camera: {default_camera!r} is none of appliance_cameras ({known})"
    for name, camera in cameras.items():
        key = f"appliance_cameras.{name}"
        backend = camera.get("backend") or "rpicam"
        if not CAMERA_NAME.fullmatch(name):
            yield f"{key}: {name!r} is no camera name: 1 to 32 of a-z, 0-9 and -, beginning with a letter or digit"
        elif backend not in BACKENDS:
            yield f"{key}.backend: {backend!r} is not known; choose one of: {', '.join(BACKENDS)} (make up CAMERA=…)"
        elif backend == "rpicam":
            missing = list(rpicam_problems(key, camera, tools.setdefault(name, {})))
            yield from missing if is_prepared else []
        elif backend == "replay" and (is_prepared or Path(camera.get("media") or "").exists()):
            yield from media_problems(f"{key}.media", camera.get("media") or "")
        elif camera.get("media") and backend != "replay":
            yield f"{key}.media: {camera['media']!r} is only for replay (make up CAMERA=replay MEDIA=…), not {backend}"


def rpicam_problems(key: str, camera: dict[str, Any], tools: dict[str, str]) -> Iterator[str]:
    """Find the camera programs; the one for stills must be there."""
    for tool in ("rpicam_still", "rpicam_vid"):
        wanted = camera.get(tool) or tool.replace("_", "-")
        found = shutil.which(wanted)
        if found:
            tools[tool] = os.fspath(Path(found).absolute())
        elif tool == "rpicam_still" or camera.get(tool):
            yield (
                f"{key}.{tool}: {wanted!r} is not a program on PATH ({os.environ.get('PATH', '')}): "
                "sudo apt install rpicam-apps-lite, or use CAMERA=simulated or CAMERA=replay"
            )


def media_problems(key: str, media: str) -> Iterator[str]:
    """Yield a complaint when there is nothing to replay."""
    what = "give a folder of photos or a video file: make up CAMERA=replay MEDIA=<folder or video>"
    path = Path(media)
    try:
        if not media:
            yield f"{key} is missing: {what}"
        elif not path.exists():
            yield f"{key}: {media} does not exist; {what}"
        elif path.is_dir():
            files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
            if not files:
                yield f"{key}: {media} has no files in it; {what}"
            elif not any(kind_of(file) == "photo" for file in files):
                names = ", ".join(file.name for file in files[:3])
                yield f"{key}: {media} has no photo in it, only {len(files)} other files ({names} …); {what}"
        elif not path.is_file() or kind_of(path) is None:
            yield f"{key}: {media} is neither a photo nor a video; {what}"
    except OSError as error:
        yield f"{key}: {media} cannot be read ({error.strerror}); {what}"


def kind_of(file: Path) -> str | None:
    """Return `photo` or `video` by the first bytes, which a wrong file name does not change."""
    with file.open("rb") as stream:
        start = stream.read(12)
    if start.startswith(PHOTO_STARTS) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP"):
        return "photo"
    if start[4:8] in {b"ftyp", b"moov", b"mdat", b"wide"} or start[:4] == b"RIFF" or start.startswith(VIDEO_STARTS):
        return "video"
    return None


if __name__ == "__main__":
    sys.exit(main())

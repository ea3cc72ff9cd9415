# SPDX-License-Identifier: MIT
"""Say what this machine is, before anything is changed on it: identity, room, clock, watchdogs, ways to log in.

Run on the host by tasks/preflight.yml with the host's own Python and nothing installed. One JSON object goes out.
Changes nothing.
"""

from __future__ import annotations

import json
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

CAP_SYS_TIME = 25
SSHD = "/usr/sbin/sshd"
NO_SHELLS = {"/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false", "/bin/sync", "/usr/bin/sync"}
INCLUDE = re.compile(r"^\s*Include\s+.*/etc/ssh/sshd_config\.d/\*\.conf", re.IGNORECASE | re.MULTILINE)


def main() -> int:
    """Print what was found as one JSON object."""
    print(
        json.dumps(
            {
                "machine_id": text("/etc/machine-id").strip(),
                "bits": 64 if sys.maxsize > 2**32 else 32,
                "ram_mb": ram_mb(),
                "free_mb": shutil.disk_usage("/").free // 1_000_000,
                "may_set_clock": may_set_clock(),
                "watchdogs": sorted(map(str, Path("/dev").glob("watchdog*"))),
                "sshd": Path(SSHD).exists(),
                "sshd_reads_dropins": INCLUDE.search(text("/etc/ssh/sshd_config")) is not None,
                "key_holders": key_holders(),
                "compilers": sorted(name for name in ("cc", "gcc", "g++", "clang") if shutil.which(name)),
                "package_lists": any(Path("/var/lib/apt/lists").glob("*Packages*")),
                "old_journal": any(Path("/var/log/journal").glob("*/*.journal")),
            }
        )
    )
    return 0


def text(path: str) -> str:
    """Return a file's text; empty when it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def ram_mb() -> int:
    """Return the memory of the machine in megabytes."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", text("/proc/meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 // 1_000_000 if found else 0


def may_set_clock() -> bool:
    """Return whether init has the right to set the clock, which containers have not."""
    found = re.search(r"^CapBnd:\s+([0-9a-f]+)", text("/proc/1/status"), re.MULTILINE)
    return found is None or bool(int(found[1], 16) >> CAP_SYS_TIME & 1)


def key_holders() -> list[str]:
    """Return the accounts with a shell that sshd has a key for."""
    patterns = key_files()
    holders = []
    for user in pwd.getpwall():
        if user.pw_shell in NO_SHELLS:
            continue
        for pattern in patterns:
            path = pattern.replace("%h", user.pw_dir).replace("%u", user.pw_name).replace("%%", "%")
            if re.search(r"^\s*[^#\s]", text(str(Path(user.pw_dir) / path)), re.MULTILINE):
                holders.append(user.pw_name)
                break
    return holders


def key_files() -> list[str]:
    """Return where sshd looks for keys."""
    try:
        said = subprocess.run([SSHD, "-T"], capture_output=True, text=True, check=False, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        said = ""
    found = re.search(r"^authorizedkeysfile (.+)$", said, re.MULTILINE)
    return found[1].split() if found else [".ssh/authorized_keys"]


if __name__ == "__main__":
    sys.exit(main())

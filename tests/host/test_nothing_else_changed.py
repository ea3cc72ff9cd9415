# SPDX-License-Identifier: MIT
"""What the deployment had no business with is as the system made it."""

from __future__ import annotations

import re

import pytest

from tests.host.conftest import Machine

AS_DEBIAN_HAS_THEM = {
    "/": 0o755,
    "/etc": 0o755,
    "/etc/passwd": 0o644,
    "/etc/shadow": 0o640,
    "/etc/ssh": 0o755,
    "/etc/sudoers": 0o440,
    "/etc/systemd/system": 0o755,
    "/etc/apt": 0o755,
    "/home": 0o755,
    "/mnt": 0o755,
    "/opt": 0o755,
    "/root": 0o700,
    "/run": 0o755,
    "/tmp": 0o1777,
    "/usr": 0o755,
    "/usr/bin": 0o755,
    "/usr/local/bin": 0o755,
    "/usr/lib": 0o755,
    "/var": 0o755,
    "/var/lib": 0o755,
    "/var/log": 0o755,
    "/var/tmp": 0o1777,
}
# Files of packages that roles replace or edit.
EDITED = {
    "/etc/nginx/nginx.conf",  # gateway
    "/etc/login.defs",  # host: cost of password hashes
    "/etc/issue", "/etc/issue.net", "/etc/motd",  # host: banner
    "/etc/chrony/chrony.conf",  # host: time
    "/etc/hosts", "/etc/sudoers",  # the image that the machine was made from
}  # fmt: skip
# What was made by us and by nobody's package, below folders where only packages put files.
OURS = re.compile(
    r"^(/usr/local/(bin|sbin)/(fieldcam|supervisorctl|host-camera-capture|image-sync-manager)[a-z-]*"
    r"|/usr/local/libexec(/fieldcam[a-z-]*)?"
    r"|/etc/systemd/system/fieldcam[^/]*"
    r"|/etc/systemd/system/[^/]*\.mount"
    r"|/etc/systemd/system/[^/]+\.(wants|requires|d)(/.*)?"
    r"|/etc/(tmpfiles|sysctl|modprobe|profile|sudoers)\.d/[0-9]*-?fieldcam[a-z.-]*"
    r"|/etc/udev/rules\.d/[0-9]*-?fieldcam[a-z.-]*)$"
)

# What images of machines come with: that of Raspberry Pi OS, and ours for tests.
OF_THE_IMAGE = re.compile(
    r"^/etc/sudoers\.d/010_[a-z-]+$|^/usr/local/sbin/machine_init$|^/usr/local/share/|^/usr/local/lib/python"
)


@pytest.mark.parametrize("path", AS_DEBIAN_HAS_THEM)
def test_folders_of_the_system_have_the_modes_of_the_system(machine: Machine, path: str) -> None:
    found = machine.host.file(path)

    assert (found.user, oct(found.mode)) == ("root", oct(AS_DEBIAN_HAS_THEM[path]))


def test_files_of_packages_are_as_the_packages_have_them(machine: Machine) -> None:
    # The images of machines leave documents out, so missing ones there say nothing.
    lines = machine.run("dpkg --verify").stdout.splitlines()
    changed = {line.split()[-1] for line in lines if not line.startswith("missing")}

    assert changed - EDITED == set()


def test_where_packages_put_programs_there_is_nothing_else_but_what_is_ours(machine: Machine) -> None:
    program = """
import json, os, subprocess
known = set()
for folder, _, names in os.walk("/var/lib/dpkg/info"):
    for name in names:
        if name.endswith(".list"):
            known.update(open(os.path.join(folder, name)).read().splitlines())
# /bin and its like are links to /usr.
known |= {"/usr" + path for path in known if path.split("/")[1] in ("bin", "sbin", "lib", "lib64")}
found = []
for top in ("/usr/local", "/etc/systemd/system", "/etc/tmpfiles.d", "/etc/sysctl.d", "/etc/modprobe.d",
            "/etc/sudoers.d", "/etc/cron.d", "/etc/udev/rules.d", "/etc/profile.d", "/usr/bin", "/usr/sbin"):
    for folder, folders, names in os.walk(top):
        for name in names + [one for one in folders if os.path.islink(os.path.join(folder, one))]:
            path = os.path.join(folder, name)
            if path not in known and not os.path.islink(path) and "/__pycache__/" not in path:
                found.append(path)
print(json.dumps(sorted(found)))
"""
    found = machine.python(program)

    assert [path for path in found if not OURS.match(path) and not OF_THE_IMAGE.match(path)] == []


def test_no_remains_of_ansible_are_left(machine: Machine) -> None:
    assert machine.out("find /tmp /root /home -maxdepth 3 -name 'ansible-tmp-*'") == ""


def test_fstab_is_not_touched(machine: Machine) -> None:
    assert "fieldcam" not in machine.run("cat /etc/fstab").stdout
    assert machine["appliance_archive_dir"] not in machine.run("cat /etc/fstab").stdout

# SPDX-License-Identifier: MIT
"""Look at an inventory before any host is touched: what is missing, misspelt, left from the example, or there twice.

Run on the controller by tasks/inventory.yml with Ansible's own Python. What to look at comes as JSON on standard
input, what was found goes out as JSON. Changes nothing and connects to nothing. Each problem is one sentence with
host, variable and what to do.

    {"roles": folder, "sources": [inventory files and folders], "groups": {name: [hosts]},
     "hosts": {name: {"names": [all its variables], "values": {variable: value as JSON, or null where it cannot be
     known yet}}}}
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

# Addresses that documents may use: RFC 5737, RFC 3849, RFC 2606.
EXAMPLE_NETWORKS = [
    ipaddress.ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]
EXAMPLE_DOMAINS = re.compile(r"(^|\.)(example|example\.(com|net|org))$")
PLACEHOLDER = "CHANGE_ME"
ALIKE = 0.75  # of difflib's ratio: appliance_archiv_dir and appliance_archive_dir
VERY_ALIKE = 0.9  # where the prefix itself is wrong: aplliance_port
SECRET = re.compile(r"\bvault_[a-z0-9_]+\b")
Host = Mapping[str, Any]


def main() -> int:
    """Print what was found as one JSON object."""
    asked = json.load(sys.stdin)
    hosts: dict[str, Host] = {
        name: {
            "names": told["names"],
            "values": {key: json.loads(text) for key, text in told["values"].items() if text is not None},
        }
        for name, told in asked["hosts"].items()
    }
    problems = [
        *group_problems(asked["groups"], hosts),
        *address_problems(hosts),
        *placeholder_problems(hosts),
        *name_problems(hosts, inputs_of(Path(asked["roles"]))),
        *required_problems(hosts, required_of(Path(asked["roles"]))),
        *camera_problems(hosts),
        *secret_problems(hosts, [Path(source) for source in asked["sources"]]),
    ]
    print(json.dumps({"problems": problems}))
    return 0


def specs_of(roles: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each role and its options, those of all its entry points."""
    for file in sorted(roles.glob("*/meta/argument_specs.yml")):
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))["argument_specs"].values()
        options: dict[str, Any] = {}
        for entry in entries:
            options |= entry.get("options") or {}
        yield file.parents[1].name, options


def inputs_of(roles: Path) -> dict[str, set[str]]:
    """Return the inputs of each role."""
    return {name: set(options) for name, options in specs_of(roles)}


def required_of(roles: Path) -> dict[str, str]:
    """Return the inputs without which nothing goes, and what they are."""
    return {
        name: str(spec.get("description", "")).rstrip(".")
        for _, options in specs_of(roles)
        for name, spec in options.items()
        if spec.get("required")
    }


def group_problems(groups: Mapping[str, list[str]], hosts: Mapping[str, Host]) -> Iterator[str]:
    """Yield hosts of the group `canary` that are no cameras: they would be updated by nobody."""
    strangers = [name for name in groups.get("canary", []) if name not in hosts]
    if strangers:
        yield (
            f"group canary: {', '.join(strangers)} {_is_or_are(strangers)} not in the group cameras, so an update "
            "would never begin there: put the same hosts into both groups"
        )


def address_problems(hosts: Mapping[str, Host]) -> Iterator[str]:
    """Yield addresses of the example, and those that two hosts have."""
    seen: dict[tuple[str, str], list[str]] = {}
    for name, host in hosts.items():
        address = str(host["values"].get("ansible_host") or name)
        if is_example(address):
            yield (
                f"{name}: ansible_host {address} is an address for examples and belongs to nobody: "
                "put in the address of your machine"
            )
        seen.setdefault((address.lower(), str(host["values"].get("ansible_port") or 22)), []).append(name)
    for (address, port), names in seen.items():
        if len(names) > 1:
            yield (
                f"{', '.join(names)}: all have the address {address}{'' if port == '22' else f' port {port}'}, so one "
                "machine would be deployed to several times: give each host its own ansible_host, or remove one"
            )


def is_example(address: str) -> bool:
    """Return whether nobody can have this address."""
    try:
        number = ipaddress.ip_address(address)
    except ValueError:
        return EXAMPLE_DOMAINS.search(address.lower().rstrip(".")) is not None
    return any(number in network for network in EXAMPLE_NETWORKS)


def placeholder_problems(hosts: Mapping[str, Host]) -> Iterator[str]:
    """Yield variables that still are as the example has them."""
    places: dict[str, list[str]] = {}
    for name, host in hosts.items():
        for key, value in host["values"].items():
            for path in _with_placeholder(value, key):
                places.setdefault(path, []).append(name)
    for path, names in places.items():
        yield f"{_told(names, hosts)}: {path} still has the word {PLACEHOLDER} of the example: put in your own value"


def name_problems(hosts: Mapping[str, Host], inputs: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield variables that look like inputs of a role and are none."""
    known = frozenset().union(*inputs.values())
    wrong: dict[str, list[str]] = {}
    for name, host in hosts.items():
        for variable in host["names"]:
            if variable not in known and complaint(variable, frozenset(inputs), known):
                wrong.setdefault(variable, []).append(name)
    for variable, names in wrong.items():
        yield f"{_told(names, hosts)}: {complaint(variable, frozenset(inputs), known)}"


@cache
def complaint(variable: str, roles: frozenset[str], known: frozenset[str]) -> str:
    """Return what is wrong with the name of a variable; empty: nothing."""
    if variable.startswith(("ansible_", "__", "vault_")):
        return ""
    owner = next((role for role in roles if variable.startswith(f"{role}_")), None)
    alike = difflib.get_close_matches(variable, known, n=1, cutoff=ALIKE if owner else VERY_ALIKE)
    if owner:
        hint = f"did you mean {alike[0]}?" if alike else f"roles/{owner}/README.md lists them"
        return (
            f"{variable} is no input of the role {owner}: {hint} (a variable of your own needs a name that does not "
            f"begin with {owner}_)"
        )
    return f"{variable} is nobody's input: did you mean {alike[0]}?" if alike else ""


def required_problems(hosts: Mapping[str, Host], required: Mapping[str, str]) -> Iterator[str]:
    """Yield inputs that have no default and are not set, or are set to nothing."""
    for variable, meaning in required.items():
        without = [
            name for name, host in hosts.items()
            if variable not in host["names"] or host["values"].get(variable, "later") in (None, "", [], {})
        ]  # fmt: skip
        if without:
            yield f"{_told(without, hosts)}: {variable} is missing ({meaning})"


def camera_problems(hosts: Mapping[str, Host]) -> Iterator[str]:
    """Yield hosts whose cameras would give the same ids to their images."""
    for name, host in hosts.items():
        cameras = host["values"].get("appliance_cameras")
        if not isinstance(cameras, dict):
            continue
        numbers: dict[str, list[str]] = {}
        for camera, settings in cameras.items():
            number = settings.get("number", 0) if isinstance(settings, dict) else 0
            numbers.setdefault(str(number), []).append(camera)
        for number, same in numbers.items():
            if len(same) > 1:
                yield (
                    f"{name}: appliance_cameras: {', '.join(same)} all have the number {number}, which is part of the "
                    "id of every image: give each camera its own"
                )


def secret_problems(hosts: Mapping[str, Host], sources: Iterable[Path]) -> Iterator[str]:
    """Yield variables vault_… that the inventory uses and no file sets."""
    known = {name for host in hosts.values() for name in host["names"]}
    missing: dict[str, str] = {}
    for file in _text_files(sources):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if not line.lstrip().startswith("#"):
                for found in SECRET.findall(line.partition(" #")[0]):
                    missing.setdefault(found, file.name)
    for name, file in missing.items():
        if name not in known:
            yield (
                f"{name} is used in {file}, but set nowhere: put it into an encrypted file beside it "
                "(ansible-vault create …/group_vars/all/vault.yml), and give its password with --ask-vault-pass"
            )


def _text_files(sources: Iterable[Path]) -> Iterator[Path]:
    for source in sources:
        root = source if source.is_dir() else source.parent
        if not source.exists():
            continue  # a list of hosts on the command line
        files = [source] if source.is_file() else []
        for folder in ("group_vars", "host_vars"):
            files += (root / folder).rglob("*")
        files += root.glob("*.yml") if source.is_dir() else []
        for file in files:
            if file.is_file() and file.suffix in {".yml", ".yaml", ""}:
                with file.open("rb") as stream:
                    encrypted = stream.read(14) == b"$ANSIBLE_VAULT"
                if not encrypted:
                    yield file


def _with_placeholder(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, str) and PLACEHOLDER in value:
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _with_placeholder(item, f"{path}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _with_placeholder(item, f"{path}[{number}]")


def _told(names: list[str], hosts: Mapping[str, Host]) -> str:
    """Return whom it concerns, in few words also for two hundred hosts."""
    if len(names) == len(hosts) > 1:
        return f"all {len(names)} hosts"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _is_or_are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""Look at a host's Docker, at the places that consumers see, and at the containers that run.

Run on the host by the tasks with the host's own Python: what to look at comes as JSON in the first argument, what was
found goes out as JSON. Changes nothing. Each problem is one sentence with key and value, and what to do.
"""

from __future__ import annotations

import datetime as dt
import grp
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

AREA = "/mnt/storage/camera_capture"  # where containers see the hand-off area
BEAT = "heartbeat.json"
WRITABLE_BY_GROUP = 0o2770
LABEL = "com.docker.compose"


def main() -> int:
    """Print what was found as one JSON object."""
    asked = json.loads(sys.argv[1])
    found: dict[str, Any] = {"docker": False, "compose": [], "memory": True, "pids": True, "gid": None, "problems": []}
    found["gid"] = group_number(asked["group"])
    if found["gid"] is None:
        found["problems"].append(
            f"consumers_group: there is no group {asked['group']}; the role users makes it (site.yml has the order)"
        )
    found["problems"] += [*place_problems(asked)]
    found |= look_at_docker(found["problems"])
    if found["docker"]:
        found["containers"] = [*containers(asked)]
        found["waiting"] = [*waiting(asked, found["containers"])]
        found["volumes"] = volumes(asked["project"])
        found["old_images"] = old_images(asked["keep_images"], {one["image"] for one in found["containers"]})
    print(json.dumps(found))
    return 0


def run(*command: str) -> tuple[int, str]:
    """Return how a command ended and what it printed; a missing program is an end, too."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        return 127, ""
    return done.returncode, done.stdout


def group_number(name: str) -> int | None:
    """Return the number of a group; None when there is none."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def place_problems(asked: dict[str, Any]) -> Iterator[str]:
    """Yield places that are not there or that a container could not use."""
    for key in ("consumers_capture_dir", "consumers_ring_dir"):
        if not Path(asked[key]).is_dir():
            yield f"{key}: {asked[key]} is no folder on the host; the roles storage and appliance make it"
    for service in asked["services"]:
        folder = Path(asked["consumers_results_dir"]) / service
        try:
            about = folder.stat()
        except OSError:
            yield (
                f"consumers_services: {service} has no folder {folder}; name it in appliance_consumers and deploy the "
                "role appliance, which makes it and expects the service's sign of life"
            )
            continue
        mode = stat.S_IMODE(about.st_mode)
        if about.st_uid != asked["uid"] or mode != WRITABLE_BY_GROUP:
            yield (
                f"consumers_results_dir: {folder} belongs to user {about.st_uid} with mode {mode:o}, not to "
                f"{asked['uid']} with {WRITABLE_BY_GROUP:o}; is appliance_consumer_uid the same as consumers_uid?"
            )


def look_at_docker(problems: list[str]) -> dict[str, Any]:
    """Return how Docker and compose are called and what the kernel cannot limit; add what is wrong to the problems."""
    status, printed = run("docker", "info", "--format", "{{json .}}")
    answer = json.loads(printed) if status == 0 and printed else {}
    if not answer.get("ServerVersion"):
        problems.append("Docker does not answer: deploy the role docker, or see journalctl --unit docker")
        return {"docker": False}
    compose: list[str] = []
    for command in (["/usr/bin/docker", "compose"], ["/usr/bin/docker-compose"]):
        if run(*command, "version")[0] == 0:
            compose = command
            break
    else:
        problems.append("there is neither `docker compose` nor docker-compose: deploy the role docker")
    return {
        "docker": True,
        "compose": compose,
        "memory": bool(answer.get("MemoryLimit")),
        "pids": bool(answer.get("PidsLimit")),
    }


def inspect(kind: list[str], names: list[str]) -> list[dict[str, Any]]:
    """Return all that Docker says about some things; nothing about those that went meanwhile."""
    if not names:
        return []
    found: list[dict[str, Any]] = json.loads(run("docker", *kind, "inspect", *names)[1] or "[]")
    return found


def containers(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what matters of each container of the project, in order."""
    ids = run("docker", "ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={LABEL}.project={asked['project']}")
    for about in sorted(inspect(["container"], ids[1].split()), key=lambda one: str(one["Id"])):
        service, state = about["Config"]["Labels"].get(f"{LABEL}.service", ""), about["State"]
        yield {
            "service": service,
            "id": about["Id"],
            "image": about["Config"]["Image"],
            "started": state["StartedAt"],
            "running": state["Running"],
            # A program of one's own may have no check; its heartbeat counts.
            "health": state.get("Health", {}).get("Status", "none"),
            "said": [line["Output"].strip() for line in (state.get("Health") or {}).get("Log") or []][-1:],
            "silence": silence(Path(asked["consumers_results_dir"]) / service / BEAT, state["StartedAt"]),
            "stale": state["Running"] and sees_another(state["Pid"], asked["consumers_capture_dir"]),
        }


def waiting(asked: dict[str, Any], found: list[dict[str, Any]]) -> Iterator[str]:
    """Yield, in words, each service that does not work yet."""
    for service in asked["services"]:
        mine = [one for one in found if one["service"] == service]
        if not mine:
            yield f"{service} has no container"
        for one in mine:
            if not one["running"]:
                yield f"{service} does not run"
            elif one["health"] not in {"healthy", "none"}:
                yield f"{service} is {one['health']}: {' '.join(one['said']) or 'Docker has not looked yet'}"
            elif one["silence"] is None:
                yield f"{service} gave no sign of life yet"
            elif one["silence"] > asked["max_silence"]:
                yield f"{service} gave its last sign of life {one['silence']} s ago"


def silence(beat: Path, started: str) -> float | None:
    """Return how many seconds ago a service gave a sign of life; None when it did not since its container started."""
    try:
        at = beat.stat().st_mtime
    except OSError:
        return None
    # Docker writes nanoseconds, which not every Python reads.
    if at < dt.datetime.fromisoformat(f"{started[:19]}+00:00").timestamp():
        return None
    return round(max(0.0, time.time() - at), 1)


def sees_another(pid: int, area: str) -> bool:
    """Return whether a container has a hand-off area that was mounted before the one of now."""
    try:
        wanted = Path(area).stat().st_dev
        lines = Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    devices = [line.split()[2] for line in lines if line.split()[4] == AREA]
    return bool(devices) and devices[-1] != f"{os.major(wanted)}:{os.minor(wanted)}"


def old_images(keep: int, used: set[str]) -> list[str]:
    """Return the images made by the role that no service uses, but for the newest."""
    old = []
    for kind in ("fieldcam/consumer", "fieldcam/archive"):
        listed = run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={kind}")
        names = [name for name in listed[1].split() if not name.endswith(("<none>", ":latest"))]
        old += [name for name in names[keep:] if name not in used]
    return old


def volumes(project: str) -> dict[str, str]:
    """Return the options of each volume of the project, which Docker keeps until it is removed."""
    names = run("docker", "volume", "ls", "--quiet", "--filter", f"label={LABEL}.project={project}")[1].split()
    return {
        about["Name"]: "{device} {o}".format(**({"device": "", "o": ""} | (about.get("Options") or {})))
        for about in inspect(["volume"], names)
    }


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""The API on the host: frames are fresh and go on, a capture is kept, and a token is needed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.host.conftest import Machine

PROGRAM = (Path(__file__).parent / "programs" / "ask_api.py").read_text(encoding="utf-8")
DEADLINE_SECONDS = 40


def ask(machine: Machine, *plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Ask the API from the host itself."""
    answers: list[dict[str, Any]] = machine.python(PROGRAM, json.dumps(plan))
    return answers


def guarded(machine: Machine, path: str, *, with_token: bool = True, **more: Any) -> dict[str, Any]:
    """Return a request to the token listener."""
    token = f"{machine['appliance_config_dir']}/secrets/deploy.token" if with_token else None
    return {"url": f"http://127.0.0.1:{machine['appliance_port']}{path}", "token_file": token, **more}


def local(machine: Machine, path: str, **more: Any) -> dict[str, Any]:
    """Return a request to the local listener."""
    if not machine["appliance_local_listener"]:
        pytest.skip("appliance_local_listener is false")
    return {"url": f"http://127.0.0.1:{machine['appliance_local_port']}{path}", **more}


def default_camera(machine: Machine) -> dict[str, Any]:
    camera: dict[str, Any] = machine["appliance_cameras"][machine["appliance_default_camera"]]
    return camera


def has_loop(machine: Machine) -> bool:
    return bool((default_camera(machine).get("mode") or "continuous") == "continuous")


def test_health_is_good_or_says_why_not(machine: Machine) -> None:
    answer = ask(machine, guarded(machine, "/api/v1/capture/health", with_token=False))[0]

    assert answer["status"] == 200, answer
    status = machine.fieldcam("status")
    # A clock that nobody may set (containers) and less free space than a day needs are no fault of the deployment.
    codes = {reason["code"] for reason in status["reasons"]}
    assert codes <= {"CLOCK_UNTRUSTED", "CONSUMER_AWAY", "CONSUMERS_AWAY"}, status


def test_a_frame_is_fresh_and_a_newer_one_follows(machine: Machine) -> None:
    if not has_loop(machine):
        pytest.skip("the default camera takes pictures on demand only")
    seen: dict[str, str] = {}
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline and len(seen) < 3:
        answer = ask(machine, guarded(machine, "/api/v1/images/latest"))[0]
        assert answer["status"] == 200, answer
        assert answer["is_jpeg"]
        seen[answer["headers"]["X-Sequence"]] = answer["sha256"]

    assert len(seen) == 3, "no new frame comes"
    # A replayed camera may have two photographs only; every other one never gives the same picture twice.
    different = 2 if default_camera(machine).get("backend") == "replay" else 3
    assert len(set(seen.values())) >= different, "the same picture again"
    assert machine.fieldcam("status")["latest_image_age"] <= 10


def test_without_a_token_nobody_learns_anything(machine: Machine) -> None:
    paths = ["/api/v1/images/latest", "/api/v1/images", "/api/v1/system/status", "/capture", "/no/such/route"]

    answers = ask(machine, *(guarded(machine, path, with_token=False) for path in paths))

    assert [answer["status"] for answer in answers] == [401] * len(paths)


def test_a_capture_is_taken_and_kept_with_its_sidecar_and_row(machine: Machine) -> None:
    answer = ask(machine, local(machine, "/capture", method="POST", body={}))[0]

    assert answer["status"] == 200, answer
    facts = answer["json"]
    image = machine.host.file(facts["filepath"])
    assert image.size == facts["fileSize"]
    sidecar = json.loads(machine.out("cat %s", facts["filepath"].removesuffix(".jpg") + ".json"))
    assert sidecar["sha256"] == machine.out("sha256sum %s", facts["filepath"]).split()[0]
    assert sidecar["id"] == facts["imageId"]
    listed = ask(machine, guarded(machine, f"/api/v1/images/{facts['imageId']}"),
                 guarded(machine, f"/api/v1/images/{facts['imageId']}/file"))  # fmt: skip
    assert [one["status"] for one in listed] == [200, 200]
    assert listed[1]["sha256"] == sidecar["sha256"]


def test_a_test_of_the_camera_goes_as_far_as_the_disk_and_leaves_nothing(machine: Machine) -> None:
    captures = f"{machine['appliance_archive_dir']}/{machine['appliance_captures_folder'] or 'captures'}"
    before = machine.out("ls -A %s", captures)

    answer = ask(machine, guarded(machine, "/api/v1/capture/test?storage=true", method="POST"))[0]

    assert answer["status"] == 200, answer
    assert answer["json"]["success"]
    assert machine.out("ls -A %s", captures) == before


def test_the_local_listener_is_there_only_when_it_is_wanted(machine: Machine) -> None:
    answer = ask(machine, {"url": f"http://127.0.0.1:{machine['appliance_local_port']}/health"})[0]

    assert (answer["status"] == 200) == machine["appliance_local_listener"]


def test_a_web_page_cannot_drive_the_local_listener(machine: Machine) -> None:
    asked = local(machine, "/health")
    code = "import sys, urllib.request as u; r = u.Request(sys.argv[1], headers={'Host': 'evil.example'}); u.urlopen(r)"

    assert machine.run("python3 -c %s %s", code, asked["url"]).rc != 0

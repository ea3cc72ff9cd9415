# SPDX-License-Identifier: MIT
"""The `fieldcam` command: what it prints, and what it ends with."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fieldcam.api.auth_store import AuthStore
from fieldcam.cli.main import COMMANDS
from fieldcam.core.clock import SystemClock
from fieldcam.core.heartbeat import write_heartbeat
from fieldcam.core.layout import MARKER
from tests.api_process import a_beat, api_tree
from tests.appliance_tree import Tree


@pytest.fixture
def tree() -> Iterator[Tree]:
    with api_tree() as made:
        yield made


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, with nothing of ours in the environment."""
    return subprocess.run(
        [sys.executable, "-m", "fieldcam.cli.main", *arguments],
        env={"PATH": "/usr/bin:/bin", **environ}, capture_output=True, text=True, timeout=60, check=False, cwd="/",
    )  # fmt: skip


def test_help_names_every_command_and_the_exit_codes() -> None:
    ended = run("--help")

    assert ended.returncode == 0
    assert all(f"  {name} " in ended.stdout for name in COMMANDS)
    assert "78  the configuration is wrong" in ended.stdout


def test_the_version_is_printed() -> None:
    assert run("--version").stdout.startswith("fieldcam, version ")


def test_a_part_is_loaded_only_when_it_is_used(tree: Tree) -> None:
    script = (
        "import sys; from fieldcam.cli.main import command;"
        f"command(['token', 'list', '--config', {str(tree.file)!r}], standalone_mode=False);"
        "print([name for name in ('flask', 'cv2', 'zmq', 'gunicorn') if name in sys.modules])"
    )

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert ended.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [("nothing",), ("token", "issue", "--role", "king"), ("volume", "init", "/tmp")])
def test_a_wrong_option_ends_with_2(arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)

    assert (ended.returncode, "Usage:" in ended.stderr) == (2, True)


# --- config -----------------------------------------------------------------------------------------------------------


def test_a_right_configuration_is_said_to_be_right(tree: Tree) -> None:
    ended = run("config", "check", "--config", str(tree.file))

    assert (ended.returncode, ended.stdout) == (0, "configuration is right; cameras: default, north\n")


def test_each_error_of_the_configuration_is_one_line(tree: Tree) -> None:
    ended = run("config", "check", "--config", str(tree.file), FIELDCAM_MAX_IMAGES="0", FIELDCAM_MAXIMAGES="5")

    lines = ended.stderr.splitlines()
    assert (ended.returncode, len(lines)) == (78, 2)
    assert all(line.startswith("error: CONFIG_INVALID: ") for line in lines)
    assert any("max_images" in line and "FIELDCAM_MAX_IMAGES" in line for line in lines)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    ended = run("config", "check", "--config", str(tmp_path / "none.toml"))

    assert ended.returncode == 78
    assert ended.stderr == f"error: CONFIG_INVALID: configuration file {tmp_path}/none.toml does not exist\n"


@pytest.mark.parametrize("position", ["before", "after", "environment"])
def test_the_file_may_be_named_in_three_places(tree: Tree, position: str) -> None:
    file = str(tree.file)
    ended = {
        "before": lambda: run("--config", file, "config", "show", "--json"),
        "after": lambda: run("config", "show", "--json", "--config", file),
        "environment": lambda: run("config", "show", "--json", FIELDCAM_CONFIG=file),
    }[position]()

    assert json.loads(ended.stdout)["capture_dir"] == {"value": str(tree.root / "handoff"), "source": file}


def test_show_says_where_each_value_comes_from(tree: Tree) -> None:
    ended = run("config", "show", "--config", str(tree.file), FIELDCAM_CHECK_INTERVAL="7", CAPTURE_TIMEOUT="12")

    assert "check_interval = 7.0  # environment variable FIELDCAM_CHECK_INTERVAL" in ended.stdout
    assert "capture_timeout = 12.0  # environment variable CAPTURE_TIMEOUT" in ended.stdout
    assert f"max_images = 20  # {tree.file}" in ended.stdout
    assert "connection_timeout = 10.0  # defaults" in ended.stdout
    assert "[cameras.north]" in ended.stdout


def test_what_show_prints_is_a_configuration_again(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "again.toml").write_text(run("config", "show", "--config", str(tree.file)).stdout)

    first = json.loads(run("config", "show", "--json", "--config", str(tree.file)).stdout)
    again = json.loads(run("config", "show", "--json", "--config", str(tmp_path / "again.toml")).stdout)

    assert {key: one["value"] for key, one in again.items()} == {key: one["value"] for key, one in first.items()}


# --- token ------------------------------------------------------------------------------------------------------------


def test_an_issued_token_opens_and_is_printed_alone(tree: Tree) -> None:
    ended = run("token", "issue", "--name", "laptop", "--role", "operator", "--config", str(tree.file))

    text = ended.stdout.removesuffix("\n")
    assert ended.returncode == 0
    assert AuthStore(tree.config.layout.auth, SystemClock()).check(text).name == "laptop"
    assert text not in ended.stderr


def test_tokens_are_listed_without_their_secrets_and_revoked(tree: Tree) -> None:
    config = ("--config", str(tree.file))
    issued = json.loads(run("token", "issue", "--days", "1", "--json", *config).stdout)

    before = run("token", "list", *config).stdout
    revoked = run("token", "revoke", issued["id"], *config)
    after = json.loads(run("token", "list", "--json", *config).stdout)

    assert all(word in before for word in (issued["id"], "device", "viewer", "valid", issued["expires_at"]))
    assert issued["token"].split("_", 2)[2] not in before + json.dumps(after)
    assert (revoked.returncode, after[0]["state"]) == (0, "revoked")


def test_revoking_an_unknown_token_is_an_error(tree: Tree) -> None:
    ended = run("token", "revoke", "nope", "--config", str(tree.file))

    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert ended.stderr.startswith("error: VALIDATION_ERROR: id: there is no token 'nope'")


def test_a_database_that_cannot_be_made_is_told(tree: Tree) -> None:
    (tree.root / "state" / "auth").write_text("a file where a folder should be")

    ended = run("token", "issue", "--config", str(tree.file))

    assert (ended.returncode, ended.stderr.partition(" ")[2].partition(":")[0]) == (74, "AUTH_UNAVAILABLE")


# --- volume -----------------------------------------------------------------------------------------------------------


def test_a_place_is_marked_once(tmp_path: Path) -> None:
    first = json.loads(run("volume", "init", str(tmp_path), "--kind", "archive", "--json").stdout)
    again = json.loads(run("volume", "init", str(tmp_path), "--kind", "archive", "--json").stdout)

    assert again == first == {"root": str(tmp_path), **json.loads((tmp_path / MARKER).read_text())}


def test_a_place_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    run("volume", "init", str(tmp_path), "--kind", "archive")
    before = (tmp_path / MARKER).read_bytes()

    ended = run("volume", "init", str(tmp_path), "--kind", "handoff")

    assert (ended.returncode, (tmp_path / MARKER).read_bytes()) == (74, before)
    assert ended.stderr.startswith("error: STORAGE_UNAVAILABLE: ")


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    ended = run("volume", "init", str(tmp_path / "none"), "--kind", "archive")

    assert (ended.returncode, "is no folder" in ended.stderr, list(tmp_path.iterdir())) == (74, True, [])


# --- status and doctor ------------------------------------------------------------------------------------------------


def test_without_processes_status_says_why_and_ends_with_69(tree: Tree) -> None:
    ended = run("status", "--config", str(tree.file))

    assert (ended.returncode, ended.stdout.splitlines()[0]) == (69, "unhealthy")
    assert "CAPTURE_NOT_RUNNING (default)" in ended.stdout
    assert "north" in ended.stdout


def test_fresh_frames_that_nobody_serves_are_not_enough(tree: Tree) -> None:
    for camera in ("default", "north"):
        tree.paths(camera).run.mkdir(parents=True)
        write_heartbeat(tree.paths(camera).heartbeat, a_beat(camera=camera))

    ended = run("status", "--json", "--config", str(tree.file))

    said = json.loads(ended.stdout)
    assert (ended.returncode, said["status"], said["api"]) == (69, "degraded", False)
    assert [camera["camera"] for camera in said["cameras"]] == ["default", "north"]


def test_doctor_names_what_is_wrong_and_what_to_do(tree: Tree) -> None:
    (tree.root / "archive" / MARKER).unlink()

    ended = run("doctor", "--json", "--config", str(tree.file))

    found = {finding["check"]: finding for finding in json.loads(ended.stdout)}
    assert ended.returncode == 1
    assert (found["configuration"]["state"], found["hand-off area"]["state"]) == ("ok", "ok")
    assert found["archive"]["state"] == "failed"
    assert "fieldcam volume init" in found["archive"]["message"]
    assert found["capture process (north)"]["state"] == "failed"
    assert found["token listener"]["state"] == "failed"


def test_status_and_doctor_show_the_ring_of_each_camera(tree: Tree) -> None:
    counters = {"published": 70, "dropped": 4, "slots": 2, "bytes": 74_000_000, "abandoned": 0}
    rings: dict[str, dict[str, Any]] = {
        "default": {"ring": "ok", "ring_counters": counters},
        "north": {"ring": "/ring is not in RAM", "ring_required": True},
    }
    for camera, said in rings.items():
        tree.paths(camera).run.mkdir(parents=True)
        write_heartbeat(tree.paths(camera).heartbeat, a_beat(camera=camera, **said))

    doctor = run("doctor", "--json", "--config", str(tree.file))
    status = run("status", "--config", str(tree.file))
    as_json = json.loads(run("status", "--json", "--config", str(tree.file)).stdout)

    found = {finding["check"]: finding for finding in json.loads(doctor.stdout)}
    assert found["ring (default)"] == {
        "check": "ring (default)",
        "state": "ok",
        "message": "2 slots, 74 MB; 70 frames handed off, 4 dropped",
    }
    assert (found["ring (north)"]["state"], "not in RAM" in found["ring (north)"]["message"]) == ("warning", True)
    assert found["frames (north)"]["state"] == "ok"  # its frames are fine, and only the ring's own line complains
    assert "RING_UNAVAILABLE (north): /ring is not in RAM" in status.stdout
    assert [line.split()[-1] for line in status.stdout.splitlines() if line.startswith("default")] == ["ok"]
    assert [(camera["ring"], camera["ring_required"]) for camera in as_json["cameras"]] == [
        ("ok", False),
        ("/ring is not in RAM", True),
    ]


def test_a_ring_that_is_off_is_no_fault_and_a_frozen_camera_is_one(tree: Tree) -> None:
    beat = a_beat(ring="off: the machine has 1.8 GiB of RAM")
    assert beat.last_frame is not None
    frozen = dataclasses.replace(beat.last_frame, identical_frames=5)
    changes: dict[str, dict[str, Any]] = {"default": {}, "north": {"last_frame": frozen}}
    for camera, said in changes.items():
        tree.paths(camera).run.mkdir(parents=True)
        write_heartbeat(tree.paths(camera).heartbeat, dataclasses.replace(beat, camera=camera, **said))

    ended = run("doctor", "--json", "--config", str(tree.file))

    found = {finding["check"]: finding for finding in json.loads(ended.stdout)}
    assert (found["ring (default)"]["state"], found["ring (default)"]["message"][:9]) == ("ok", "off: the ")
    assert found["frames (north)"]["state"] == "failed"
    assert "CAMERA_FROZEN: the last 6 frames are identical" in found["frames (north)"]["message"]


def test_doctor_stops_at_a_wrong_configuration(tree: Tree) -> None:
    ended = run("doctor", "--config", str(tree.file), FIELDCAM_MAX_IMAGES="0")

    assert (ended.returncode, "max_images" in ended.stdout, "archive" in ended.stdout) == (1, True, False)

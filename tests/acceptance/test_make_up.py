# SPDX-License-Identifier: MIT
"""What a stranger sees: `make up` in a fresh clone, and everything the README promises about it.

The tests share one appliance and go through its life in order, so they run in one process (`make test-slow`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import simplejpeg

from tests.acceptance.conftest import Stranger
from tests.appliance_tree import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FAKES = Path(__file__).resolve().parents[1] / "fakes" / "bin"
PROGRAMS = {"host-camera-capture", "capture-api", "image-sync-manager", "appliance-watchdog"}


def recap(output: str) -> dict[str, int]:
    """Return the counts of Ansible's last line."""
    line = re.findall(r"^localhost\s*: (.*)$", output, re.MULTILINE)[-1]
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}


def live_images(stranger: Stranger) -> list[str]:
    return sorted(path.name for path in (stranger.var / "camera_capture" / "live").glob("*.jpg"))


def assert_capture_is_kept(stranger: Stranger, answer: dict[str, Any]) -> dict[str, Any]:
    """The named file exists and decodes, and has its sidecar and its row. Return the sidecar."""
    image = Path(answer["filepath"])
    data = image.read_bytes()
    sidecar: dict[str, Any] = json.loads(image.with_suffix(".json").read_bytes())
    assert simplejpeg.decode_jpeg(data, colorspace="BGR").shape[:2] == (answer["height"], answer["width"])
    assert (len(data), hashlib.sha256(data).hexdigest()) == (answer["fileSize"], sidecar["sha256"])
    assert (sidecar["id"], answer["databaseSaved"]) == (answer["imageId"], True)
    rows = json.loads(
        stranger.run(stranger.venv / "bin" / "sqlite-utils", "rows", stranger.var / "archive" / "catalog.db", "images")
    )
    assert answer["imageId"] in {row["id"] for row in rows if row["filename"] == answer["filename"]}
    return sidecar


def wait_healthy(stranger: Stranger) -> Any:
    """Wait until /health says healthy, and return what it said."""

    def health() -> Any:
        answer = stranger.http("/health")
        return answer.json if answer.status == 200 and answer.json["status"] == "healthy" else None

    return wait_until(health, "/health says healthy", 60)


@pytest.fixture(scope="module")
def first_up(stranger: Stranger) -> str:
    """Type `make up` for the first time; 8 frames in live/ are enough to see it roll."""
    return stranger.make("up", MAX_IMAGES="8")


def test_make_up_ends_with_an_address_a_token_and_what_to_type_next(stranger: Stranger, first_up: str) -> None:
    tail = first_up[first_up.rindex("PLAY RECAP") :]

    assert f"http://127.0.0.1:{stranger.ports[0]}" in tail or f"http://localhost:{stranger.ports[0]}" in tail
    assert "fc_" in tail
    assert str(stranger.var / "camera_capture") in tail or "var/camera_capture" in tail
    for words in ("curl", "supervisorctl", "make down"):
        assert words in tail


def test_health_is_healthy_and_says_that_the_camera_is_simulated(stranger: Stranger, first_up: str) -> None:
    health = wait_healthy(stranger)

    assert (health["status"], health["camera_connected"], health["simulatedMode"]) == ("healthy", False, True)


def test_a_capture_returns_the_fields_of_the_contract_and_is_kept(stranger: Stranger, first_up: str) -> None:
    answer = stranger.http("/capture", {"exposure": 100, "gain": 1.5}).json

    sidecar = assert_capture_is_kept(stranger, answer)
    assert {
        "success", "filename", "filepath", "timestamp", "capturedAt", "exposureTime", "gain", "fileSize", "width",
        "height", "settings", "image_info", "metadata", "imageId", "databaseSaved",
    } <= set(answer)  # fmt: skip
    assert answer["settings"] == {"exposure": 100, "gain": 1.5, "resolution": {"width": 4056, "height": 3040}}
    assert answer["metadata"] == {"format": "JPG", "quality": 95, "cameraConnected": False, "simulatedMode": True}
    assert answer["image_info"] == {"size_bytes": answer["fileSize"], "format": "JPG"}
    assert sidecar["simulated"] is True


def test_live_frames_come_once_a_second_and_stop_at_max_images(stranger: Stranger, first_up: str) -> None:
    wait_until(lambda: len(live_images(stranger)) >= 8, "live/ is full", 30)
    oldest = live_images(stranger)[0]
    wait_until(lambda: oldest not in live_images(stranger), "live/ rolls", 10)

    sidecars = [json.loads(p.read_bytes()) for p in (stranger.var / "camera_capture" / "metadata").glob("*.json")]
    times = sorted(sidecar["monotonic_ns"] / 1e9 for sidecar in sidecars)
    assert 7 <= len(live_images(stranger)) <= 8
    assert (times[-1] - times[0]) / (len(times) - 1) == pytest.approx(1.0, abs=0.1)


def test_the_video_feed_streams_new_frames(stranger: Stranger, first_up: str) -> None:
    url = f"http://127.0.0.1:{stranger.ports[0]}/video/feed"
    with urllib.request.urlopen(url, timeout=20) as stream:
        kind = stream.headers["Content-Type"]
        parts: list[bytes] = []
        while len(parts) < 5:
            line = stream.readline()
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
                while stream.readline().strip():
                    pass
                parts.append(stream.read(length))

    assert kind.startswith("multipart/x-mixed-replace")
    assert len(set(parts)) == 5
    assert all(simplejpeg.decode_jpeg_header(part)[1] == 1280 for part in parts)


def test_supervisorctl_shows_all_programs_running(stranger: Stranger, first_up: str) -> None:
    assert set(stranger.program_pids()) == PROGRAMS


def test_the_token_listener_denies_by_default_and_the_token_opens_it(stranger: Stranger, first_up: str) -> None:
    token = re.findall(r"fc_\S+", first_up)[-1]

    assert stranger.http("/api/v1/images", port=1).status == 401
    assert stranger.http("/api/v1/images", port=1, token="fc_0_wrong").status == 401
    page = stranger.http("/api/v1/images", port=1, token=token)
    newest = stranger.http("/api/v1/images/latest", port=1, token=token)
    assert page.status == 200
    assert simplejpeg.is_jpeg(newest.body)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{not json", 422, "JSON"),
        ({"exposure": -5}, 422, "exposure"),
        ({"gain": "loud"}, 422, "gain"),
        ({"exposrue": 5}, 422, "exposrue"),
        ([1], 422, "object"),
    ],
)
def test_bad_input_is_one_clear_message(
    stranger: Stranger, first_up: str, body: object, status: int, words: str
) -> None:
    answer = stranger.http("/capture", body)

    assert answer.status == status
    assert words in json.dumps(answer.json["detail"])
    assert b"Traceback" not in answer.body


def test_a_killed_capture_process_comes_back_and_rows_equal_files(stranger: Stranger, first_up: str) -> None:
    for _ in range(3):
        stranger.http("/capture", {})
        pid = stranger.program_pids()["host-camera-capture"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: stranger.program_pids().get("host-camera-capture", pid) != pid, "a new one runs", 20)  # noqa: B023 - called at once
        wait_healthy(stranger)
    last = stranger.http("/capture", {}).json
    folder = stranger.var / "archive" / "captures"

    def rows() -> set[str]:
        with closing(sqlite3.connect(f"file:{stranger.var}/archive/catalog.db?mode=ro", uri=True)) as catalog:
            found = catalog.execute("SELECT filename FROM images WHERE kind = 'capture' AND state = 'present'")
            return {name for (name,) in found}

    files = {path.name for path in folder.glob("*.jpg")}
    wait_until(lambda: rows() == files, f"rows equal files: {rows() ^ files}", 30)
    assert last["filename"] in files
    assert not [path for path in folder.iterdir() if path.suffix == ".tmp"]
    for path in folder.glob("*.jpg"):
        simplejpeg.decode_jpeg(path.read_bytes(), colorspace="GRAY", min_height=1, min_width=1, min_factor=8)


def test_a_second_make_up_changes_nothing(stranger: Stranger, first_up: str) -> None:
    before = stranger.program_pids()

    again = stranger.make("up", MAX_IMAGES="8")

    assert recap(again)["changed"] == 0
    assert stranger.program_pids() == before


def test_a_play_that_is_killed_is_completed_by_the_next_and_pictures_are_taken_meanwhile(
    stranger: Stranger, first_up: str
) -> None:
    before = (stranger.var / "opt" / "current").readlink()
    with (stranger.clone / "appliance" / "fieldcam" / "__init__.py").open("a", encoding="utf-8") as source:
        source.write("# Another release.\n")

    kept = []
    for task in ("install | Install into it", "switch | Show its files"):
        stranger.make_up_killed_in(task, MAX_IMAGES="9")
        assert (stranger.var / "opt" / "current").readlink() == before, task
        kept.append(stranger.http("/capture", {}).json["filename"])
        assert wait_healthy(stranger)["status"] == "healthy", task
    # From here on the new deployment is the current one, but nothing runs with it yet.
    stranger.make_up_killed_in("programs | Ask what is deployed", MAX_IMAGES="9")
    after = (stranger.var / "opt" / "current").readlink()
    kept.append(stranger.http("/capture", {}).json["filename"])
    stranger.make("up", MAX_IMAGES="9")
    again = stranger.make("up", MAX_IMAGES="9")

    assert after != before
    assert (stranger.var / "opt" / "current").readlink() == after
    assert recap(again)["changed"] == 0
    assert set(stranger.program_pids()) == PROGRAMS
    assert all((stranger.var / "archive" / "captures" / name).exists() for name in kept)


def test_a_port_that_is_taken_is_named_with_what_to_do(stranger: Stranger, first_up: str) -> None:
    said = stranger.make("up", expect=2, VAR="var2")

    assert str(stranger.ports[0]) in said
    assert "LOCAL_PORT=" in said


def test_real_photos_are_replayed_with_their_own_bytes(
    stranger: Stranger, first_up: str, photographs: list[Path], tmp_path: Path
) -> None:
    for photograph in photographs:
        shutil.copy(photograph, tmp_path)
    originals = {hashlib.sha256(path.read_bytes()).hexdigest() for path in photographs}

    stranger.make("up", CAMERA="replay", MEDIA=str(tmp_path))

    health = wait_healthy(stranger)
    answer = stranger.http("/capture", {}).json
    sidecar = assert_capture_is_kept(stranger, answer)
    assert (health["camera_connected"], health["simulatedMode"]) == (True, False)
    assert (sidecar["backend"], sidecar["simulated"]) == ("replay", False)
    assert sidecar["sha256"] in originals


def test_rpicam_still_on_the_path_is_used_and_its_silent_failures_are_seen(
    stranger: Stranger, first_up: str, tmp_path: Path
) -> None:
    fault = tmp_path / "rpicam.fault"
    tools = tmp_path / "bin"
    shutil.copytree(FAKES.parent, tmp_path / "fakes")
    tools.symlink_to(tmp_path / "fakes" / "bin")
    fault = tools / "rpicam.fault"
    stranger.make("up", CAMERA="rpicam", PATH=f"{tools}:{os.environ['PATH']}")

    health = wait_healthy(stranger)
    good = stranger.http("/capture", {"exposure": 20, "gain": 2}).json
    sidecar = assert_capture_is_kept(stranger, good)
    assert (health["camera_connected"], health["simulatedMode"], sidecar["backend"]) == (True, False, "rpicam")
    assert (good["exposureTime"], good["gain"]) == (pytest.approx(20, rel=0.02), pytest.approx(2, rel=0.02))
    kept = {path.name for path in (stranger.var / "archive" / "captures").iterdir()}
    for word in ("no-file", "half", "no-end", "empty"):
        fault.write_text(word, encoding="utf-8")
        failed = stranger.http("/capture", {})
        assert (failed.status, "detail" in failed.json) == (500, True), word
    wait_until(lambda: stranger.http("/health").json["status"] != "healthy", "health says so", 20)
    assert {path.name for path in (stranger.var / "archive" / "captures").iterdir()} == kept
    fault.unlink()
    wait_healthy(stranger)


def test_media_that_is_not_there_is_named(stranger: Stranger, first_up: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")

    missing = stranger.make("up", expect=2, CAMERA="replay", MEDIA=str(tmp_path / "nowhere"))
    no_image = stranger.make("up", expect=2, CAMERA="replay", MEDIA=str(tmp_path))

    assert str(tmp_path / "nowhere") in missing
    assert str(tmp_path) in no_image
    assert "Traceback" not in missing + no_image


def test_a_release_that_never_delivers_is_taken_back_and_nothing_is_lost(stranger: Stranger, first_up: str) -> None:
    stranger.make("up")
    kept = stranger.http("/capture", {}).json["filename"]
    before = (stranger.var / "opt" / "current").readlink()
    pipeline = stranger.clone / "appliance" / "fieldcam" / "capture" / "pipeline.py"
    right = pipeline.read_text(encoding="utf-8")
    broken = right.replace(
        "    shot = camera.capture(", '    raise CaptureFailedError("never")\n    shot = camera.capture('
    )
    pipeline.write_text(broken, encoding="utf-8")

    said = stranger.make("up", expect=2, ANSIBLE_ARGS="-e appliance_verify_timeout=15")

    pipeline.write_text(right, encoding="utf-8")
    assert broken != right
    assert "was taken back" in said
    assert "CAPTURE_FAILED: never" in said
    assert "serves again" in said
    assert (stranger.var / "opt" / "current").readlink() == before
    assert set(stranger.program_pids()) == PROGRAMS
    wait_healthy(stranger)
    assert (stranger.var / "archive" / "captures" / kept).exists()
    stranger.make("up")  # which removes the broken one
    assert not [path for path in (stranger.var / "opt" / "deployments").iterdir() if (path / "failed").exists()]


def test_make_down_leaves_no_process(stranger: Stranger, first_up: str) -> None:
    stranger.make("down")

    assert stranger.processes() == []
    assert stranger.make("down") is not None

# SPDX-License-Identifier: MIT
"""A sensor that hangs: frames go on coming, all the same, and nobody is told that they are fresh."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from fieldcam.api.survey import take_survey
from fieldcam.control import protocol
from fieldcam.core.clock import SystemClock
from fieldcam.core.frame import FROZEN_AFTER
from fieldcam.store.reader import read_sidecar
from tests.api_process import api_process, api_tree
from tests.appliance_tree import Tree, deployed_tree, wait_until

FAKES = Path(__file__).resolve().parents[1] / "fakes" / "bin"
# Large enough for the picture of the stand-in to differ from one shot to the next.
RPICAM = {
    "backend": "rpicam",
    "interval": 0.25,
    "width": 2028,
    "height": 1520,
    "rpicam_still": str(FAKES / "rpicam-still"),
    "rpicam_vid": str(FAKES / "rpicam-vid"),
}


class Sensor:
    """The camera that the stand-ins of rpicam have; it can be made to hang."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def hang(self, word: str) -> None:
        """Let the next shots go wrong so."""
        (self.home / "rpicam.fault").write_text(word, encoding="utf-8")

    def heal(self) -> None:
        """Let them go well again."""
        (self.home / "rpicam.fault").unlink()


def reasons(tree: Tree) -> set[str]:
    return {reason.code for reason in take_survey(tree.config, SystemClock()).health.reasons}


def identical_frames_on_disk(tree: Tree) -> list[int]:
    sidecars = [read_sidecar(path) for path in tree.paths().metadata.glob("*.json")]
    return [sidecar.identical_frames for sidecar in sorted(sidecars, key=lambda sidecar: sidecar.sequence)]


@contextmanager
def native_frames(tree: Tree) -> Iterator[zmq.Socket[bytes]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    with context.socket(zmq.SUB) as watcher:
        watcher.connect(f"ipc://{tree.paths().preview_socket}")
        watcher.subscribe(protocol.TOPIC_NATIVE)
        yield watcher


@pytest.mark.parametrize("word", ["frozen", "stuck-time"])
def test_a_sensor_that_hangs_is_a_broken_camera_and_heals_with_the_next_new_picture(word: str, tmp_path: Path) -> None:
    sensor = Sensor(tmp_path)
    with (
        deployed_tree({"default": RPICAM}, max_images=100) as tree,
        tree.capture_process(FAKE_RPICAM_HOME=str(tmp_path)),
    ):
        wait_until(lambda: tree.beat().images_captured >= 3, "frames of a good camera")  # type: ignore[union-attr]
        good = reasons(tree)
        sensor.hang(word)
        wait_until(lambda: "CAMERA_FROZEN" in reasons(tree), "it is noticed")
        counted = tree.beat().last_frame.identical_frames  # type: ignore[union-attr]
        wait_until(lambda: tree.beat().last_frame.identical_frames > counted, "it is counted on")  # type: ignore[union-attr]
        sensor.heal()
        wait_until(lambda: "CAMERA_FROZEN" not in reasons(tree), "it heals")

        on_disk = identical_frames_on_disk(tree)
        log = tree.log()

    frozen = [count for count in on_disk if count]
    assert "CAMERA_FROZEN" not in good
    assert counted >= FROZEN_AFTER
    # The count rises by one from frame to frame, over seconds in which the time in the header went on.
    assert frozen[:FROZEN_AFTER] == [1, 2, 3]
    assert max(on_disk) > FROZEN_AFTER
    assert on_disk[-1] == 0
    assert (log.count("CAMERA_FROZEN camera="), log.count("CAMERA_FROZEN_OVER")) == (1, 1)


def test_a_camera_without_a_loop_freezes_too(tmp_path: Path) -> None:
    sensor = Sensor(tmp_path)
    sensor.hang("frozen")
    with (
        deployed_tree({"default": RPICAM | {"mode": "on_demand"}}, status_check_interval=0.1) as tree,
        tree.capture_process(FAKE_RPICAM_HOME=str(tmp_path)),
    ):
        wait_until(lambda: "CAMERA_FROZEN" in reasons(tree), "its probes are all the same")
        answer = tree.ask(protocol.CAPTURE)
        sensor.heal()
        wait_until(lambda: "CAMERA_FROZEN" not in reasons(tree), "it heals")

    assert answer["sidecar"]["identical_frames"] >= FROZEN_AFTER


def test_photos_that_come_again_are_no_frozen_camera(photographs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "only.jpg").write_bytes(photographs[0].read_bytes())
    camera = {"backend": "replay", "media": str(tmp_path), "interval": 0.1}
    with deployed_tree({"default": camera}, max_images=100) as tree, tree.capture_process():
        wait_until(lambda: tree.beat().images_captured >= 8, "the same photo again and again")  # type: ignore[union-attr]

        assert "CAMERA_FROZEN" not in reasons(tree)
        assert set(identical_frames_on_disk(tree)) == {0}


def test_what_hangs_is_neither_streamed_nor_served_as_fresh(tmp_path: Path) -> None:
    sensor = Sensor(tmp_path)
    with (
        api_tree(cameras={"default": RPICAM}) as tree,
        tree.capture_process(FAKE_RPICAM_HOME=str(tmp_path)),
        api_process(tree) as api,
        native_frames(tree) as watcher,
    ):
        token = api.bearer()
        assert watcher.poll(10_000)
        fine = api.tokened.get("/api/v1/images/latest", headers=token)
        sensor.hang("frozen")
        wait_until(lambda: api.local.get("/health").status_code == 503, "health says so")
        health = api.local.get("/health").json()
        frozen = api.tokened.get("/api/v1/images/latest", headers=token)
        newest = tree.beat().last_frame.sequence  # type: ignore[union-attr]
        wait_until(lambda: tree.beat().last_frame.sequence > newest + 2, "more frames of the same")  # type: ignore[union-attr]
        streamed = []
        while watcher.poll(0):
            streamed.append(json.loads(watcher.recv_multipart()[1])["sequence"])
        by_sequence = {sidecar.sequence: sidecar for sidecar in map(read_sidecar, tree.paths().metadata.glob("*.json"))}
        sensor.heal()
        wait_until(lambda: api.local.get("/health").status_code == 200, "health is good again")
        healed = api.tokened.get("/api/v1/images/latest", headers=token)

    assert (fine.status_code, healed.status_code) == (200, 200)
    assert [reason["code"] for reason in health["reasons"]][:1] == ["CAMERA_FROZEN"]
    assert (frozen.status_code, frozen.json()["code"]) == (503, "IMAGE_TOO_OLD")
    assert "frozen" in frozen.json()["message"]
    assert streamed
    assert [number for number in streamed if number in by_sequence and by_sequence[number].is_frozen] == []
    assert max(streamed) < newest

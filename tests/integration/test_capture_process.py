# SPDX-License-Identifier: MIT
"""A real capture process: live frames, captures, bad requests, kills, places that vanish."""

from __future__ import annotations

import hashlib
import itertools
import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import simplejpeg
import zmq

from fieldcam.control import protocol
from fieldcam.core.clock import SystemClock
from fieldcam.core.errors import (
    CameraNotAvailableError,
    CaptureInProgressError,
    ControlError,
    ProcessNotRunningError,
    RequestInvalidError,
    StorageFullError,
    StorageUnavailableError,
)
from fieldcam.core.layout import MARKER
from fieldcam.store.reader import iter_frames, newest_frame, read_sidecar
from tests.appliance_tree import Tree, deployed_tree, wait_until
from tests.requirements import require_commands


@pytest.fixture
def tree() -> Iterator[Tree]:
    """Return a tree of two simulated cameras."""
    with deployed_tree(max_images=10) as made:
        yield made


def live_names(tree: Tree, camera: str = "default") -> list[str]:
    return sorted(frame.stem for frame in iter_frames(tree.paths(camera).live, tree.paths(camera).metadata))


def assert_whole(image: Path, sidecar: dict[str, Any]) -> None:
    data = image.read_bytes()
    pixels = simplejpeg.decode_jpeg(data, colorspace="BGR")
    assert pixels.shape == (sidecar["height"], sidecar["width"], 3)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (sidecar["file_size"], sidecar["sha256"])
    assert image.stat().st_mtime == pytest.approx(sidecar["timestamp"], abs=0.002)


def test_live_frames_come_at_the_interval_and_stop_at_max_images(tree: Tree) -> None:
    with tree.capture_process():
        wait_until(lambda: (tree.beat() or 0) and tree.beat().images_captured >= 14, "14 live frames")  # type: ignore[union-attr]
        sidecars = sorted(
            (read_sidecar(path) for path in tree.paths().metadata.glob("*.json")), key=lambda sidecar: sidecar.sequence
        )

    steps = [(b.monotonic_ns - a.monotonic_ns) / 1e9 for a, b in itertools.pairwise(sidecars)]
    assert 9 <= len(live_names(tree)) <= 10
    assert sum(steps) / len(steps) == pytest.approx(0.2, abs=0.05)


def test_a_capture_is_stored_with_everything_that_was_said(tree: Tree) -> None:
    asked = {"exposure_ms": 50, "gain": 1.5, "quality": 80, "sample_no": "S-1", "submission_no": "B.2",
             "description": "plate", "user_id": 5, "job_id": 9, "x_position": 1.5, "request_sha256": "ab"}  # fmt: skip
    with tree.capture_process():
        before_ns = SystemClock().boottime_ns()
        answer = tree.ask(protocol.CAPTURE, asked)

    path, sidecar = Path(answer["path"]), answer["sidecar"]
    assert_whole(path, sidecar)
    assert json.loads(path.with_suffix(".json").read_bytes()) == sidecar
    assert path.parent == tree.paths().captures
    assert path.name == sidecar["filename"]
    assert path.name.startswith("capture_S-1_B.2_")
    assert {key: sidecar[key] for key in ("description", "user_id", "job_id", "x_position", "request_sha256")} == {
        key: asked[key] for key in ("description", "user_id", "job_id", "x_position", "request_sha256")
    }
    assert (sidecar["exposure"], sidecar["gain"], sidecar["quality"]) == (50, 1.5, 80)
    assert (sidecar["kind"], sidecar["simulated"], sidecar["backend"]) == ("capture", True, "simulated")
    assert sidecar["monotonic_ns"] >= before_ns
    assert answer["database_saved"] is False  # no manager runs here


def test_one_idempotency_key_is_one_capture_across_a_kill(tree: Tree) -> None:
    asked = {"idempotency_key": "k-1", "request_sha256": "ab", "user_id": 7}
    with tree.capture_process() as process:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: tree.ask(protocol.CAPTURE, asked), range(4)))
        with pytest.raises(RequestInvalidError, match="Idempotency-Key"):
            tree.ask(protocol.CAPTURE, asked | {"request_sha256": "cd"})
        other_user = tree.ask(protocol.CAPTURE, asked | {"user_id": 8})
        process.kill()
        process.wait()
    with tree.capture_process():
        answers.append(tree.ask(protocol.CAPTURE, asked))

    assert {answer["path"] for answer in answers} == {answers[0]["path"]}
    assert other_user["path"] != answers[0]["path"]
    assert len(list(iter_frames(tree.paths().captures, tree.paths().captures))) == 2


def test_two_cameras_share_nothing_but_the_tree(tree: Tree) -> None:
    with tree.capture_process("default"), tree.capture_process("north"):
        first = tree.ask(protocol.CAPTURE)
        second = tree.ask(protocol.CAPTURE, camera="north")

    assert (first["sidecar"]["id"], second["sidecar"]["id"]) == (1, 2**40 + 1)
    assert (first["sidecar"]["width"], second["sidecar"]["width"]) == (320, 160)
    assert Path(second["path"]).parent == tree.config.archive_dir / "cameras" / "north" / "captures"
    assert live_names(tree, "north")


@pytest.mark.parametrize(
    ("args", "error", "words"),
    [
        ({"exposure_ms": -1}, RequestInvalidError, "exposure_ms"),
        ({"widht": 5}, RequestInvalidError, "widht: unknown field"),
        ({"width": 99, "height": 99}, RequestInvalidError, "not offered"),
        ({"sample_no": "a/../b"}, RequestInvalidError, "sample_no"),
    ],
)
def test_a_bad_request_is_refused_and_changes_nothing(
    tree: Tree, args: dict[str, Any], error: type[Exception], words: str
) -> None:
    with tree.capture_process():
        with pytest.raises(error, match=words):
            tree.ask(protocol.CAPTURE, args)
        with pytest.raises(ControlError, match="unknown request"):
            tree.ask("format_disk")

    assert list(iter_frames(tree.paths().captures, tree.paths().captures)) == []


def test_put_settings_show_in_the_next_frame_and_outlive_a_restart(tree: Tree) -> None:
    with tree.capture_process():
        dark = tree.ask(protocol.CAPTURE, {"exposure_ms": 100})
        answer = tree.ask(protocol.PUT_SETTINGS, {"exposure_ms": 800, "gain": 2, "width": 640, "height": 480})
        bright = tree.ask(protocol.CAPTURE)
    with tree.capture_process():
        again = tree.ask(protocol.GET_SETTINGS)

    means = [simplejpeg.decode_jpeg(Path(a["path"]).read_bytes(), colorspace="GRAY").mean() for a in (dark, bright)]
    assert means[1] > means[0] + 10
    assert (bright["sidecar"]["width"], bright["sidecar"]["height"]) == (640, 480)
    assert (again["exposure"], again["gain"], again["width"]) == (800, 2, 640)
    assert answer == again | {"streaming": False}


def test_a_second_process_is_refused_with_its_own_exit_code(tree: Tree) -> None:
    with tree.capture_process() as owner:
        with tree.process("fieldcam.cli.host_camera_capture") as second:
            code = second.wait(20)

        assert (code, owner.poll()) == (75, None)
    assert f"pid {owner.pid}" in tree.log()


def test_without_the_archive_live_goes_on_and_captures_say_why(tree: Tree) -> None:
    marker = tree.config.archive_dir / MARKER
    with tree.capture_process():
        text = marker.read_bytes()
        marker.unlink()
        with pytest.raises(StorageUnavailableError, match="no marker"):
            tree.ask(protocol.CAPTURE)
        wait_until(lambda: tree.beat().archive != "ok", "the heartbeat says so")  # type: ignore[union-attr]
        before = tree.beat().images_captured  # type: ignore[union-attr]
        wait_until(lambda: tree.beat().images_captured > before, "live goes on")  # type: ignore[union-attr]
        written = list(iter_frames(tree.paths().captures, tree.paths().captures))
        marker.write_bytes(text)
        wait_until(lambda: tree.beat().archive == "ok", "it is noticed that the archive is back")  # type: ignore[union-attr]
        answer = tree.ask(protocol.CAPTURE)

    assert written == []
    assert Path(answer["path"]).exists()
    assert tree.log().count("ARCHIVE_UNAVAILABLE ") == 1


def test_without_the_hand_off_area_nothing_is_written_there_and_captures_work(tree: Tree) -> None:
    (tree.config.capture_dir / MARKER).unlink()

    with tree.capture_process():
        answer = tree.ask(protocol.CAPTURE)
        beat = tree.beat()

    assert Path(answer["path"]).exists()
    assert beat is not None
    assert "no marker" in beat.live_storage
    assert list(tree.config.capture_dir.iterdir()) == []


def test_captures_come_before_the_loop_and_the_queue_has_an_end(tree: Tree) -> None:
    with tree.capture_process(), ThreadPoolExecutor(24) as pool:
        futures = [pool.submit(tree.ask, protocol.CAPTURE, {"width": 1920, "height": 1080}) for _ in range(24)]
        errors = [future.exception() for future in futures]

    refused = [error for error in errors if error is not None]
    assert all(isinstance(error, CaptureInProgressError) for error in refused)
    assert 0 < len(refused) < 24
    assert len(list(iter_frames(tree.paths().captures, tree.paths().captures))) == 24 - len(refused)


def test_term_ends_it_soon_and_loses_no_accepted_capture(tree: Tree) -> None:
    with tree.capture_process() as process, ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(tree.ask, protocol.CAPTURE, {"width": 1920, "height": 1080}) for _ in range(6)]
        wait_until(lambda: any(future.done() for future in futures), "the first answer")
        process.send_signal(signal.SIGTERM)
        code = process.wait(10)
        answers = [future.result() for future in futures if future.exception() is None]

    stored = {frame.image for frame in iter_frames(tree.paths().captures, tree.paths().captures)}
    assert code == 0
    assert {Path(answer["path"]) for answer in answers} == stored
    assert tree.beat().state == "stopped"  # type: ignore[union-attr]


def test_killed_during_captures_it_leaves_no_partial_file_and_goes_on_with_new_ids(tree: Tree) -> None:
    acknowledged: list[dict[str, Any]] = []

    def ask_until_it_is_gone(first_answer: threading.Event) -> None:
        with suppress(ProcessNotRunningError):
            while True:
                acknowledged.append(tree.ask(protocol.CAPTURE))
                first_answer.set()

    for _ in range(4):
        first_answer = threading.Event()
        with tree.capture_process() as process, ThreadPoolExecutor(1) as pool:
            asking = pool.submit(ask_until_it_is_gone, first_answer)
            first_answer.wait(20)
            process.kill()
            asking.result(20)
    with tree.capture_process():
        last = tree.ask(protocol.CAPTURE)

    folder = tree.paths().captures
    frames = {frame.image: json.loads(frame.sidecar.read_bytes()) for frame in iter_frames(folder, folder)}
    for image, sidecar in frames.items():
        assert_whole(image, sidecar)
    ids = [answer["sidecar"]["id"] for answer in acknowledged] + [last["sidecar"]["id"]]
    assert {Path(answer["path"]) for answer in acknowledged} <= set(frames)
    assert ids == sorted(set(ids))
    assert not [path for path in folder.iterdir() if path.suffix == ".tmp"]


def test_the_sequence_rises_across_restarts(tree: Tree) -> None:
    sequences = []
    for _ in range(3):
        with tree.capture_process() as process:
            _, sidecar = newest_frame(tree.paths().live, tree.paths().metadata, boot_id=SystemClock().boot_id())
            sequences.append(sidecar.sequence)
            process.kill()
            process.wait()

    assert sequences == sorted(set(sequences))


def test_the_preview_runs_only_while_somebody_watches(tree: Tree) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    with tree.capture_process(), context.socket(zmq.SUB) as watcher:
        idle = tree.ask(protocol.GET_SETTINGS)["streaming"]
        watcher.connect(f"ipc://{tree.paths().preview_socket}")
        watcher.subscribe(protocol.TOPIC_PREVIEW)
        frames: list[list[bytes]] = []
        while len(frames) < 5:
            assert watcher.poll(5000)
            frames.append(watcher.recv_multipart())
        busy = tree.ask(protocol.GET_SETTINGS)["streaming"]
        watcher.close()
        wait_until(lambda: not tree.ask(protocol.GET_SETTINGS)["streaming"], "the stream stops")

    headers = [json.loads(header) for _, header, _ in frames]
    times = [header["exposed_at_ns"] for header in headers]
    assert (idle, busy) == (False, True)
    assert times == sorted(set(times))
    assert {header["simulated"] for header in headers} == {True}
    assert simplejpeg.decode_jpeg_header(frames[0][2])[:2] == (headers[0]["height"], headers[0]["width"])


def test_a_pi_camera_without_a_loop_streams_between_captures(tmp_path: Path) -> None:
    tools = Path(__file__).resolve().parents[1] / "fakes" / "bin"
    camera = {
        "backend": "rpicam", "mode": "on_demand", "rpicam_still": str(tools / "rpicam-still"),
        "rpicam_vid": str(tools / "rpicam-vid"),
    }  # fmt: skip
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    with deployed_tree({"default": camera}) as tree, tree.capture_process(FAKE_RPICAM_HOME=str(tmp_path)):
        with context.socket(zmq.SUB) as watcher:
            watcher.connect(f"ipc://{tree.paths().preview_socket}")
            watcher.subscribe(protocol.TOPIC_PREVIEW)

            def take(count: int) -> list[bytes]:
                taken: list[bytes] = []
                while len(taken) < count:
                    assert watcher.poll(10_000)
                    taken.append(watcher.recv_multipart()[2])
                return taken

            before = take(5)
            answer = tree.ask(protocol.CAPTURE)
            after = take(10)
        wait_until(lambda: not tree.ask(protocol.GET_SETTINGS)["streaming"], "the stream stops")

    assert simplejpeg.decode_jpeg_header(before[0])[1] == 1280
    assert after[-1] != before[0]
    assert (answer["sidecar"]["width"], answer["sidecar"]["height"]) == (4056, 3040)


def test_a_missing_tool_is_named_and_the_process_goes_on_trying() -> None:
    camera = {"backend": "rpicam", "rpicam_still": "no-such-rpicam-still"}
    with deployed_tree({"default": camera}, capture_timeout=3.0) as tree, tree.capture_process() as process:
        with pytest.raises(CameraNotAvailableError, match="no-such-rpicam-still"):
            tree.ask(protocol.CAPTURE)
        beat = tree.beat()

        assert process.poll() is None
        assert beat is not None
        assert (beat.state, beat.camera_connected, beat.delivering) == ("recovering", False, False)
        assert tree.log().count("CAMERA_FAILED") == 1


def test_term_ends_it_soon_although_the_camera_hangs_and_leaves_no_child(tmp_path: Path) -> None:
    tool = Path(__file__).resolve().parents[1] / "fakes" / "bin" / "rpicam-still"
    camera = {"backend": "rpicam", "rpicam_still": str(tool)}
    with deployed_tree({"default": camera}) as tree:
        with tree.capture_process(FAKE_RPICAM_HOME=str(tmp_path)) as process:
            (tmp_path / "rpicam.fault").write_text("hang ignore-term", encoding="utf-8")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            hanging = wait_until(lambda: children.read_text(encoding="ascii").split(), "a shot hangs")
            process.terminate()
            code = process.wait(9)

        assert code == 0
        assert tree.beat().state == "stopped"  # type: ignore[union-attr]
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in hanging), "the tool is gone", 3)


def test_a_camera_without_a_loop_is_probed_and_stores_nothing() -> None:
    camera = {"backend": "simulated", "mode": "on_demand", "width": 160, "height": 128}
    with deployed_tree({"default": camera}, status_check_interval=0.2) as tree, tree.capture_process():
        first = tree.beat().last_frame  # type: ignore[union-attr]
        wait_until(lambda: tree.beat().last_frame.sequence > first.sequence, "another probe")  # type: ignore[union-attr]
        answer = tree.ask(protocol.CAPTURE)

        assert live_names(tree) == []
        assert Path(answer["path"]).exists()


@pytest.mark.root
def test_a_full_archive_refuses_captures_keeps_live_and_resumes() -> None:
    require_commands("mount", "umount")
    with deployed_tree() as tree:
        archive = tree.config.archive_dir
        marker = (archive / MARKER).read_bytes()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(archive)], check=True)
        try:
            (archive / MARKER).write_bytes(marker)
            with tree.capture_process():
                tree.ask(protocol.CAPTURE)
                ballast = archive / "ballast"
                with suppress(OSError):
                    ballast.write_bytes(b"\0" * 4_000_000)
                with pytest.raises(StorageFullError):
                    tree.ask(protocol.CAPTURE)
                before = tree.beat().images_captured  # type: ignore[union-attr]
                wait_until(lambda: tree.beat().images_captured > before, "live goes on")  # type: ignore[union-attr]
                names = {path.name for path in tree.paths().captures.iterdir()}
                ballast.unlink()
                answer = tree.ask(protocol.CAPTURE)

                assert Path(answer["path"]).exists()
                assert not [name for name in names if name.endswith(".tmp")]
        finally:
            subprocess.run(["umount", str(archive)], check=True)


def test_nothing_leaks_over_many_captures(tree: Tree) -> None:
    def open_things(pid: int) -> tuple[int, int]:
        return len(list(Path(f"/proc/{pid}/fd").iterdir())), len(list(Path(f"/proc/{pid}/task").iterdir()))

    with tree.capture_process() as process:
        tree.ask(protocol.CAPTURE)
        before = open_things(process.pid)
        for _ in range(50):
            tree.ask(protocol.CAPTURE)
        after = wait_until(lambda: open_things(process.pid) <= before and open_things(process.pid), "as few as before")

    assert after <= before

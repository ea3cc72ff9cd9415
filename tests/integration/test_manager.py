# SPDX-License-Identifier: MIT
"""The manager as a real process: real sockets, real SQLite, real signals."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fieldcam import ImageSyncManager
from fieldcam.catalog.reader import CatalogReader, ImageFilter
from fieldcam.control import protocol
from fieldcam.control.client import ask
from fieldcam.core.clock import SystemClock, rfc3339
from fieldcam.core.config import Config
from fieldcam.core.errors import CameraInUseError, FieldcamError, RequestInvalidError
from fieldcam.core.heartbeat import FrameNote, Heartbeat, write_heartbeat
from fieldcam.core.layout import MARKER
from fieldcam.core.manager_heartbeat import ManagerHeartbeat, read_manager_heartbeat
from fieldcam.core.ownership import owned
from fieldcam.store.volume import Volume
from tests.frames_on_disk import (
    as_announcement,
    make_config,
    make_sidecar,
    of_this_boot,
    put_capture,
    put_live,
)

WAIT_SECONDS = 30.0
COMMAND = [sys.executable, "-m", "fieldcam.cli.image_sync_manager"]


class Appliance:
    """Two places, and a manager process that looks after them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.config: Config = make_config(base, check_interval=0.5, cleanup_interval=3600)
        self.layout = self.config.layout
        self.file = base / "fieldcam.toml"
        settings = self.config.model_dump(mode="json", exclude_defaults=True)
        self.file.write_text(_toml(settings))
        self.log = base / "log.txt"
        self.process: subprocess.Popen[bytes] | None = None
        self.catalog = CatalogReader(self.layout.catalog, "capture")
        self.live = CatalogReader(self.layout.live_catalog, "live")

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*COMMAND, "--config", str(self.file)], stdout=log, stderr=log, cwd="/")
        self.until(lambda: self.beat.state == "running" and self.beat.pid == self.pid and self.beat.catalog == "ok")

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(10)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def pid(self) -> int:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        return self.process.pid

    @property
    def beat(self) -> ManagerHeartbeat:
        beat = read_manager_heartbeat(self.layout.manager_heartbeat)
        if beat is None:
            raise FieldcamError("no heartbeat yet")
        return beat

    def ask(self, op: str, args: dict[str, Any] | None = None) -> dict[str, Any]:
        return ask(self.layout.manager_socket, op, args, timeout_seconds=10, who="manager")

    def record(self, sidecar: Any) -> dict[str, Any]:
        return self.ask(protocol.RECORD, as_announcement(self.config, sidecar))

    def names(self) -> set[str]:
        return {row.filename for row in self.catalog.page(ImageFilter(), limit=1000).rows}

    def until(self, condition: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
        pause, deadline = threading.Event(), time.monotonic() + seconds
        while True:
            with suppress(FieldcamError):
                if condition():
                    return
            assert time.monotonic() < deadline, f"waited {seconds} s\n{self.log.read_text()}"
            if self.process is not None:
                assert self.process.poll() is None, self.log.read_text()
            pause.wait(0.02)


def _toml(settings: dict[str, Any]) -> str:
    tables = settings.pop("cameras")
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    for name, table in tables.items():
        lines += [f"[cameras.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines)


@pytest.fixture
def appliance() -> Iterator[Appliance]:
    base = Path(tempfile.mkdtemp(prefix="fc-"))  # short: socket paths end at 107 bytes
    made = Appliance(base)
    yield made
    made.kill()
    shutil.rmtree(base)


def test_a_capture_that_is_announced_has_its_row_when_the_answer_comes(
    appliance: Appliance, photographs: list[Path]
) -> None:
    appliance.start()
    sidecar = put_capture(appliance.config, 1, image=photographs[0].read_bytes())

    answer = appliance.record(sidecar)

    assert answer == {"recorded": True, "id": sidecar.id}
    row = appliance.catalog.get(2)
    assert row is not None
    assert row.filename == sidecar.filename
    appliance.until(lambda: appliance.catalog.get(2).thumbnail_path)  # type: ignore[union-attr]
    thumbnail = appliance.catalog.get(2)
    assert thumbnail is not None
    assert (appliance.config.archive_dir / str(thumbnail.thumbnail_path)).is_file()


def test_live_frames_come_and_go_with_their_announcements(appliance: Appliance) -> None:
    appliance.start()
    sidecars = [put_live(appliance.config, number) for number in range(3)]

    answers = [appliance.record(sidecar) for sidecar in sidecars]
    (appliance.layout.camera("default").live / sidecars[0].filename).unlink()
    appliance.ask(protocol.REMOVED, {"camera": "default", "filenames": [sidecars[0].filename]})

    assert all(answer["recorded"] for answer in answers)
    assert [row.filename for row in appliance.live.page(ImageFilter()).rows] == [
        sidecars[2].filename,
        sidecars[1].filename,
    ]
    assert appliance.catalog.totals() == []


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/etc/passwd"},
        {"path": None},
        {"sidecar": {}},
        {"sidecar": []},
        {"sidecar": {**make_sidecar(1).to_dict(), "camera": "../.."}},
        {"sidecar": {**make_sidecar(1).to_dict(), "kind": "thumbnail"}},
        {"sidecar": {**make_sidecar(1).to_dict(), "width": "wide"}},
    ],
)
def test_a_wrong_announcement_is_refused_and_the_next_one_served(appliance: Appliance, change: dict[str, Any]) -> None:
    appliance.start()
    good = put_capture(appliance.config, 1)

    with pytest.raises(RequestInvalidError):
        appliance.ask(protocol.RECORD, as_announcement(appliance.config, good) | change)

    assert appliance.record(good)["recorded"]


def test_what_was_captured_while_the_manager_was_away_is_recorded_at_its_start(appliance: Appliance) -> None:
    appliance.start()
    appliance.record(put_capture(appliance.config, 1))
    appliance.kill()
    put_capture(appliance.config, 2)
    put_live(appliance.config, 3)
    (appliance.layout.camera("default").captures / make_sidecar(1).filename).unlink()

    appliance.start()

    appliance.until(lambda: appliance.names() == {make_sidecar(2).filename})
    appliance.until(lambda: len(appliance.live.page(ImageFilter()).rows) == 1)


def test_the_catalog_is_rebuilt_while_captures_go_on(appliance: Appliance) -> None:
    for number in range(500):
        put_capture(appliance.config, number)
    appliance.start()
    appliance.until(lambda: len(appliance.names()) == 500)

    kinds = ["delete", "garbage", "truncate"]
    for number, kind in enumerate(kinds):
        catalog = appliance.layout.catalog
        if kind == "delete":
            catalog.unlink()
        elif kind == "garbage":
            catalog.write_bytes(b"garbage" * 5000)
        else:
            os.truncate(catalog, 10_000)
        announced = put_capture(appliance.config, 600 + number)
        assert set(appliance.record(announced)) <= {"recorded", "id"}
        appliance.until(partial(has_rows, appliance, 501 + number))

    appliance.until(lambda: appliance.beat.catalog == "ok")
    assert appliance.record(put_capture(appliance.config, 700))["recorded"]
    assert appliance.process is not None
    assert appliance.process.poll() is None


def has_rows(appliance: Appliance, expected: int) -> bool:
    return len(appliance.names()) == expected


def test_without_the_archive_live_goes_on_and_the_archive_is_taken_up_when_it_is_there(appliance: Appliance) -> None:
    marker = appliance.config.archive_dir / MARKER
    hidden = appliance.base / "marker"
    marker.rename(hidden)
    with appliance.log.open("ab") as log:
        appliance.process = subprocess.Popen(
            [*COMMAND, "--config", str(appliance.file)], stdout=log, stderr=log, cwd="/"
        )
    appliance.until(lambda: appliance.beat.live_catalog == "ok")

    live = appliance.record(put_live(appliance.config, 1))
    capture = appliance.record(put_capture(appliance.config, 2))

    assert live["recorded"]
    assert capture == {"recorded": False}
    assert "no marker" in appliance.beat.archive
    appliance.until(lambda: any("ARCHIVE_UNAVAILABLE" in alert for alert in appliance.beat.alerts))
    assert not appliance.layout.catalog.exists()

    hidden.rename(marker)
    appliance.until(lambda: appliance.names() == {make_sidecar(2).filename})
    appliance.until(lambda: appliance.beat.archive == "ok")
    assert appliance.log.read_text().count("ARCHIVE_UNAVAILABLE:") == 1


def test_without_the_hand_off_area_captures_are_recorded(appliance: Appliance) -> None:
    (appliance.config.capture_dir / MARKER).unlink()

    appliance.start()

    assert appliance.record(put_capture(appliance.config, 2))["recorded"]
    assert appliance.record(put_live(appliance.config, 1)) == {"recorded": False}
    assert "no marker" in appliance.beat.handoff


def test_a_second_manager_ends_with_75_and_says_who_has_the_catalog(appliance: Appliance) -> None:
    appliance.start()

    second = subprocess.run(
        [*COMMAND, "--config", str(appliance.file)], capture_output=True, text=True, cwd="/", check=False, timeout=30
    )

    assert second.returncode == 75
    assert f"pid {appliance.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    assert second.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_time_even_while_it_works(appliance: Appliance, number: signal.Signals) -> None:
    for count in range(3000):
        put_capture(appliance.config, count)
    with appliance.log.open("ab") as log:
        appliance.process = subprocess.Popen(
            [*COMMAND, "--config", str(appliance.file)], stdout=log, stderr=log, cwd="/"
        )
    appliance.until(lambda: appliance.beat.state == "running")

    appliance.process.send_signal(number)
    started = time.monotonic()
    code = appliance.process.wait(10)

    assert code == 0, appliance.log.read_text()
    assert time.monotonic() - started < 10
    assert appliance.beat.state == "stopped"
    assert not list(appliance.config.archive_dir.glob(".catalog*"))
    assert "Traceback" not in appliance.log.read_text()


def test_a_killed_manager_leaves_a_catalog_that_can_be_read_and_goes_on(appliance: Appliance) -> None:
    appliance.start()
    for number in range(30):
        appliance.record(put_capture(appliance.config, number))
        if number % 10 == 9:
            appliance.kill()
            assert len(appliance.names()) == number + 1
            appliance.start()

    assert len(appliance.names()) == 30
    assert not list(appliance.config.archive_dir.glob("*.corrupt.*"))


def test_events_are_kept(appliance: Appliance) -> None:
    appliance.start()

    answer = appliance.ask(
        protocol.EVENT,
        {"camera": "default", "kind": "gap", "cause": "settings", "details": {"slots": 2}}
        | {"at": rfc3339(0), "boot_id": "b", "monotonic_ns": 1},
    )

    with closing(sqlite3.connect(appliance.layout.events)) as connection:
        rows = connection.execute("SELECT camera, kind, cause, details FROM events ORDER BY id").fetchall()
    assert answer == {"recorded": True}
    assert rows[0][1] == "process_started"
    assert rows[-1] == ("default", "gap", "settings", '{"slots": 2}')


def beat_of(config: Config, age_seconds: float = 0.0) -> Heartbeat:
    clock = SystemClock()
    now = clock.boottime_ns()
    frame = FrameNote("capture_x.jpg", "live", now - int(age_seconds * 1e9), "", 1, 640, 480)
    return Heartbeat(
        camera="default",
        pid=1,
        boot_id=clock.boot_id(),
        boottime_ns=now,
        started_boottime_ns=now,
        state="running",
        mode="continuous",
        backend="simulated",
        model="",
        simulated=True,
        camera_connected=False,
        delivering=True,
        is_capturing=False,
        images_captured=1,
        error_count=0,
        interval=1.0,
        live_storage="ok",
        archive="ok",
        time_quality="assumed",
        last_frame=frame,
    )


def test_the_documented_object_speaks_to_the_daemon(appliance: Appliance) -> None:
    paths = appliance.layout.camera("default")
    paths.run.mkdir(parents=True)
    appliance.start()
    for number in range(3):
        appliance.record(put_capture(appliance.config, number))
    (paths.captures / make_sidecar(0).filename).with_suffix(".ack").touch()
    put_live(appliance.config, 5, **of_this_boot(120) if SystemClock().boottime_ns() > 130e9 else {})
    (paths.live / make_sidecar(5).filename).unlink()
    write_heartbeat(paths.heartbeat, beat_of(appliance.config, 1.0))
    manager = ImageSyncManager(config=appliance.config)

    status = manager.get_system_status()
    cleaned = manager.trigger_cleanup()

    assert set(status) == {
        "host_capture_healthy",
        "container_accessible",
        "latest_image_age",
        "disk_usage_percent",
        "images_in_queue",
        "error_alerts",
    }
    assert status["host_capture_healthy"] is True
    assert status["container_accessible"] is True
    assert 1.0 <= status["latest_image_age"] < 10.0
    assert 0 < status["disk_usage_percent"] <= 100
    assert status["images_in_queue"] == 2
    assert status["error_alerts"] == []
    assert cleaned == {"images_removed": 0, "metadata_removed": 1, "space_freed_mb": 0}
    appliance.until(lambda: appliance.beat.last_cleanup == {**cleaned, "refused": []})
    with pytest.raises(CameraInUseError):
        manager.start_monitoring()


def test_without_a_daemon_the_documented_object_looks_itself(appliance: Appliance) -> None:
    paths = appliance.layout.camera("default")
    manager = ImageSyncManager(config=appliance.config)
    nothing = manager.get_system_status()
    put_live(appliance.config, 1, **of_this_boot(5))
    put_capture(appliance.config, 2)

    status = manager.get_system_status()

    assert nothing["host_capture_healthy"] is False
    assert nothing["latest_image_age"] == math.inf
    assert "CAPTURE_NOT_RUNNING" in nothing["error_alerts"][0]
    assert 5 <= status["latest_image_age"] < 60
    assert status["images_in_queue"] == 1
    assert manager.trigger_cleanup() == {"images_removed": 0, "metadata_removed": 0, "space_freed_mb": 0}
    assert paths.live.exists()


def test_the_documented_object_runs_until_stopped(appliance: Appliance) -> None:
    manager = ImageSyncManager(config=appliance.config)
    thread = threading.Thread(target=manager.start_monitoring)

    thread.start()
    appliance.until(lambda: appliance.beat.catalog == "ok")
    recorded = appliance.record(put_capture(appliance.config, 1))
    manager.stop_monitoring()
    thread.join(10)

    assert recorded["recorded"]
    assert not thread.is_alive()


def run(appliance: Appliance, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "--config", str(appliance.file), *flags],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("daemon", [True, False])
def test_status_and_cleanup_are_printed_as_json(appliance: Appliance, daemon: bool) -> None:
    if daemon:
        appliance.start()

    status = run(appliance, "--status", "--json")
    cleaned = run(appliance, "--cleanup", "--json")

    facts = json.loads(status.stdout)
    assert (status.returncode, cleaned.returncode) == (0, 0)
    assert facts["latest_image_age"] is None
    assert facts["host_capture_healthy"] is False
    assert facts.get("catalog") == ("ok" if daemon else None)
    assert set(json.loads(cleaned.stdout)) == {"images_removed", "metadata_removed", "space_freed_mb"}


def test_a_bad_flag_is_one_clear_line(appliance: Appliance) -> None:
    bad = run(appliance, "--check-interval", "-5")

    assert bad.returncode == 78
    assert "check_interval" in bad.stderr
    assert "--check-interval" in bad.stderr
    assert "Traceback" not in bad.stderr


def test_a_condition_is_logged_once_when_it_breaks_and_once_when_it_heals(appliance: Appliance) -> None:
    paths = appliance.layout.camera("default")
    paths.run.mkdir(parents=True)
    appliance.start()
    appliance.until(lambda: "CAPTURE_NOT_RUNNING camera=default" in appliance.log.read_text())

    def beats() -> bool:
        write_heartbeat(paths.heartbeat, beat_of(appliance.config))
        return "CAPTURE_NOT_RUNNING_OVER camera=default" in appliance.log.read_text()

    appliance.until(beats)

    assert appliance.log.read_text().count("CAPTURE_NOT_RUNNING camera=default") == 1


def test_an_idle_manager_writes_nothing_into_the_places(appliance: Appliance) -> None:
    put_live(appliance.config, 1)
    put_capture(appliance.config, 1)
    appliance.start()
    appliance.until(lambda: len(appliance.live.page(ImageFilter()).rows) == 1)
    before = stamps(appliance.config)
    beat = appliance.beat.boottime_ns

    appliance.until(lambda: appliance.beat.boottime_ns > beat + 3e9)

    assert stamps(appliance.config) == before


def stamps(config: Config) -> dict[str, int]:
    Volume.open(config.archive_dir, "archive").check()
    return {
        str(path): path.stat().st_mtime_ns
        for root in (config.archive_dir, config.capture_dir, config.state_dir)
        for path in (root, *root.rglob("*"))
    }


def test_the_lock_is_the_one_others_ask_for(appliance: Appliance) -> None:
    with owned(appliance.layout.manager_lock, "the catalog"):
        second = run(appliance)

    assert second.returncode == 75

# SPDX-License-Identifier: MIT
"""The three programs that the role sends along: preflight, release, stop."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.requirements import require_root

CHECKOUT = Path(__file__).resolve().parents[2]
FILES = CHECKOUT / "roles" / "appliance" / "files"


def program(name: str) -> ModuleType:
    """Import a program of the role by its path."""
    spec = importlib.util.spec_from_file_location(f"role_{name}", FILES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


preflight = program("preflight")
release = program("release")


def asked(port: int) -> list[dict[str, object]]:
    return [{"key": "appliance_local_port", "host": "127.0.0.1", "port": port, "override": "LOCAL_PORT"}]


def test_a_port_that_is_taken_is_named_with_its_holder_and_another_one() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]

        problems = list(preflight.port_problems(asked(port), "/etc/fieldcam/fieldcam.toml"))

    assert len(problems) == 1
    assert f"port {port} is taken" in problems[0]
    assert f"pid {os.getpid()}" in problems[0]
    assert "make up LOCAL_PORT=" in problems[0]


def test_a_port_that_our_own_appliance_holds_is_free() -> None:
    listen = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); "
    listen += "sys.stdin.read()"
    environ = {"FIELDCAM_CONFIG": "/x/fieldcam.toml"}
    with subprocess.Popen(
        [sys.executable, "-c", listen], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())

        ours = list(preflight.port_problems(asked(port), "/x/fieldcam.toml"))
        others = list(preflight.port_problems(asked(port), "/y/fieldcam.toml"))

        holder.communicate()
    assert ours == []
    assert "the appliance of /x/fieldcam.toml" in others[0]


@pytest.mark.parametrize("value", ["", "abc", "0", "65536", "-1", "80.5"])
def test_a_port_that_is_no_port_is_said_to_be_none(value: str) -> None:
    problems = list(preflight.port_problems([{**asked(1)[0], "port": value}], "/x"))

    assert len(problems) == 1
    assert repr(value) in problems[0]


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "var").touch()

    problems = list(preflight.folder_problems({"appliance_run_dir": str(tmp_path / "var" / "run")}))

    assert len(problems) == 1
    assert f"{tmp_path / 'var'} is not a folder" in problems[0]


def test_a_folder_that_cannot_be_written_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root, as whom tests may run, is let in everywhere
    folders = {"appliance_run_dir": f"{tmp_path}/run", "appliance_log_dir": f"{tmp_path}/log"}

    problems = list(preflight.folder_problems(folders))

    assert len(problems) == 1
    assert f"appliance_run_dir: {tmp_path}/run cannot be written: {tmp_path} is not writable" in problems[0]


@pytest.mark.parametrize(
    "character", ['"', "'", "\\", ";", "#", "*", "?", "[", "]", "$", "`", ",", "\n", "\x00", "\x7f"]
)
def test_a_path_that_would_mean_something_in_a_configuration_file_is_refused(character: str) -> None:
    problems = list(preflight.path_problems({"appliance_log_dir": f"/var/a{character}b"}))

    assert len(problems) == 1
    assert "appliance_log_dir" in problems[0]


@pytest.mark.parametrize("path", ["/var/lib/x", "/home/jörg/my photos", "/a/50%", "/a+b=c@d~e"])
def test_a_path_that_people_have_is_accepted(path: str) -> None:
    assert list(preflight.path_problems({"appliance_log_dir": path})) == []


@pytest.mark.parametrize(("size", "is_fine"), [(70, True), (85, False)])
def test_a_run_dir_is_measured_by_its_longest_socket(size: int, *, is_fine: bool) -> None:
    run_dir = "/" + "r" * (size - 1)

    problems = list(preflight.socket_problems(run_dir, ["default"]))

    assert (problems == []) == is_fine


def test_photos_and_videos_are_known_by_their_first_bytes(photographs: list[Path], tmp_path: Path) -> None:
    shutil.copy(photographs[0], tmp_path / "no-suffix")
    (tmp_path / "movie.txt").write_bytes(b"\0\0\0\x20ftypisom\0\0\0\0")
    (tmp_path / "fake.jpg").write_bytes(b"hello, I am text")

    kinds = {file.name: preflight.kind_of(file) for file in tmp_path.iterdir()}

    assert kinds == {"no-suffix": "photo", "movie.txt": "video", "fake.jpg": None}


def test_a_folder_with_one_photo_among_other_files_will_do(photographs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    before = list(preflight.media_problems("k", str(tmp_path)))
    shutil.copy(photographs[0], tmp_path)

    after = list(preflight.media_problems("k", str(tmp_path)))

    assert "has no photo in it" in before[0]
    assert after == []


def test_a_camera_program_is_found_on_the_path_and_named_absolutely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "rpicam-still"
    monkeypatch.setenv("PATH", str(tmp_path))
    tools: dict[str, dict[str, str]] = {}
    cameras = {"default": {"backend": "rpicam"}}
    before = list(preflight.camera_problems(cameras, "default", {}, is_prepared=True))
    tool.write_text("#!/bin/sh\n", encoding="utf-8")
    tool.chmod(0o755)

    after = list(preflight.camera_problems(cameras, "default", tools, is_prepared=True))

    assert "'rpicam-still' is not a program on PATH" in before[0]
    assert after == []
    assert tools == {"default": {"rpicam_still": str(tool)}}


def test_too_little_room_is_said_in_numbers(tmp_path: Path) -> None:
    problems = list(preflight.room_problems(str(tmp_path / "opt"), 10**9, 10**9))

    assert len(problems) == 2
    assert "1000000000 MB are needed" in problems[0]


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A small project in the shape of this one."""
    root = tmp_path / "source"
    for name, text in {
        "pyproject.toml": '[project]\nname = "fieldcam"\nversion = "1.2.3"\n[build-system]\nrequires = ["setuptools"]\n'
        'build-backend = "setuptools.build_meta"\n[tool.setuptools.packages.find]\nwhere = ["appliance"]\n',
        "LICENSE": "MIT",
        "locks/host.txt": "# nothing\n",
        "appliance/fieldcam/__init__.py": "",
        "appliance/fieldcam/a.py": "A = 1\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def test_a_release_is_named_by_what_is_deployed_and_by_nothing_else(sources: Path) -> None:
    first = release.name_of(sources)
    (sources / "appliance/fieldcam/__pycache__").mkdir()
    (sources / "appliance/fieldcam/__pycache__/a.pyc").write_bytes(b"x")
    (sources / "README.md").write_text("words", encoding="utf-8")
    same = release.name_of(sources)
    (sources / "appliance/fieldcam/a.py").write_text("A = 2\n", encoding="utf-8")

    other = release.name_of(sources)

    assert first.startswith("1.2.3-")
    assert first == same != other


def test_the_wheel_is_built_once_and_the_sources_stay_clean(
    sources: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = sorted(sources.rglob("*"))
    name = release.name_of(sources)

    statuses = [release.build(sources, tmp_path / "build", name) for _ in range(2)]

    said = capfd.readouterr().out.splitlines()
    wheel = tmp_path / "build" / name / "fieldcam-1.2.3-py3-none-any.whl"
    assert statuses == [0, 0]
    assert said == [f"built {wheel}", f"kept {wheel}"]
    assert wheel.exists()
    assert sorted(sources.rglob("*")) == before


def test_sources_that_change_meanwhile_are_not_deployed_under_the_old_name(
    sources: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = release.name_of(sources)
    (sources / "appliance/fieldcam/a.py").write_text("A = 3\n", encoding="utf-8")

    status = release.build(sources, tmp_path / "build", name)

    assert status == 1
    assert "have changed" in capfd.readouterr().err


def test_stop_ends_a_supervisor_and_orphans_but_no_shell_with_the_same_setting(tmp_path: Path) -> None:
    config = str(tmp_path / "fieldcam.toml")
    stubborn = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); sys.stdin.read()"
    willing = "import sys; print(flush=True); sys.stdin.read()"
    ours = {"FIELDCAM_CONFIG": config, "APPLIANCE_REVISION": "x"}
    environments = {
        "supervisor": (willing, ours),
        "orphan": (willing, {**ours, "SUPERVISOR_ENABLED": "1"}),
        "shell": (willing, {"FIELDCAM_CONFIG": config}),
        "other": (stubborn, {**ours, "FIELDCAM_CONFIG": config + "2"}),
    }
    processes = {
        name: subprocess.Popen([sys.executable, "-c", code], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name, (code, env) in environments.items()
    }
    for process in processes.values():
        assert process.stdout is not None
        process.stdout.readline()

    said = subprocess.run([sys.executable, FILES / "stop.py", config], capture_output=True, text=True, check=False)
    again = subprocess.run([sys.executable, FILES / "stop.py", config], capture_output=True, text=True, check=False)

    ended = {name for name, process in processes.items() if process.poll() is not None}
    for process in processes.values():
        process.kill()
        process.communicate()
    assert (said.returncode, said.stdout) == (0, f"stopped: 2 processes of {config}\n")
    assert (again.returncode, again.stdout) == (0, f"nothing was running of {config}\n")
    assert ended == {"supervisor", "orphan"}


def test_stop_leaves_no_decoded_frame_and_touches_nothing_else(tmp_path: Path) -> None:
    ring = tmp_path / "ring"
    north = ring / "cameras" / "north"
    north.mkdir(parents=True)
    number = "0" * 17 + "123"
    for slot in (ring / f"main-{number}.slot", ring / f"lores-{number}.slot", north / f"main-{number}.slot"):
        slot.write_bytes(b"x")
    kept = {"readers.main", "main-1.slot", f"other-{number}.slot", f"main-{number}.slot.bak"}
    for name in kept:
        (ring / name).write_bytes(b"x")
    (tmp_path / "elsewhere").write_bytes(b"x")
    (ring / f"main-{number[:-1]}9.slot").symlink_to(tmp_path / "elsewhere")
    config = tmp_path / "fieldcam.toml"
    config.write_text(f'ring_dir = "{ring}"\n', encoding="utf-8")

    said = subprocess.run([sys.executable, FILES / "stop.py", config], capture_output=True, text=True, check=False)

    assert (said.returncode, said.stderr) == (0, "")
    assert {path.name for path in ring.iterdir()} == kept | {"cameras", f"main-{number[:-1]}9.slot"}
    assert list(north.iterdir()) == []
    assert (tmp_path / "elsewhere").read_bytes() == b"x"


@pytest.mark.parametrize("text", [None, "not = [toml", "ring_dir = 5", 'ring_dir = "/nowhere/at/all"', "x = 1"])
def test_stop_does_without_a_configuration_that_names_a_ring(tmp_path: Path, text: str | None) -> None:
    config = tmp_path / "fieldcam.toml"
    if text is not None:
        config.write_text(text, encoding="utf-8")

    said = subprocess.run([sys.executable, FILES / "stop.py", config], capture_output=True, text=True, check=False)

    assert (said.returncode, said.stderr) == (0, "")


def test_missing_accounts_and_memberships_are_named_with_the_role_that_makes_them() -> None:
    accounts = {"root": ["root", "no-such-group", "daemon"], "no-such-user": ["root"]}

    problems = list(preflight.account_problems(accounts))

    assert [problem.partition(";")[0] for problem in problems] == [
        "group no-such-group is missing",
        "user root is not in group daemon",
        "user no-such-user is missing",
    ]
    assert all("--tags users" in problem for problem in problems)


def test_a_place_without_its_marker_is_named_with_the_role_that_makes_it(tmp_path: Path) -> None:
    (tmp_path / "swapped").mkdir()
    (tmp_path / "swapped" / ".fieldcam-volume").write_text('{"id": "1", "kind": "handoff"}', encoding="utf-8")
    places = {
        "appliance_capture_dir": [str(tmp_path / "swapped"), "handoff"],
        "appliance_archive_dir": [str(tmp_path / "swapped"), "archive"],
        "appliance_other_dir": [str(tmp_path / "bare"), "archive"],
    }

    problems = list(preflight.place_problems(places))

    assert len(problems) == 2
    assert "appliance_archive_dir" in problems[0]
    assert "of kind 'handoff', not 'archive'" in problems[0]
    assert "is its disk mounted?" in problems[1]
    assert "--tags storage" in problems[1]


def test_a_process_of_an_older_release_is_known_by_the_name_it_had(tmp_path: Path) -> None:
    assert preflight.appliance_of({"FIELDCAM_CONFIG": "/old"}) == "/old"
    assert preflight.appliance_of({"FIELDCAM_CONFIG": "/deployment", "APPLIANCE_CONFIG": "/etc"}) == "/etc"


@pytest.mark.parametrize("name", ["FIELDCAM_CONFIG", "APPLIANCE_CONFIG"])
def test_stop_knows_an_appliance_by_either_name(tmp_path: Path, name: str) -> None:
    config = str(tmp_path / "fieldcam.toml")
    environ = {"FIELDCAM_CONFIG": "/another", name: config, "APPLIANCE_REVISION": "x"}
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], env=environ, stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()

        said = subprocess.run([sys.executable, FILES / "stop.py", config], capture_output=True, text=True, check=False)

    assert said.stdout == f"stopped: 1 processes of {config}\n"


def test_what_one_user_left_is_given_to_the_users_of_now_and_links_are_not_followed(tmp_path: Path) -> None:
    require_root()
    place, elsewhere = tmp_path / "archive", tmp_path / "elsewhere"
    (place / "captures").mkdir(parents=True)
    elsewhere.write_text("x", encoding="utf-8")
    elsewhere.chmod(0o600)
    for name in ("catalog.db", "captures/a.jpg", ".fieldcam-volume"):
        (place / name).write_text("x", encoding="utf-8")
        (place / name).chmod(0o644)
    (place / "captures" / "link").symlink_to(elsewhere)
    asked = [{"path": str(place), "user": "daemon", "group": "daemon", "kind": "store"},
             {"path": str(tmp_path / "nowhere"), "user": "daemon", "group": "daemon", "kind": "own"}]  # fmt: skip

    said = [
        subprocess.run(
            [sys.executable, FILES / "give.py", json.dumps(asked)], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]

    modes = {str(path.relative_to(place)): oct(path.lstat().st_mode & 0o7777) for path in place.rglob("*")}
    assert said == ["given: 5\n", "given: 0\n"]
    assert {path.lstat().st_uid for path in place.rglob("*")} == {1}
    assert modes == {
        "captures": "0o2775", "captures/a.jpg": "0o664", "catalog.db": "0o664", ".fieldcam-volume": "0o644",
        "captures/link": "0o777",
    }  # fmt: skip
    assert (elsewhere.stat().st_uid, oct(elsewhere.stat().st_mode & 0o777)) == (0, "0o600")

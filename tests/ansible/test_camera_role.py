# SPDX-License-Identifier: MIT
"""The role `camera`: what a host cannot have is said first, and no value adds a rule or a section."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.ansible.conftest import CHECKOUT, play, render_role
from tests.requirements import require

ROLE = CHECKOUT / "roles" / "camera"


def module_of(file: Path) -> ModuleType:
    """Import one of the programs that roles send to a host."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- files/look.py


def look(path: Path | None = None, **asked: Any) -> dict[str, Any]:
    """Run it as the role does; `path` is put before PATH."""
    defaults = {
        "cameras": {"default": {"backend": "replay"}}, "packages": [], "boot_lines": [], "user": "root", "media": [],
        "media_dir": "/var/lib/fieldcam-media", "is_check": False,
    }  # fmt: skip
    said = subprocess.run(
        [sys.executable, "-", json.dumps(defaults | asked)],
        input=(ROLE / "files" / "look.py").read_text(encoding="utf-8"),
        env=os.environ | {"PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)
    return found


@pytest.fixture
def on_path(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def put(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


NO_PACKAGE = "case $1 in policy) echo '  Candidate: (none)';; esac"


def test_a_host_whose_sources_have_no_camera_stack_is_told_what_it_can_have(on_path: Path) -> None:
    put(on_path, "apt-cache", NO_PACKAGE)
    put(on_path, "dpkg-query", "exit 1")

    found = look(on_path, cameras={"north": {}}, packages=["rpicam-apps-lite", "imx500-all"])

    assert found["packages"] == []
    assert "appliance_cameras.north.backend: rpicam needs rpicam-apps-lite" in found["problems"][0]
    assert "replay or simulated" in found["problems"][0]
    assert "imx500-all is wanted" in found["problems"][1]


def test_what_is_offered_is_what_the_program_knows_besides_rpicam() -> None:
    known = module_of(CHECKOUT / "roles" / "appliance" / "files" / "preflight.py").BACKENDS

    offered = module_of(ROLE / "files" / "look.py").ELSEWHERE.replace(" or ", ", ").split(", ")

    assert set(offered) == set(known) - {"rpicam", "picamera2", "pixelink"}


def test_what_a_source_has_is_installed(on_path: Path) -> None:
    put(on_path, "apt-cache", "echo '  Candidate: 1.9'")
    put(on_path, "dpkg-query", "exit 1")

    found = look(on_path, cameras={"north": {}}, packages=["rpicam-apps-lite"])

    assert (found["packages"], found["problems"]) == (["rpicam-apps-lite"], [])


def test_a_camera_stack_that_was_built_by_hand_is_taken(on_path: Path) -> None:
    put(on_path, "apt-cache", NO_PACKAGE)
    put(on_path, "dpkg-query", "exit 1")
    put(on_path, "rpicam-still", "exit 0")

    found = look(on_path, cameras={"north": {}}, packages=["rpicam-apps-lite"])

    assert (found["packages"], found["problems"]) == ([], [])


def test_settings_of_the_firmware_need_a_firmware() -> None:
    require(not Path("/boot/firmware/config.txt").exists() and not Path("/boot/config.txt").exists(), "needs no Pi")

    (problem,) = look(boot_lines=["dtoverlay=imx477"])["problems"]

    assert "dtoverlay=imx477" in problem
    assert "there is none" in problem


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        ({"backend": "simulated"}, "no camera of that name has the backend replay"),
        ({"backend": "replay", "media": "/srv/photos"}, "set it to /var/lib/fieldcam-media/default"),
        ({"backend": "replay"}, "set it to /var/lib/fieldcam-media/default"),
        ({"backend": "replay", "media": "/var/lib/fieldcam-media/default-2"}, "set it to"),
    ],
)
def test_media_go_where_the_camera_looks_for_them(camera: dict[str, str], words: str) -> None:
    (problem,) = look(cameras={"default": camera}, media=["default"])["problems"]

    assert words in problem


@pytest.mark.parametrize("media", ["/var/lib/fieldcam-media/default", "/var/lib/fieldcam-media/default/day.mp4"])
def test_a_folder_or_a_video_in_it_is_fine(media: str) -> None:
    assert look(cameras={"default": {"backend": "replay", "media": media}}, media=["default"])["problems"] == []


LISTED = """cat <<'END'
Available cameras
-----------------
0 : imx477 [4056x3040 12-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx477@1a)
    Modes: 'SRGGB10_CSI2P' : 1332x990 [120.00 fps - (696, 528)/2664x1980 crop]
END"""


@pytest.mark.parametrize(
    ("script", "device", "words"),
    [
        (LISTED, 0, None),
        (LISTED, 1, "camera 1 is not among the 1"),
        ("echo 'No cameras available!'", 0, "camera 0 is not among the 0"),
        ("echo 'ERROR: *** no camera manager ***' >&2; exit 255", 0, "no camera manager"),
    ],
)
def test_cameras_that_are_missing_are_named(script: str, device: int, words: str | None, on_path: Path) -> None:
    put(on_path, "rpicam-hello", script)

    found = look(on_path, cameras={"north": {"device_id": device}}, verify=True)

    assert found["notes"] == [] if words is None else words in found["notes"][0]


def test_a_user_outside_the_groups_of_the_devices_is_a_fault() -> None:
    assert "no user 'nobody-of-ours'" in look(user="nobody-of-ours", verify=True)["problems"][0]
    assert any("not in the group video" in problem for problem in look(user="daemon", verify=True)["problems"])


# --- files/pack.py


def pack(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROLE / "files" / "pack.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_equal_media_have_equal_names_and_changed_ones_another(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub" / "one.jpg").write_bytes(b"one")
        (tmp_path / folder / "two.jpg").write_bytes(b"two")
    (tmp_path / "b" / ".hidden").write_bytes(b"not sent")

    before = [pack("name", tmp_path / folder).stdout for folder in ("a", "b")]
    (tmp_path / "b" / "two.jpg").write_bytes(b"three")
    after = pack("name", tmp_path / "b").stdout

    assert before[0] == before[1] != after


def test_what_is_packed_is_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "a photo \u00e9.jpg").write_bytes(b"x" * 1000)

    first, second = pack("pack", tmp_path / "in", tmp_path / "out"), pack("pack", tmp_path / "in", tmp_path / "out")

    assert first.stdout == second.stdout
    with tarfile.open(first.stdout.strip()) as archive:
        assert archive.getnames() == ["sub/a photo \u00e9.jpg"]
        assert {(entry.uid, entry.mtime, oct(entry.mode)) for entry in archive} == {(0, 0, "0o644")}
    assert [file.suffix for file in (tmp_path / "out").iterdir()] == [".tar"]


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_without_media_it_says_so(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    said = pack("name", tmp_path / name)

    assert said.returncode == 1
    assert str(tmp_path / name) in said.stderr


# --- what is rendered, and what is refused


def checks() -> list[dict[str, Any]]:
    """Return the tasks that look at what is written into files."""
    tasks = yaml.safe_load((ROLE / "tasks" / "preflight.yml").read_text(encoding="utf-8"))
    found = [task for task in tasks if "are what they seem" in task["name"]]
    assert len(found) == 2
    return found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("camera_overlays", ["imx477\n[pi4]"]),
        ("camera_overlays", ["imx477 #"]),
        ("camera_config_txt", ["[all]"]),
        ("camera_config_txt", ["x" * 120]),
        ("camera_config_txt", ["a=1\nb=2"]),
        ("camera_udev_names", {"cam": 'x", RUN+="/bin/sh'}),
        ("camera_udev_names", {"cam": "*"}),
        ("camera_udev_names", {"../video0": "1"}),
        ("camera_usb_vendors", ["1996\n"]),
        ("camera_usb_vendors", ["*"]),
        ("camera_usbfs_memory_mb", 5000),
        ("camera_media_dir", "/var/lib/../etc"),
        ("camera_media_dir", "relative"),
        ("camera_pixelink_sdk", "/tmp/sdk.zip"),
        ("camera_pixelink_sdk", "/tmp/sdk.deb"),  # without its SHA-256
        ("camera_pixelink_sdk_lib", "../../etc"),
        ("camera_pixelink_sdk_dir", "/opt/a b"),
        ("camera_replay_media", {"../etc": "/tmp"}),
        ("camera_reboot_timeout", 1),
    ],
)
def test_values_that_would_change_a_file_are_refused_by_name(name: str, value: Any, tmp_path: Path) -> None:
    run = play(ROLE, checks(), tmp_path, **{name: value})

    assert run.status == 2
    assert name in run.output
    assert "Traceback" not in run.output


def test_the_defaults_and_good_values_are_allowed(tmp_path: Path) -> None:
    good: dict[str, Any] = {
        "camera_overlays": ["imx519,cam0", "vc4-kms-v3d"], "camera_config_txt": ["dtparam=i2c_arm=on", "gpu_mem=128"],
        "camera_udev_names": {"microscope": "SN_08.15-a"}, "camera_usb_vendors": ["2bdf"],
        "camera_pixelink_sdk": "/tmp/sdk.tar.gz", "camera_pixelink_sdk_sha256": "0" * 64,
    }  # fmt: skip

    for inputs in ({}, good):
        run = play(ROLE, checks(), tmp_path, **inputs)
        assert run.status == 0, run.output


def render(tmp_path: Path, name: str, **inputs: Any) -> Path:
    return render_role(ROLE, {name: Path(name).name}, tmp_path, **inputs) / Path(name).name


def rules(tmp_path: Path, **inputs: Any) -> list[str]:
    lines = render(tmp_path, "etc/udev/rules.d/70-fieldcam.rules", **inputs).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_a_usb_camera_has_a_name_that_stays_and_pixelink_cameras_are_for_the_group_video(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        camera_udev_names={"microscope": "SN0815"},
        appliance_cameras={"default": {"backend": "pixelink"}, "other": {}},
        camera_usb_vendors=["2BDF"],
    )

    assert re.search(r'ID_SERIAL_SHORT}=="SN0815".*SYMLINK\+="fieldcam/microscope"', found[0])
    assert [re.findall(r'idVendor}=="(\w+)"', line) for line in found[1:]] == [["1996"], ["2bdf"]]
    assert all('GROUP="video", MODE="0660"' in line for line in found[1:])


def test_each_rule_is_keys_and_values_and_nothing_else(tmp_path: Path) -> None:
    # Where udev can check rules (since 254) the role lets it, before they land.
    key = r'[A-Z]+({\w+})?(==|\+=|=)"[^"]*"'

    found = rules(tmp_path, camera_udev_names={"a": "1", "b": "x:2"}, camera_usb_vendors=["1996"])

    assert len(found) == 3
    assert [line for line in found if not re.fullmatch(rf"{key}(, {key})*", line)] == []


@pytest.mark.parametrize(
    ("inputs", "lines"),
    [
        ({}, []),
        ({"camera_auto_detect": False, "camera_overlays": ["imx477"]}, ["camera_auto_detect=0", "dtoverlay=imx477"]),
        ({"camera_auto_detect": True, "camera_config_txt": ["a=1"]}, ["camera_auto_detect=1", "a=1"]),
    ],
)
def test_what_is_to_be_in_config_txt(inputs: dict[str, Any], lines: list[str], tmp_path: Path) -> None:
    show = {"ansible.builtin.copy": {"content": "{{ __camera_boot_lines | to_json }}", "dest": str(tmp_path / "out")}}

    run = play(ROLE, [show], tmp_path, **inputs)

    assert run.status == 0, run.output
    assert json.loads((tmp_path / "out").read_text()) == lines


@pytest.mark.parametrize(
    ("cameras", "packages"),
    [
        ({"default": {"backend": "rpicam"}}, ["rpicam-apps-lite"]),
        ({"default": {}}, ["rpicam-apps-lite"]),
        ({"default": {"backend": "rpicam", "rpicam_still": "/opt/rpicam/bin/rpicam-still"}}, []),
        ({"default": {"backend": "simulated"}}, []),
        ({"default": {"backend": "simulated"}, "b": {"backend": "picamera2"}}, ["python3-picamera2"]),
    ],
)
def test_packages_follow_from_the_backends(cameras: dict[str, Any], packages: list[str], tmp_path: Path) -> None:
    content = "{{ __camera_wanted_packages | to_json }}"
    show = {"ansible.builtin.copy": {"content": content, "dest": str(tmp_path / "out")}}

    run = play(ROLE, [show], tmp_path, appliance_cameras=cameras)

    assert run.status == 0, run.output
    assert json.loads((tmp_path / "out").read_text()) == packages

# SPDX-License-Identifier: MIT
"""The role `consumers`: its compose file has every limit of the shipped one, whatever a program's settings say; what is
wrong is said before anything is changed; and a container counts as working only when its program says so.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import tarfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import yaml

from tests.ansible.conftest import CHECKOUT, keeping, play, preflight, render_role
from tests.docker.consumers import SERVICES

ROLE = CHECKOUT / "roles" / "consumers"
SHIPPED = CHECKOUT / "appliance" / "container" / "compose.yaml"
FOUND = {
    "docker": True, "compose": ["/usr/bin/docker", "compose"], "memory": True, "pids": True, "gid": 990,
    "problems": [], "containers": [], "volumes": {},
}  # fmt: skip
FILES = {
    "etc/fieldcam/consumers/compose.yaml": "compose.yaml",
    "etc/fieldcam/consumers/.env": ".env",
    "etc/systemd/system/fieldcam-consumers.service": "fieldcam-consumers.service",
    "etc/systemd/system/docker.service.d/fieldcam-handoff.conf": "fieldcam-handoff.conf",
}


def program(name: str) -> ModuleType:
    """Import one of the programs of the role."""
    spec = importlib.util.spec_from_file_location(f"consumers_{name}", ROLE / "files" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


look, context = program("look"), program("context")


def render(scratch: Path, **inputs: Any) -> Path:
    given = {"__consumers_found": FOUND, "consumers_services": [*SERVICES]} | inputs
    volumes = keeping("'volumes.json'", "__consumers_volumes | to_json")
    variables = {"__consumers_tag": {"stdout": "0.1.0-abc"}}
    return render_role(ROLE, FILES, scratch, more=[volumes], variables=variables, **given)


def compose(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


def variables(folder: Path) -> dict[str, str]:
    lines = (folder / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("consumers"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is rendered with a program of one's own whose values are hostile, on a kernel that limits nothing."""
    nasty = "a\"b'c\\d ${HOME} $$x #y: {z} \u00e9"
    return render(
        tmp_path_factory.mktemp("consumers"),
        __consumers_found=FOUND | {"memory": False, "pids": False},
        consumers_services=["sky-analysis", "mine", "other"],
        consumers_image_source="archive",
        consumers_image_archive="/a.tar",
        consumers_image_archive_sha256="a" * 64,
        consumers_programs={
            "sky-analysis": {"environment": {"SKY_REGION": "0,0,1,1"}},
            "mine": {"image": "mine:1", "command": ["python", "-c", nasty], "environment": {"NASTY": nasty}},
            "other": {"archive": "/b.tar", "archive_sha256": "b" * 64, "memory": "64m", "network": "bridge"},
            "unused": {"image": "unused:1"},
        },
    )


def shipped() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    return loaded


class TestTheComposeFile:
    @pytest.mark.parametrize("service", SERVICES)
    def test_says_of_a_shipped_service_what_the_shipped_one_says(self, rendered: Path, service: str) -> None:
        made, wanted = compose(rendered), shipped()
        mine, theirs = made["services"][service], wanted["services"][service]

        def mounts(content: dict[str, Any], settings: dict[str, Any]) -> list[tuple[Any, ...]]:
            return [
                (one["type"], one["target"], one["volume"], content["volumes"][one["source"]]["driver_opts"]["o"])
                for one in settings["volumes"]
            ]

        assert {key: value for key, value in mine.items() if key != "volumes"} == {
            key: value for key, value in theirs.items() if key != "volumes"
        }
        assert mounts(made, mine) == mounts(wanted, theirs)

    def test_has_volumes_for_each_service_alone_and_results_in_its_own_folder(self, rendered: Path) -> None:
        made = compose(rendered)
        sources = [one["source"] for each in made["services"].values() for one in each["volumes"]]

        assert len(sources) == len(set(sources)) == len(made["volumes"]) == 3 * len(SERVICES)
        for service in SERVICES:
            device = made["volumes"][f"{service}-results"]["driver_opts"]["device"]
            assert device == f"${{CAMERA_RESULTS_DIR}}/{service}"

    def test_gives_a_program_of_ones_own_every_limit(self, own: Path) -> None:
        made, limits = compose(own)["services"], shipped()["x-consumer"]
        changed = {"image", "network_mode", "mem_limit", "pids_limit"}

        for name in ("mine", "other"):
            assert {key: made[name][key] for key in set(limits) - changed} == {
                key: limits[key] for key in set(limits) - changed
            }
        assert made["mine"]["network_mode"] == "none"
        assert made["other"]["network_mode"] == "bridge"
        assert "unused" not in made

    def test_leaves_out_what_the_kernel_cannot_limit_and_nothing_else(self, rendered: Path, own: Path) -> None:
        full = compose(rendered)["services"]["sky-analysis"]
        less = compose(own)["services"]["sky-analysis"]

        assert set(full) - set(less) == {"mem_limit", "pids_limit"}

    def test_no_value_is_a_variable_or_changes_the_structure(self, own: Path) -> None:
        mine = compose(own)["services"]["mine"]
        nasty = "a\"b'c\\d $${HOME} $$$$x #y: {z} \u00e9"

        assert mine["environment"]["NASTY"] == nasty
        assert mine["command"] == ["python", "-c", nasty]
        assert compose(own)["services"]["sky-analysis"]["environment"]["SKY_REGION"] == "0,0,1,1"

    def test_takes_each_image_from_where_it_was_said(self, rendered: Path, own: Path) -> None:
        made = compose(own)["services"]

        assert variables(rendered)["CONSUMER_IMAGE"] == "fieldcam/consumer:0.1.0-abc"
        assert variables(own)["CONSUMER_IMAGE"] == "fieldcam/archive:" + "a" * 12
        assert made["sky-analysis"]["image"] == shipped()["x-consumer"]["image"]
        assert (made["mine"]["image"], made["other"]["image"]) == ("mine:1", "fieldcam/archive:" + "b" * 12)

    def test_finds_its_variables(self, rendered: Path) -> None:
        assert variables(rendered) == {
            "CONSUMER_IMAGE": "fieldcam/consumer:0.1.0-abc",
            "CONSUMER_USER": "10001:10001",
            "CONSUMER_MEMORY": "512m",
            "APPLIANCE_GID": "990",
            "CAMERA_CAPTURE_DIR": "/mnt/storage/camera_capture",
            "CAMERA_RING_DIR": "/mnt/storage/camera_ring",
            "CAMERA_RESULTS_DIR": "/mnt/storage/camera_results",
        }

    def test_volumes_are_expected_as_docker_tells_them(self, rendered: Path) -> None:
        expected = json.loads((rendered / "volumes.json").read_text(encoding="utf-8"))

        assert len(expected) == 3 * len(SERVICES)
        assert expected["fieldcam_sky-analysis-results"] == "/mnt/storage/camera_results/sky-analysis bind,private"
        options = "bind,ro,nosuid,nodev,noexec,private"
        assert expected["fieldcam_vehicle-counting-ring"] == f"/mnt/storage/camera_ring {options}"


def test_containers_start_after_the_hand_off_area_and_anew_with_it(rendered: Path) -> None:
    unit = (rendered / "fieldcam-consumers.service").read_text(encoding="utf-8")
    drop_in = (rendered / "fieldcam-handoff.conf").read_text(encoding="utf-8")

    assert "After=docker.service fieldcam-handoff.service" in unit
    assert "PartOf=fieldcam-handoff.service" in unit
    assert "WantedBy=multi-user.target fieldcam-handoff.service" in unit
    assert "Requires=docker.service" not in [line.strip() for line in unit.splitlines()]
    assert "After=fieldcam-handoff.service" in drop_in


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"consumers_services": ["Sky"]}, ["consumers_services", "names of services"]),
        ({"consumers_services": ["sky-analysis", "sky-analysis"]}, ["each once"]),
        ({"consumers_services": ["mine"]}, ["mine is neither shipped", "vehicle-counting"]),
        ({"consumers_programs": {"sky-analysis": {"privileged": True}}}, ["privileged is no setting"]),
        ({"consumers_programs": {"sky-analysis": {"command": "python x"}}}, ["list of words"]),
        ({"consumers_programs": {"sky-analysis": {"network": "host"}}}, ["none or bridge"]),
        ({"consumers_programs": {"sky-analysis": {"memory": "lots"}}}, ["512m"]),
        ({"consumers_programs": {"sky-analysis": {"environment": {"A=B": "1"}}}}, ["letters, digits", "A=B"]),
        ({"consumers_programs": {"sky-analysis": {"environment": {"A": "1\n2"}}}}, ["one line"]),
        ({"consumers_programs": {"sky-analysis": {"image": "x y"}}}, ["no name of an image"]),
        ({"consumers_image_source": "registry"}, ["consumers_image_source", "pull"]),
        ({"consumers_image_source": "pull", "consumers_image": "fieldcam/consumer:1"}, ["no digest"]),
        ({"consumers_image_source": "present"}, ["consumers_image: it is empty"]),
        ({"consumers_image_source": "archive", "consumers_image_archive": "/nowhere.tar"},
         ["consumers_image_archive", "/nowhere.tar", "does not exist"]),
        ({"consumers_uid": 0}, ["do not run as root"]),
        ({"consumers_results_dir": "results"}, ["absolute paths"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_changed(
    inputs: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    run = play(ROLE, [preflight(ROLE)], tmp_path / "a", **({"consumers_services": ["sky-analysis"]} | inputs))

    assert run.status == 2, run.output
    assert [word for word in words if word not in " ".join(run.output.split())] == []
    assert "Traceback" not in run.output
    assert "changed=0" in run.output


def test_an_archive_other_than_the_checked_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    file.write_bytes(b"layers")
    inputs: dict[str, Any] = {
        "consumers_services": ["mine"],
        "consumers_programs": {"mine": {"archive": str(file), "archive_sha256": "0" * 64}},
    }

    run = play(ROLE, [preflight(ROLE)], tmp_path / "a", **inputs)

    assert run.status == 2
    assert hashlib.sha256(b"layers").hexdigest() in run.output
    assert "mine: the archive" in " ".join(run.output.split())


class TestLooking:
    ASKED: ClassVar[dict[str, Any]] = {"services": ["sky"], "max_silence": 60.0, "uid": os.getuid()}
    WELL: ClassVar[dict[str, Any]] = {
        "service": "sky",
        "running": True,
        "health": "healthy",
        "said": [],
        "silence": 1.0,
    }

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({}, None),
            ({"health": "none"}, None),
            ({"running": False}, "does not run"),
            ({"health": "starting"}, "is starting: Docker has not looked yet"),
            ({"health": "unhealthy", "said": ["no heartbeat"]}, "is unhealthy: no heartbeat"),
            ({"silence": None}, "no sign of life yet"),
            ({"silence": 61.0}, "61.0 s ago"),
            ({"service": "other"}, "has no container"),
        ],
    )
    def test_a_service_works_when_its_program_says_so(self, change: dict[str, Any], words: str | None) -> None:
        said = [*look.waiting(self.ASKED, [self.WELL | change])]

        assert (said == []) if words is None else (len(said) == 1 and words in said[0])

    def test_a_sign_of_life_from_before_the_start_is_none(self, tmp_path: Path) -> None:
        beat = tmp_path / "heartbeat.json"
        assert look.silence(beat, "2026-01-01T00:00:00.123456789Z") is None
        beat.write_text("{}", encoding="utf-8")

        assert look.silence(beat, "2020-01-01T00:00:00.123456789Z") < 60
        later = time.strftime("%Y-%m-%dT%H:%M:%S.000000000Z", time.gmtime(time.time() + 60))
        assert look.silence(beat, later) is None

    def test_places_that_a_container_could_not_use_are_said(self, tmp_path: Path) -> None:
        asked = self.ASKED | {
            "consumers_capture_dir": str(tmp_path),
            "consumers_ring_dir": str(tmp_path / "ring"),
            "consumers_results_dir": str(tmp_path / "results"),
        }
        folder = tmp_path / "results" / "sky"

        missing = [*look.place_problems(asked)]
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        wrong = [*look.place_problems(asked)]
        folder.chmod(0o2770)
        right = [*look.place_problems(asked)]

        assert [problem.partition(":")[0] for problem in missing] == ["consumers_ring_dir", "consumers_services"]
        assert "mode 755" in wrong[1]
        assert len(right) == 1

    def test_a_container_of_this_mount_is_not_stale(self) -> None:
        assert look.sees_another(os.getpid(), "/nowhere") is False
        assert look.sees_another(os.getpid(), "/") is False  # this process sees no hand-off area at all

    def test_a_group_that_is_not_there_has_no_number(self) -> None:
        assert look.group_number("root") == 0
        assert look.group_number("no-such-group") is None


class TestTheBuildFolder:
    LOCK = CHECKOUT / "locks" / "container.txt"

    def test_the_tag_follows_base_and_lock(self) -> None:
        def tag(lock: str, base: str) -> str:
            return str(context.name_of(CHECKOUT, CHECKOUT / "locks" / lock, base))

        tags = {tag("container.txt", "sha256:a"), tag("container.txt", "sha256:b"), tag("vision.txt", "sha256:a")}

        assert len(tags) == 3
        assert tag("container.txt", "sha256:a") in tags

    def test_a_base_that_cannot_be_built_on_is_refused_in_the_words_of_the_tool(self) -> None:
        tool = context.load(CHECKOUT / "tools" / "container_image.py")

        with pytest.raises(tool.BuildError, match="glibc"):
            context.target_of(tool, '[3, 13, "aarch64", "", "", true]')
        with pytest.raises(tool.BuildError, match=r"3\.9"):
            context.target_of(tool, '[3, 9, "aarch64", "glibc", "2.36", true]')
        assert context.target_of(tool, '[3, 13, "aarch64", "glibc", "2.41", true]').machine == "aarch64"

    def test_it_is_packed_once_and_the_same_from_every_checkout(self, tmp_path: Path) -> None:
        tool = context.load(CHECKOUT / "tools" / "container_image.py")
        wheel = tmp_path / "fieldcam-0.1.0-py3-none-any.whl"
        wheel.write_bytes(b"wheel")
        tool.fetch_wheels = lambda *_: [wheel]
        tool.build_release = lambda *_: wheel
        answer = '[3, 13, "x86_64", "glibc", "2.41", true]'
        (tmp_path / "work").mkdir()
        (tmp_path / "work" / "context-old-3.11-x86_64-36.tar").touch()

        said, file = context.make(tool, self.LOCK, tmp_path / "work", "tag", answer)
        first = file.read_bytes()
        again, _ = context.make(tool, self.LOCK, tmp_path / "work", "tag", answer)
        file.unlink()
        _, other = context.make(tool, self.LOCK, tmp_path / "work", "tag", answer)

        assert (said, again) == ("made", "kept")
        assert other.read_bytes() == first
        assert [path.name for path in (tmp_path / "work").iterdir()] == [file.name]
        with tarfile.open(file) as tar:
            members = {member.name: member for member in tar}
        assert {"./Dockerfile", "./requirements.txt", "./SHA256SUMS", "./services/sky_analysis.py"} <= set(members)
        assert {(one.uid, one.uname, one.mtime) for one in members.values()} == {(0, "root", 0)}

    def test_it_is_told_from_a_folder_that_is_no_checkout(self, tmp_path: Path) -> None:
        with pytest.raises((SystemExit, FileNotFoundError)):
            context.load(tmp_path / "tools" / "container_image.py")
        assert "container_image" in sys.modules

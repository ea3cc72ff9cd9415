# SPDX-License-Identifier: MIT
"""files/deployments.py: what is deployed, what may be returned to, what goes, and what an older layout left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.test_role_programs import program

deployments = program("deployments")


def deploy(install: Path, release: str, number: int, *, verified: int = 0, failed: str = "") -> str:
    """Make a deployment as the role does and return its name."""
    revision = f"{release}-{number:010d}"
    folder = install / "deployments" / revision
    folder.mkdir(parents=True)
    (install / "releases" / release / "venv").mkdir(parents=True, exist_ok=True)
    (folder / "venv").symlink_to(f"../../releases/{release}/venv")
    if verified:
        (folder / "verified").write_text(f"{verified}\n", encoding="utf-8")
    if failed:
        (folder / "failed").write_text(failed, encoding="utf-8")
    return revision


def point(install: Path, target: str) -> None:
    (install / "current").unlink(missing_ok=True)
    (install / "current").symlink_to(target)


def show(install: Path, keep: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = deployments.show(install, keep)
    return found


def test_a_host_without_anything_has_nothing(tmp_path: Path) -> None:
    found = show(tmp_path / "opt", 3)

    assert (found["current"], found["previous"], found["obsolete"], found["next_stamp"]) == (None, None, [], 1)


def test_the_one_before_is_the_newest_other_one_that_served(tmp_path: Path) -> None:
    first = deploy(tmp_path, "1.0-a", 1, verified=1)
    second = deploy(tmp_path, "1.0-b", 2, verified=2)
    third = deploy(tmp_path, "1.0-c", 3, failed="no frames")
    point(tmp_path, f"deployments/{third}")

    found = show(tmp_path)

    assert (found["current"], found["is_verified"], found["previous"]) == (third, False, second)
    assert [one["revision"] for one in found["deployments"]] == [second, first, third]
    assert found["deployments"][-1] == {"revision": third, "release": "1.0-c", "verified": 0, "failed": "no frames"}
    assert found["next_stamp"] == 3


def test_one_that_was_returned_to_is_newer_than_the_one_it_replaced(tmp_path: Path) -> None:
    first = deploy(tmp_path, "1.0-a", 1, verified=3)
    second = deploy(tmp_path, "1.0-b", 2, verified=2)
    third = deploy(tmp_path, "1.0-c", 3)
    point(tmp_path, f"deployments/{third}")

    assert show(tmp_path)["previous"] == first
    point(tmp_path, f"deployments/{first}")
    assert show(tmp_path)["previous"] == second


def test_one_that_served_before_another_did_has_to_prove_itself_again(tmp_path: Path) -> None:
    """Else the one after it, when it is broken, would be taken back to the one in between."""
    first = deploy(tmp_path, "1.0-a", 1, verified=1)
    second = deploy(tmp_path, "1.0-b", 2, verified=2)
    point(tmp_path, f"deployments/{first}")

    found = show(tmp_path)

    assert (found["is_verified"], found["previous"], found["next_stamp"]) == (False, second, 3)


@pytest.mark.parametrize("keep", [1, 2, 3, 9])
def test_the_current_one_the_one_before_and_their_releases_never_go(tmp_path: Path, keep: int) -> None:
    names = [deploy(tmp_path, f"1.0-{n}", n, verified=n) for n in range(1, 6)]
    failed = deploy(tmp_path, "1.0-6", 6, failed="x")
    (tmp_path / "releases" / "1.0-unfinished").mkdir()
    point(tmp_path, f"deployments/{names[1]}")

    gone = show(tmp_path, keep)["obsolete"]

    kept = {names[1], names[4]} | set({1: [], 2: [], 3: [names[3]], 9: [*names, failed]}[keep])
    assert {name for name in gone if name.startswith("dep")} == {f"deployments/{n}" for n in {*names, failed} - kept}
    assert "releases/1.0-2" not in gone
    assert "releases/1.0-5" not in gone
    assert "releases/1.0-unfinished" in gone


def test_a_release_that_two_deployments_share_stays_for_the_one_that_stays(tmp_path: Path) -> None:
    old = deploy(tmp_path, "1.0-a", 1, verified=1)
    new = deploy(tmp_path, "1.0-a", 2, verified=2)
    deploy(tmp_path, "1.0-a", 3)
    point(tmp_path, f"deployments/{new}")

    assert show(tmp_path, 2)["obsolete"] == ["deployments/1.0-a-0000000003"]
    assert show(tmp_path, 2)["previous"] == old


@pytest.mark.parametrize("stamp", ["", "x", "-1", "\udcff"])
def test_a_stamp_that_is_none_does_not_count(tmp_path: Path, stamp: str) -> None:
    name = deploy(tmp_path, "1.0-a", 1)
    (tmp_path / "deployments" / name / "verified").write_bytes(stamp.encode(errors="surrogateescape"))

    assert show(tmp_path)["deployments"][0]["verified"] == 0


@pytest.mark.parametrize("target", ["deployments/gone", "../etc", "/tmp", "releases/1.0-a"])
def test_a_link_to_somewhere_else_is_no_deployment(tmp_path: Path, target: str) -> None:
    deploy(tmp_path, "1.0-a", 1, verified=1)
    point(tmp_path, target)

    assert show(tmp_path, 1)["current"] is None
    assert show(tmp_path, 1)["obsolete"] == []


@pytest.fixture
def old_layout(tmp_path: Path) -> tuple[Path, Path]:
    """What releases without deployments left: the configuration in the release, supervisord's files beside."""
    install, config = tmp_path / "opt", tmp_path / "etc"
    release = install / "releases" / "0.1.0-abc"
    (release / "venv" / "bin").mkdir(parents=True)
    (release / "fieldcam.toml").write_text("port = 1\n", encoding="utf-8")
    (config / "conf.d").mkdir(parents=True)
    (config / "supervisord.conf").write_text("[supervisord]\n", encoding="utf-8")
    (config / "conf.d" / "capture-api.conf").write_text("[program:capture-api]\n", encoding="utf-8")
    point(install, "releases/0.1.0-abc")
    return install, config


def test_what_an_older_layout_left_becomes_a_deployment_that_can_be_returned_to(
    old_layout: tuple[Path, Path],
) -> None:
    install, config = old_layout

    assert deployments.adopt(install, config) is True
    assert deployments.adopt(install, config) is False

    made = install / "deployments" / "0.1.0-abc-adopted"
    assert os.fspath((install / "current").readlink()) == "deployments/0.1.0-abc-adopted"
    assert (made / "venv").resolve() == install / "releases" / "0.1.0-abc" / "venv"
    assert sorted(path.name for path in made.iterdir()) == [
        "conf.d", "environment", "fieldcam.toml", "supervisord.conf", "venv", "verified",
    ]  # fmt: skip
    assert f"FIELDCAM_CONFIG={config}/fieldcam.toml" in (made / "environment").read_text(encoding="utf-8")
    assert show(install)["is_verified"] is True


def test_an_older_layout_that_was_never_finished_is_left_alone(old_layout: tuple[Path, Path]) -> None:
    install, config = old_layout
    (config / "supervisord.conf").unlink()

    assert deployments.adopt(install, config) is False
    assert os.fspath((install / "current").readlink()) == "releases/0.1.0-abc"

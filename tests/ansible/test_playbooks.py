# SPDX-License-Identifier: MIT
"""The playbooks as they are typed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.ansible.conftest import CHECKOUT, ansible

PLAYBOOKS = sorted(file.stem for file in (CHECKOUT / "playbooks").glob("*.yml"))


@pytest.mark.parametrize("inventory", ["inventory/local", "inventory/example"])
def test_all_playbooks_pass_the_syntax_check_with_both_inventories(inventory: str, tmp_path: Path) -> None:
    files = ["site.yml", *(f"playbooks/{name}.yml" for name in PLAYBOOKS)]

    run = ansible(*files, "-i", inventory, "--syntax-check", scratch=tmp_path)

    assert run.status == 0, run.output
    assert "WARNING" not in run.output


def test_without_an_inventory_the_playbook_explains_itself(tmp_path: Path) -> None:
    run = ansible("site.yml", scratch=tmp_path)

    assert run.status != 0
    assert "make up" in run.output
    assert "-i inventory/local" in run.output
    assert "WARNING" not in run.output


def test_playbooks_are_named_for_what_they_do() -> None:
    assert [
        name for name in PLAYBOOKS if name != "site" and "_" not in name and name not in {"backup", "restore"}
    ] == []


def test_playbooks_have_nothing_but_roles_and_imports() -> None:
    for file in [CHECKOUT / "site.yml", *(CHECKOUT / "playbooks").glob("*.yml")]:
        for play in yaml.safe_load(file.read_text(encoding="utf-8")):
            assert not {"pre_tasks", "post_tasks", "handlers", "vars"} & set(play), file
            assert all("ansible.builtin.import_role" in task for task in play.get("tasks", [])), file


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Return a folder whose path leaves room for the names of sockets."""
    folder = Path(tempfile.mkdtemp(prefix="fc-"))
    yield folder
    shutil.rmtree(folder)


def test_check_mode_passes_on_an_untouched_machine_and_leaves_it_untouched(short_path: Path, tmp_path: Path) -> None:
    home = short_path / "var"
    environ = {"VAR": str(home), "LOCAL_PORT": "48601", "PORT": "48602"}

    run = ansible("site.yml", "-i", "inventory/local", "--check", scratch=tmp_path, environ=environ)

    assert run.status == 0, run.output
    assert not home.exists()


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"CAMERA": "webcam"}, ["'webcam'", "simulated", "CAMERA="]),
        ({"CAMERA": "replay"}, ["media is missing", "MEDIA="]),
        ({"MEDIA": "nowhere"}, ["nowhere does not exist", "MEDIA="]),
        ({"MEDIA": "/{{ 7 * 7 }}"}, ["/{{ 7 * 7 }} does not exist"]),
        ({"LOCAL_PORT": "70000"}, ["appliance_local_port", "70000"]),
        ({"CONSUMERS": "sky, ../etc"}, ["appliance_consumers", "../etc", "CONSUMERS="]),
        ({"VAR": "/tmp/a;b"}, ["appliance_run_dir", "';'"]),
        ({"VAR": "/tmp/a\nb"}, ["appliance_run_dir", "cannot be used"]),
        ({"VAR": "/tmp/" + "long" * 30}, ["appliance_run_dir", "107"]),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_changed(
    environ: dict[str, str], words: list[str], short_path: Path, tmp_path: Path
) -> None:
    given = {"VAR": str(short_path / "var"), "LOCAL_PORT": "48603", "PORT": "48604"} | environ

    run = ansible("site.yml", "-i", "inventory/local", scratch=tmp_path, environ=given)

    assert run.status == 2
    assert [word for word in words if word not in run.output] == []
    assert "Traceback" not in run.output
    assert not (short_path / "var").exists()


def test_media_are_meant_from_where_the_command_was_typed(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    environ = {"VAR": str(tmp_path / "var"), "LOCAL_PORT": "48605", "PORT": "48606", "MEDIA": "photos"}

    run = ansible(
        str(CHECKOUT / "site.yml"), "-i", str(CHECKOUT / "inventory/local"),
        cwd=tmp_path, scratch=tmp_path, environ=environ,
    )  # fmt: skip

    assert f"{tmp_path}/photos has no files in it" in run.output

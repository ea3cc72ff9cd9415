# SPDX-License-Identifier: MIT
from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from fieldcam.bench.row import NotMeasuredError
from fieldcam.bench.tree import deployed_tree, wait_until
from fieldcam.store.volume import Volume

ROLE_PROGRAMS = Path(__file__).parents[3] / "roles" / "appliance" / "templates" / "etc" / "fieldcam" / "conf.d"


def test_a_tree_has_both_places_and_a_configuration_that_is_accepted() -> None:
    with deployed_tree({"backend": "simulated", "width": 640, "height": 480}, max_images=3) as tree:
        config = tree.config

        assert config.max_images == 3
        assert config.camera()[1].size == (640, 480)
        assert config.local_port == tree.port != config.port
        assert Volume.open(config.capture_dir, "handoff").root.is_relative_to(tree.disk)
        assert Volume.open(config.archive_dir, "archive").root.is_relative_to(tree.disk)


def test_the_programs_are_those_that_are_deployed() -> None:
    deployed = {file.name.partition(".")[0] for file in ROLE_PROGRAMS.glob("*.conf.j2")}

    with deployed_tree({"backend": "simulated"}) as tree:
        parser = configparser.RawConfigParser()
        parser.read_string((tree.disk / "supervisord.conf").read_text(encoding="utf-8"))

    ours = {section.partition(":")[2] for section in parser.sections() if section.startswith(("program:", "eventl"))}
    assert ours == deployed


def test_nothing_of_the_callers_environment_reaches_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("FIELDCAM_MAX_IMAGES", "1")

    with deployed_tree({"backend": "simulated"}) as tree:
        assert set(tree.environment()) == {"PATH", "HOME", "LANG", "FIELDCAM_CONFIG"}
        assert tree.config.max_images == 100


def test_the_hand_off_area_in_ram_and_its_sockets_are_off_the_disk_and_go_away_again() -> None:
    with deployed_tree({"backend": "simulated"}, handoff_in_ram=True) as tree:
        config = tree.config
        fast = config.capture_dir.parent

        assert config.live_backing == "tmpfs"
        assert fast != tree.disk
        assert config.run_dir.parent == fast
        assert config.archive_dir.parent == config.state_dir.parent == tree.disk
        assert len(str(config.layout.camera("default").control_socket)) < 107
    assert not fast.exists()
    assert not tree.disk.exists()


def test_without_a_tmpfs_the_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fieldcam.bench.tree.RAM", tmp_path / "missing")

    with (
        pytest.raises(NotMeasuredError, match="no RAM for the hand-off area"),
        deployed_tree({"backend": "simulated"}, handoff_in_ram=True),
    ):
        pass


def test_waiting_in_vain_shows_the_end_of_the_logs() -> None:
    with deployed_tree({"backend": "simulated"}) as tree:
        (tree.disk / "log" / "capture-api.log").write_text("the port is taken")

        with pytest.raises(NotMeasuredError, match=r"not within 0\.05 s: a frame(?s:.*)the port is taken"):
            wait_until(lambda: None, "a frame", tree, seconds=0.05)

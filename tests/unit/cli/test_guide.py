# SPDX-License-Identifier: MIT
"""Tests for fieldcam.cli.guide: what a person reads when the appliance runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from fieldcam.cli.guide import guide, lines
from fieldcam.core.config import CameraConfig, Config

TOKEN = "fc_0123456789ab_secret"


def told(config: Config, token: str | None = TOKEN) -> str:
    return "\n".join(
        lines(config, Path("/etc/fieldcam"), Path("/etc/fieldcam/secrets/deploy.token"), token, "make down")
    )


def test_it_has_address_token_folders_and_five_commands() -> None:
    text = told(Config(local_port=8011, port=6417, cameras={"default": CameraConfig(backend="simulated")}))

    commands = text.partition("Next:\n")[2].strip().splitlines()
    assert "running at http://localhost:8011" in text
    assert f"{TOKEN}\n" in text
    assert "http://127.0.0.1:6417; kept in /etc/fieldcam/secrets/deploy.token" in text
    assert "/mnt/storage/archive/captures" in text
    assert "/mnt/storage/camera_capture/live" in text
    assert [command.split()[0].rsplit("/", 1)[-1] for command in commands] == [
        "curl",
        "curl",
        "open",
        "supervisorctl",
        "make",
    ]


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        (CameraConfig(backend="simulated"), "simulated"),
        (CameraConfig(backend="replay", media="/media/photos"), "replayed from /media/photos"),
        (CameraConfig(backend="rpicam", rpicam_still="/usr/bin/rpicam-still"), "real, through /usr/bin/rpicam-still"),
    ],
)
def test_it_says_what_kind_of_camera_it_is(camera: CameraConfig, words: str) -> None:
    assert f"default: {words}" in told(Config(cameras={"default": camera}))


def test_without_a_local_listener_the_commands_send_the_token_from_its_file() -> None:
    text = told(Config(local_listener=False))

    assert "8001" not in text
    assert "$(cat /etc/fieldcam/secrets/deploy.token)" in text


def test_what_lies_below_the_present_folder_is_named_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    text = told(Config(capture_dir=tmp_path / "var" / "c", archive_dir=tmp_path / "var" / "a"))

    assert " var/a/captures " in text
    assert str(tmp_path) not in text


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "fieldcam.toml"
    file.write_text("", encoding="utf-8")

    result = CliRunner().invoke(guide, ["--config", str(file), "--token-file", str(tmp_path / "gone")])

    assert result.exit_code != 0
    assert str(tmp_path / "gone") in str(result.exception)

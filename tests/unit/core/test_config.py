# SPDX-License-Identifier: MIT
"""core.config."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldcam.core.config import Config
from fieldcam.core.config_sources import REFERENCE_NAMES, load
from fieldcam.core.errors import ConfigError

GOOD = """
capture_dir = "/srv/handoff"
archive_dir = "/srv/archive"
max_images = 50

[cameras.default]
backend = "simulated"
width = 640
height = 480
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "fieldcam.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_without_anything_the_documented_defaults_hold() -> None:
    config = load(environ={})

    name, camera = config.camera()

    assert (config.capture_dir, config.archive_dir) == (
        Path("/mnt/storage/camera_capture"),
        Path("/mnt/storage/archive"),
    )
    assert (config.host, config.port, config.local_port) == ("127.0.0.1", 6407, 8001)
    assert (name, camera.backend, camera.size, camera.quality, camera.interval) == (
        "default",
        "rpicam",
        (4056, 3040),
        95,
        1.0,
    )
    assert (config.max_images, config.capture_timeout, config.check_interval) == (100, 30.0, 60.0)
    assert (config.max_image_age, config.cleanup_interval, config.max_capture_age_hours) == (10.0, 300.0, None)


def test_flags_are_stronger_than_variables_than_reference_names_than_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    environ = {
        "CAMERA_WIDTH": "800",
        "CAMERA_HEIGHT": "600",
        "FIELDCAM_CAMERAS__DEFAULT__HEIGHT": "601",
        "LOG_LEVEL": "debug",
    }

    config = load(file, {"max_images": 7, "cameras.*.quality": 80, "interval": None}, environ)

    assert config.max_images == 7
    assert config.camera()[1].size == (800, 601)
    assert config.camera()[1].quality == 80
    assert config.log_level == "DEBUG"
    assert config.capture_dir == Path("/srv/handoff")


def test_reference_names_mean_the_default_camera_whatever_it_is_called(tmp_path: Path) -> None:
    file = write(tmp_path, 'default_camera = "north"\n[cameras.north]\nbackend = "simulated"\n')

    config = load(file, environ={"DEFAULT_EXPOSURE": "20", "DEFAULT_GAIN": "2"})

    assert config.cameras["north"].manual == (20.0, 2.0)


@pytest.mark.parametrize("name", sorted(REFERENCE_NAMES))
def test_every_reference_name_reaches_its_key(name: str) -> None:
    values = {
        "HOST": "127.0.0.1", "PORT": "7000", "DEBUG": "true", "CAMERA_SERIAL_NUMBER": "77", "DEFAULT_EXPOSURE": "12.5",
        "DEFAULT_GAIN": "3", "CAMERA_DEVICE_ID": "2", "CAMERA_WIDTH": "640", "CAMERA_HEIGHT": "480", "CAMERA_FPS": "25",
        "CAPTURE_TIMEOUT": "12", "CONNECTION_TIMEOUT": "3", "STATUS_CHECK_INTERVAL": "4", "IMAGE_QUALITY": "70",
        "CAMERA_CAPTURE_DIR": "/srv/h", "IMAGE_SAVE_PATH": "mine", "CAPTURE_DIR": "mine", "MAX_CAPTURE_AGE_HOURS": "24",
        "ALLOWED_ORIGINS": "http://a,http://b", "LOG_LEVEL": "WARNING", "LOG_FILE": "/tmp/x.log",
    }  # fmt: skip
    environ = {name: values[name]}
    if name in {"CAMERA_WIDTH", "CAMERA_HEIGHT"}:
        environ |= {"CAMERA_WIDTH": "640", "CAMERA_HEIGHT": "480"}

    config = load(environ=environ)

    key = REFERENCE_NAMES[name]
    found = getattr(config.camera()[1] if key.startswith("cameras.*") else config, key.rsplit(".", 1)[-1])
    default = getattr(Config().camera()[1] if key.startswith("cameras.*") else Config(), key.rsplit(".", 1)[-1])
    assert found != default or name == "HOST"


@pytest.mark.parametrize(
    ("text", "environ", "key", "words"),
    [
        ("max_imgaes = 5", {}, "max_imgaes", "did you mean max_images?"),
        ("max_images = 0", {}, "max_images", "0 is not allowed"),
        ('[cameras.default]\nwidht = 5\nbackend="simulated"', {}, "cameras.default.widht", "did you mean width?"),
        ('[cameras.default]\nbackend = "webcam"', {}, "cameras.default.backend", "'webcam' is not allowed"),
        ('[cameras.default]\nbackend = "replay"', {}, "cameras.default", "media is missing"),
        ('[cameras.default]\nwidth = 640', {}, "cameras.default", "go together"),
        ('[cameras.Default]\nbackend = "simulated"', {}, "cameras", "camera name has"),
        ('[cameras.a]\n[cameras.default]\n', {}, "number", "number of its own"),
        ('capture_dir = "/srv"\narchive_dir = "/srv/archive"', {}, "capture_dir", "within each other"),
        ('capture_dir = "here"', {}, "capture_dir", "absolute"),
        ('host = "0.0.0.0"', {}, "host", "insecure_bind"),
        ("port = 8001", {}, "port", "two listeners"),
        ("", {"FIELDCAM_MAX_IMAGES": "many"}, "max_images", "environment variable FIELDCAM_MAX_IMAGES"),
        ("", {"CAMERA_WIDTH": "x", "CAMERA_HEIGHT": "480"}, "cameras.default.width", "variable CAMERA_WIDTH"),
        ("", {"FIELDCAM_NO_SUCH": "1"}, "no_such", "unknown key"),
        ("", {"IMAGE_FORMAT": "png"}, "IMAGE_FORMAT", "JPEG"),
        ("", {"DEBUG": "true", "HOST": "10.0.0.1", "FIELDCAM_INSECURE_BIND": "1"}, "debug", "loopback"),
    ],
)  # fmt: skip
def test_a_bad_value_names_key_and_source(
    tmp_path: Path, text: str, environ: dict[str, str], key: str, words: str
) -> None:
    file = write(tmp_path, text)

    with pytest.raises(ConfigError) as caught:
        load(file, environ=environ)

    assert key in caught.value.message
    assert words in caught.value.message
    assert "Traceback" not in caught.value.message


def test_a_value_from_the_file_names_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "max_images = -3")

    with pytest.raises(ConfigError, match=r"max_images: -3 is not allowed.*fieldcam\.toml"):
        load(file, environ={})


@pytest.mark.parametrize(("text", "words"), [("max_images = = 5", "not valid TOML"), (None, "does not exist")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    file = tmp_path / "fieldcam.toml"
    if text is not None:
        file.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=words):
        load(file, environ={})


def test_an_unknown_camera_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    config = load(write(tmp_path, GOOD), environ={})

    with pytest.raises(ConfigError, match=r"no camera .south.*default"):
        config.camera("south")


def test_a_camera_with_dashes_can_be_set_from_the_environment(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD + '\n[cameras.north-side]\nbackend = "simulated"\nnumber = 1\n')

    config = load(file, environ={"FIELDCAM_CAMERAS__NORTH_SIDE__INTERVAL": "2.5"})

    assert config.cameras["north-side"].interval == 2.5

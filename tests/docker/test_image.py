# SPDX-License-Identifier: MIT
"""What is in the image, and how it is built: from hashed wheels, without a network, on a base with only Python."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.appliance_tree import wait_until
from tests.docker.conftest import Site
from tests.docker.consumers import ROOT, SKY, docker

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.slow]

_spec = importlib.util.spec_from_file_location("container_image", ROOT / "tools" / "container_image.py")
assert _spec
assert _spec.loader
container_image = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = container_image  # dataclasses look their module up
_spec.loader.exec_module(container_image)

RUN = ("run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL")


OWNED = """
import os
paths = [os.path.join(folder, name) for folder, folders, files in os.walk("/") for name in folders + files]
print(sum(os.lstat(path).st_uid == os.getuid() for path in paths if not path.startswith("/proc")))
"""
MISSING = """
import glob, importlib.util, shutil
print([name for name in ("flask", "sqlite_utils", "zmq", "pydantic", "pip") if importlib.util.find_spec(name)])
print([name for name in ("pip", "pip3", "gcc", "cc", "make", "apt-get", "curl", "wget") if shutil.which(name)])
print([path for name in ("/wheels*", "/release*", "/root/.cache*", "/tmp/*") for path in glob.glob(name)])
"""
INSTALLED = """
import importlib.metadata, sys
print(*sorted(each.name.lower() for each in importlib.metadata.distributions()))
from shared_volume_image_provider import ContainerCameraInterface, SharedVolumeImageProvider
print([name for name in ("cv2", "flask", "sqlite3", "zmq", "pydantic") if name in sys.modules])
"""


def python(image: str, code: str) -> list[str]:
    """Run some Python in an image and return the lines it printed."""
    return docker(*RUN, image, "python", "-c", code).splitlines()


def test_it_runs_as_nobody_in_particular_and_owns_nothing(image: str) -> None:
    assert python(image, "import os; print(os.getuid(), os.getgid(), os.getcwd())") == ["10001 10001 /app"]
    assert python(image, "import pwd; print(pwd.getpwuid(10001).pw_name)") == ["consumer"]
    assert python(image, OWNED) == ["0"]


def test_it_has_what_the_services_need_and_no_tool_to_make_more(image: str) -> None:
    imported = python(image, "import cv2, numpy, simplejpeg, shared_volume_image_provider as s; print(s.__name__)")

    assert imported == ["shared_volume_image_provider"]
    assert python(image, MISSING) == ["[]", "[]", "[]"]


def test_the_library_alone_is_installed_and_imported_without_opencv(build_image: Callable[[str, str], str]) -> None:
    light = build_image("fieldcam/consumer:tests-light", "container.txt")

    assert python(light, INSTALLED) == ["fieldcam inotify-simple numpy simplejpeg", "[]"]


def test_a_wheel_with_another_content_is_refused(base: str, image: str, tmp_path: Path) -> None:
    lock, work = ROOT / "locks" / "container.txt", ROOT / "build" / "container"
    wheels = container_image.fetch_wheels(container_image.ask_base(base), lock, work / "wheels")
    release = next((work / "release").glob("*/*.whl"))
    context = tmp_path / "context"
    container_image.assemble(context, release, wheels, lock)
    own = next((context / "release").glob("*.whl"))
    own.unlink()
    own.write_bytes(release.read_bytes() + b"x")

    done = subprocess.run(
        ["docker", "build", "--force-rm", "--network", "none", "--build-arg", f"BASE={base}", str(context)],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stdout + done.stderr


def test_ones_own_program_is_one_copy_away(image: str, tmp_path: Path, site: Site) -> None:
    document = (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")
    program = re.search(r"```python\n(# my_program\.py\n.*?)```", document, re.DOTALL)
    dockerfile = re.search(r"```dockerfile\n(.*?)```", document, re.DOTALL)
    assert program
    assert dockerfile
    (tmp_path / "my_program.py").write_text(program[1], encoding="utf-8")
    (tmp_path / "Dockerfile").write_text(dockerfile[1].replace("fieldcam/consumer:latest", image), encoding="utf-8")

    docker("build", "--network", "none", "--tag", "fieldcam/consumer:tests-own", tmp_path)

    settings = json.loads(docker("image", "inspect", "fieldcam/consumer:tests-own"))[0]["Config"]
    assert settings["Cmd"] == ["python", "my_program.py"]
    assert settings["User"] == "10001:10001"
    assert settings["Healthcheck"]["Test"][-1] == "fieldcam.provider.check_consumer"
    site.consumers.environ = {**site.consumers.environ, "CONSUMER_IMAGE": "fieldcam/consumer:tests-own"}
    site.consumers.commands = {SKY: settings["Cmd"]}
    site.consumers.up(SKY)
    with site.tree.capture_process():
        found = wait_until(lambda: list(site.results(SKY).glob("result_*.json")), "it writes a result", 30)
    assert json.loads(found[0].read_text(encoding="utf-8"))["data"]["brightness"] > 0
    # Without frames it waits; it does not spin.
    cpu = cpu_seconds(site.consumers.inspect(SKY)["State"]["Pid"])
    threading.Event().wait(3.0)
    assert cpu_seconds(site.consumers.inspect(SKY)["State"]["Pid"]) - cpu < 0.6


def cpu_seconds(init: int) -> float:
    """Return what the only child of a container's init has used."""
    child = Path(f"/proc/{init}/task/{init}/children").read_text(encoding="ascii").split()[0]
    fields = Path(f"/proc/{child}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (None, "cannot be asked for its Python"),
        ("rm /usr/bin/python3", "cannot be asked for its Python"),
        ("rm /usr/lib/*/libstdc++.so.6", "has no libstdc++.so.6, which NumPy needs"),
    ],
)
def test_a_base_that_cannot_serve_is_an_error_that_says_what_is_needed(
    base: str, tmp_path: Path, change: str | None, complaint: str
) -> None:
    name = "fieldcam/nowhere:1"
    if change:
        name = "fieldcam/base:tests-unusable"
        (tmp_path / "Dockerfile").write_text(f"FROM {base}\nRUN {change}\n", encoding="utf-8")
        docker("build", "--network", "none", "--tag", name, tmp_path)
    command = [sys.executable, str(ROOT / "tools" / "container_image.py"), "--base", name]

    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert done.returncode == 1
    assert f"container image: {name} {complaint}" in done.stderr
    assert "Traceback" not in done.stderr

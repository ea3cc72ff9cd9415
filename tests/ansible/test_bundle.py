# SPDX-License-Identifier: MIT
"""files/bundle.py: what a host installs from is made once, is what it says it is, and needs no network there."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.test_role_programs import FILES, program

NAME = "1.2.3-0123456789"


@pytest.fixture(scope="module")
def bundle() -> Any:
    """Import the program as it is run: with its neighbours on the path."""
    sys.path.insert(0, str(FILES))
    try:
        return program("bundle")
    finally:
        sys.path.remove(str(FILES))


@pytest.fixture
def source(tmp_path: Path, bundle: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose wheels need neither a build nor an index; `tmp_path/fetched` counts what was fetched."""
    root = tmp_path / "source"
    (root / "locks").mkdir(parents=True)
    (root / "locks" / "host.txt").write_text("pip==1 --hash=sha256:0\n", encoding="utf-8")

    def build(_source: Path, folder: Path, name: str, *, say: bool = True) -> int:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "fieldcam-1.2.3-py3-none-any.whl").write_bytes(b"ours")
        return 0

    def fetch(_locks: list[Path], options: list[str], folder: Path) -> int:
        folder.mkdir(parents=True)
        for wheel in ("pip-1-py3-none-any.whl", "numpy-2-any.whl"):
            (folder / wheel).write_bytes(" ".join(options).encode())
        with (tmp_path / "fetched").open("a", encoding="utf-8") as log:
            log.write(f"{folder.name}\n")
        return 0

    monkeypatch.setattr(bundle.release, "build", build)
    monkeypatch.setattr(bundle.release, "name_of", lambda _source: NAME)
    monkeypatch.setattr(bundle.wheels, "fetch", fetch)
    return root


@pytest.fixture
def ask(bundle: Any, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Ask for a slice and return what was printed; an error is returned as its words."""

    def run(*options: str, python: str = "3.13.5", machine: str = "aarch64", glibc: str = "41") -> str:
        words = ["slice", str(source), str(tmp_path / "build"), NAME, python, machine, glibc, *options]
        capsys.readouterr()
        status = bundle.main(words)
        said = capsys.readouterr()
        assert (status == 0) == (said.err == "")
        return (said.out or said.err).strip()

    return run


def sums_are_right(folder: Path) -> bool:
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


def test_a_slice_has_every_wheel_with_a_hash_and_pip_to_run(ask: Callable[..., str]) -> None:
    word, _, path = ask().partition(" ")

    made = Path(path)
    assert (word, made.name) == ("built", "py3.13-aarch64")
    assert {file.name for file in (made / "wheels").iterdir()} == {
        "pip-1-py3-none-any.whl", "numpy-2-any.whl", "fieldcam-1.2.3-py3-none-any.whl",
    }  # fmt: skip
    assert (made / "pip.zip").read_bytes() == (made / "wheels" / "pip-1-py3-none-any.whl").read_bytes()
    requirements = (made / "requirements.txt").read_text(encoding="utf-8")
    assert "pip==1 --hash=sha256:0\n" in requirements
    assert "fieldcam==1.2.3 --hash=sha256:" in requirements
    assert sums_are_right(made)
    assert len((made / "SHA256SUMS").read_text(encoding="utf-8").splitlines()) == 5


def test_it_is_made_once_and_another_release_fetches_nothing_again(
    ask: Callable[..., str], bundle: Any, source: Path, tmp_path: Path
) -> None:
    first, again, older = ask(), ask(), ask(glibc="31")
    bundle.make(source, tmp_path / "build", "1.2.3-another", bundle.Slice((3, 13), "aarch64"))

    assert again == first.replace("built", "kept")
    assert older.endswith("py3.13-aarch64-glibc2.31")
    fetched = (tmp_path / "fetched").read_text(encoding="utf-8").splitlines()
    assert len(fetched) == 2


def test_a_new_lock_is_fetched_and_the_old_wheels_go(ask: Callable[..., str], source: Path, tmp_path: Path) -> None:
    ask(machine="x86_64")
    (source / "locks" / "host.txt").write_text("pip==1 --hash=sha256:1\n", encoding="utf-8")
    (tmp_path / "build" / NAME / "py3.13-x86_64").rename(tmp_path / "gone")

    ask(machine="x86_64")

    assert len(list((tmp_path / "build" / "wheels").iterdir())) == 1


def test_a_packed_slice_is_the_same_and_its_bytes_do_not_depend_on_the_day(
    ask: Callable[..., str], bundle: Any, tmp_path: Path
) -> None:
    packed = Path(ask("--packed").partition(" ")[2])
    before = packed.read_bytes()
    packed.unlink()
    for file in (tmp_path / "build" / NAME / "py3.13-aarch64").rglob("*"):
        if file.is_file():
            os.utime(file, (1, 1))

    again = Path(ask("--packed").partition(" ")[2])

    with tarfile.open(again) as tar:
        assert {member.uid for member in tar} == {0}
    assert again.read_bytes() == before
    assert sums_are_right(bundle.unpack(again, tmp_path / "host"))


def test_nothing_of_a_bundle_lands_outside_its_folder(bundle: Any, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../outside"), io.BytesIO())

    with pytest.raises(bundle.BundleError, match="no file of ours"):
        bundle.unpack(tmp_path / "bad.tar", tmp_path / "host")

    assert not (tmp_path / "host" / "outside").exists()


@pytest.mark.parametrize(("python", "machine"), [("3.10.2", "x86_64"), ("3.14.0", "aarch64"), ("3.13.1", "armv7l")])
def test_a_host_without_wheels_is_told_so(ask: Callable[..., str], python: str, machine: str) -> None:
    said = ask(python=python, machine=machine)

    assert f"no wheels for Python {python} on {machine}" in said


def test_a_bundle_has_six_slices_and_needs_nothing_else(
    ask: Callable[..., str], bundle: Any, source: Path, tmp_path: Path
) -> None:
    assert bundle.main(["all", str(source), str(tmp_path / "build"), str(tmp_path / "bundle")]) == 0
    (tmp_path / "fetched").unlink()

    names = sorted(file.name for file in (tmp_path / "bundle").glob("*.tar"))
    said = ask("--packed", "--from", str(tmp_path / "bundle"))
    folder = Path(ask("--from", str(tmp_path / "bundle")).partition(" ")[2])

    assert len(names) == 6
    assert said.endswith(f"bundle/fieldcam-{NAME}-py3.13-aarch64.tar")
    assert sums_are_right(tmp_path / "bundle")
    assert sums_are_right(folder)
    assert not (tmp_path / "fetched").exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / f"fieldcam-{NAME}-py3.13-aarch64.tar").write_bytes(b"x"), "was damaged on its way"),
        (lambda folder: (folder / "SHA256SUMS").write_text("", encoding="utf-8"), "was damaged on its way"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "cannot be read"),
        (lambda folder: (folder / f"fieldcam-{NAME}-py3.13-aarch64.tar").unlink(), "make bundle"),
    ],
)
def test_a_bundle_that_is_damaged_or_of_another_release_is_named(
    ask: Callable[..., str], bundle: Any, source: Path, tmp_path: Path, spoil: Callable[[Path], object], words: str
) -> None:
    bundle.main(["all", str(source), str(tmp_path / "build"), str(tmp_path / "bundle")])
    spoil(tmp_path / "bundle")

    said = ask("--packed", "--from", str(tmp_path / "bundle"))

    assert "appliance_bundle_dir" in said
    assert words in said


def test_an_index_that_cannot_be_reached_is_told_with_the_way_without_one(
    ask: Callable[..., str], bundle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle.wheels, "fetch", lambda *_: 1)

    said = ask()

    assert "make bundle" in said
    assert "appliance_bundle_dir" in said
    assert not (tmp_path / "build" / NAME / "py3.13-aarch64").exists()


def test_pip_fetches_for_the_other_machine_and_nothing_newer_than_it(bundle: Any) -> None:
    options = bundle.wheels.pip_options((3, 12), "aarch64", 36)

    assert options[:4] == ["--implementation", "cp", "--python-version", "3.12"]
    assert "manylinux_2_36_aarch64" in options
    assert "manylinux_2_37_aarch64" not in options
    assert "manylinux2014_aarch64" in options
    assert not any("x86" in option for option in options)

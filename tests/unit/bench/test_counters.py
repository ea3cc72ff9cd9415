# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fieldcam.bench import counters


def add_process(proc: Path, pid: int, parent: int, *, name: str = "python", ticks: tuple[int, int] = (0, 0)) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    fields = ["S", str(parent), *["0"] * 9, str(ticks[0]), str(ticks[1]), "0"]
    (folder / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")
    (folder / "io").write_text(
        f"rchar: 9\nwchar: 9999\nread_bytes: 5\nwrite_bytes: {pid * 100}\ncancelled_write_bytes: 1\n"
    )


def test_descendants_are_found_at_every_depth_and_nobody_else(tmp_path: Path) -> None:
    add_process(tmp_path, 10, 1)
    add_process(tmp_path, 11, 10)
    add_process(tmp_path, 12, 11, name="a) S 99 (b")
    add_process(tmp_path, 13, 1)

    found = counters.descendants(10, tmp_path)

    assert found == [11, 12]


def test_bytes_to_storage_are_added_up_and_bytes_to_pipes_are_not(tmp_path: Path) -> None:
    add_process(tmp_path, 10, 1)
    add_process(tmp_path, 11, 10)

    assert counters.written_bytes([10, 11], tmp_path) == 2100


def test_processor_time_is_user_and_system(tmp_path: Path) -> None:
    add_process(tmp_path, 10, 1, name="x) y", ticks=(70, 30))

    seconds = counters.cpu_seconds([10], tmp_path)

    assert seconds == 100 / os.sysconf("SC_CLK_TCK")


def test_a_process_that_is_gone_is_an_error_and_not_zero_bytes(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="12345"):
        counters.written_bytes([12345], tmp_path)


def test_the_device_of_a_folder_is_found_by_its_number(tmp_path: Path) -> None:
    number = tmp_path.stat().st_dev
    wanted = f"{os.major(number)} {os.minor(number)}"
    (tmp_path / "diskstats").write_text(
        f"  999 0 other 1 1 1 1 1 1 7 1 0 1 1\n  {wanted} ours 1 2 3 4 5 6 1000 8 0 9 10\n"
    )

    device = counters.device_of(tmp_path, tmp_path)

    assert device == counters.Device("ours", 512_000)


def test_a_folder_on_no_block_device_has_none(tmp_path: Path) -> None:
    (tmp_path / "diskstats").write_text("  999 0 other 1 1 1 1 1 1 7 1 0 1 1\n")

    assert counters.device_of(tmp_path, tmp_path) is None


def test_the_counters_of_a_real_process_are_read_as_the_kernel_writes_them() -> None:
    code = "import sys\nfor _ in range(3_000_000): pass\nprint('x', flush=True)\nsys.stdin.read()"

    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found, seconds = counters.descendants(os.getpid()), counters.cpu_seconds([child.pid])
        written = counters.written_bytes([child.pid])
        child.communicate()

    assert child.pid in found
    assert 0 < seconds < 60
    assert written >= 0

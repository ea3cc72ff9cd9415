# SPDX-License-Identifier: MIT
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.results_stage import Stage, results_config


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(results_config(tmp_path))
    yield made
    made.close()

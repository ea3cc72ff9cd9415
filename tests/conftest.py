# SPDX-License-Identifier: MIT
"""What every test has: the markers that ask for things of the machine, and real photographs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.requirements import require, require_browser, require_docker, require_root

REQUIREMENT_OF_MARKER = {"docker": require_docker, "root": require_root, "browser": require_browser}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check the machine before the fixtures of a marked test are set up."""
    for marker, check in REQUIREMENT_OF_MARKER.items():
        if item.get_closest_marker(marker):
            check()


@pytest.fixture(scope="session")
def photographs() -> list[Path]:
    """Return real JPEG photographs, 640×427 each: china.jpg and flower.jpg of scikit-learn.

    The package is looked up and never imported: only its data is installed with it (locks/dev.in).
    """
    package = importlib.util.find_spec("sklearn")
    folder = Path(package.submodule_search_locations[0]) if package and package.submodule_search_locations else None
    found = sorted((folder / "datasets" / "images").glob("*.jpg")) if folder else []
    require(found, "needs the photographs of scikit-learn (make venv installs them)")
    return found

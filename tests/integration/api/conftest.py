# SPDX-License-Identifier: MIT
"""A real API process, beside a capture process of one kind or another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api_process import Api, StandIn, api_process, api_tree, stand_in
from tests.appliance_tree import wait_until


@pytest.fixture(scope="module")
def quiet() -> Iterator[tuple[Api, StandIn]]:
    """Return an API whose capture process is a stand-in that says what a test wants."""
    with api_tree() as tree, stand_in(tree) as process, api_process(tree) as api:
        yield api, process


@pytest.fixture(scope="module")
def live() -> Iterator[Api]:
    """Return an API beside a real capture process."""
    with api_tree() as tree, tree.capture_process(), api_process(tree) as api:
        yield api


@pytest.fixture(scope="module")
def whole() -> Iterator[Api]:
    """Return an API beside a real capture process and a real manager."""
    with (
        api_tree() as tree,
        tree.capture_process(),
        tree.process("fieldcam.cli.image_sync_manager"),
        api_process(tree) as api,
    ):
        wait_until(lambda: api.local.post("/capture").json()["databaseSaved"], "a capture has its row")
        yield api

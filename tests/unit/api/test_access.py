# SPDX-License-Identifier: MIT
"""api.access: a view without a mark is a mistake that stops the program, not a hole."""

from __future__ import annotations

import pytest
from flask import Flask

from fieldcam.api.access import open_to_all, require_marks
from fieldcam.api.app import create_app
from fieldcam.core.config import Config


def test_a_view_without_a_mark_fails() -> None:
    app = Flask("test", static_folder=None)
    app.add_url_rule("/fine", "fine", open_to_all(lambda: "fine"))
    app.add_url_rule("/bare", "bare", lambda: "bare")

    with pytest.raises(RuntimeError, match="/bare"):
        require_marks(app)


def test_a_folder_of_static_files_fails_too() -> None:
    app = Flask("test", static_folder="anything")

    with pytest.raises(RuntimeError, match="anything"):
        require_marks(app)


def test_the_application_passes_its_own_check() -> None:
    require_marks(create_app(Config()))

# SPDX-License-Identifier: MIT
"""The record of events: kept, bounded, and never in the way."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fieldcam.core.errors import RequestInvalidError
from fieldcam.manager import event_store
from fieldcam.manager.event_store import RETRY_SECONDS, Event, EventStore
from tests.frames_on_disk import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events" / "events.db"


@pytest.fixture
def store(path: Path, clock: FakeClock) -> Iterator[EventStore]:
    made = EventStore(path, clock)
    yield made
    made.close()


def rows(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        sql = "SELECT at, boot_id, monotonic_ns, camera, kind, cause, details FROM events ORDER BY id"
        return connection.execute(sql).fetchall()


def test_an_event_is_kept_as_the_contract_says(store: EventStore, path: Path, clock: FakeClock) -> None:
    assert store.add(Event.now(clock, "recovery", "camera_lost", {"tries": 3}, camera="default"))

    at, boot_id, monotonic_ns, camera, kind, cause, details = rows(path)[0]
    assert (at, boot_id, monotonic_ns) == ("2024-05-01T00:00:00.000Z", "boot-1", 1_000_000_000_000)
    assert (camera, kind, cause, json.loads(details)) == ("default", "recovery", "camera_lost", {"tries": 3})


def test_only_the_newest_are_kept(
    store: EventStore, path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_store, "MAX_EVENTS", 20)
    monkeypatch.setattr(event_store, "PRUNE_EVERY", 5)

    for number in range(101):
        store.add(Event.now(clock, "gap", str(number), {}))

    causes = [row[5] for row in rows(path)]
    assert causes == [str(number) for number in range(81, 101)]


def test_a_damaged_record_is_moved_aside_and_a_new_one_begun(store: EventStore, path: Path, clock: FakeClock) -> None:
    store.add(Event.now(clock, "gap", "before", {}))
    store.close()
    path.write_bytes(b"garbage" * 1000)

    assert not store.add(Event.now(clock, "gap", "lost", {}))
    assert store.add(Event.now(clock, "gap", "after", {}))

    assert [row[5] for row in rows(path)] == ["after"]
    assert len(list(path.parent.glob("*.corrupt.*"))) == 1


def test_a_place_that_cannot_be_written_is_tried_again_later(tmp_path: Path, clock: FakeClock) -> None:
    blocked = tmp_path / "state"
    blocked.write_text("a file where a folder belongs")
    store = EventStore(blocked / "events.db", clock)

    assert not store.add(Event.now(clock, "gap", "lost", {}))
    blocked.unlink()
    assert not store.add(Event.now(clock, "gap", "too early", {}))
    clock.advance(RETRY_SECONDS)
    assert store.add(Event.now(clock, "gap", "kept", {}))
    store.close()


def test_details_that_are_too_long_are_cut(store: EventStore, path: Path, clock: FakeClock) -> None:
    store.add(Event.now(clock, "gap", "x", {"words": "y" * 100_000}))

    assert len(rows(path)[0][6]) < 2000


@pytest.mark.parametrize(
    "wrong",
    [
        {"at": None},
        {"kind": ""},
        {"boot_id": 5},
        {"monotonic_ns": "1"},
        {"monotonic_ns": True},
        {"monotonic_ns": 2**70},
    ],
)
def test_an_announcement_that_is_no_event_is_refused(wrong: dict[str, Any]) -> None:
    good = {"at": "2024-05-01T00:00:00.000Z", "boot_id": "b", "monotonic_ns": 1, "kind": "gap", "details": {}}

    assert Event.from_message(good).kind == "gap"
    with pytest.raises(RequestInvalidError):
        Event.from_message(good | wrong)

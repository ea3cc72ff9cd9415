# SPDX-License-Identifier: MIT
"""Backups: consistent while the appliance works, refused when anything is not as it was, and back without a loss."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sqlite3
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fieldcam.api.auth_store import AuthStore
from fieldcam.backup.archive import MANIFEST, digest_file, read_archive, write_archive
from fieldcam.backup.contents import contents, is_allowed
from fieldcam.backup.restore import IDS_LEFT_FREE, Outcome, restore
from fieldcam.catalog.connect import open_writer
from fieldcam.catalog.snapshot import check_soundness, take_snapshot
from fieldcam.core.config import Config
from fieldcam.core.errors import (
    BackupInvalidError,
    CameraInUseError,
    CatalogError,
    NameTakenError,
    StorageUnavailableError,
)
from fieldcam.core.layout import MARKER
from fieldcam.core.ownership import owned
from fieldcam.manager.event_store import Event, EventStore
from fieldcam.store.volume import Volume
from tests.frames_on_disk import FakeClock, make_config, put_capture

CLOCK = FakeClock()
SNAPSHOTS = 50


class Appliance:
    """A stopped appliance with something of everything."""

    def __init__(self, base: Path) -> None:
        self.base = base
        # A port that nobody listens on: the lowest, which only root could open.
        self.config: Config = make_config(base, port=1)
        self.config_dir = base / "etc"
        (self.config_dir / "secrets").mkdir(parents=True)
        self.archive = base / "backup.tar.gz"

    def fill(self) -> str:
        """Put something of everything there; return a token that holds."""
        layout = self.config.layout
        token = AuthStore(layout.auth, CLOCK).issue("device", "admin").text
        events = EventStore(layout.events, CLOCK)
        assert events.add(Event.now(CLOCK, "STARTED", "test", {}))
        events.close()
        with closing(open_writer(layout.catalog, durable=True)) as connection:
            connection.execute("CREATE TABLE images (id INTEGER PRIMARY KEY)")
            connection.execute("INSERT INTO images VALUES (7)")
        camera = layout.camera("default")
        camera.state.mkdir(parents=True, exist_ok=True)
        camera.settings.write_text('{"exposure": 5}', encoding="utf-8")
        camera.identity.write_text('{"schema": 1, "scope": "", "next_id": 100, "names": {}}', encoding="utf-8")
        (self.config_dir / "fieldcam.toml").write_text("max_images = 5\n", encoding="utf-8")
        (self.config_dir / "secrets" / "deploy.token").write_text(token, encoding="utf-8")
        (self.config_dir / "secrets" / "deploy.token").chmod(0o600)
        put_capture(self.config, 1)
        return token

    def back_up(self, *, with_captures: bool = False) -> Path:
        items = contents(self.config, self.config_dir, with_captures=with_captures)
        facts = {"made_at": "now", "host": "a", "version": "1", "archive_id": self.archive_id}
        write_archive(self.archive, items, facts, with_captures=with_captures)
        return self.archive

    @property
    def archive_id(self) -> str:
        return Volume.open(self.config.archive_dir, "archive").id

    def restore(self, archive: Path, *, with_captures: bool = False, other: bool = False) -> dict[str, Outcome]:
        done = restore(
            archive, self.config, self.config_dir, CLOCK, with_captures=with_captures, into_other_archive=other
        )
        return {one.name: one for one in done}

    def next_id(self) -> int:
        return int(json.loads(self.config.layout.camera("default").identity.read_bytes())["next_id"])


@pytest.fixture
def appliance(tmp_path: Path) -> Appliance:
    return Appliance(tmp_path / "a")


@pytest.fixture
def new_card(appliance: Appliance) -> Callable[[], Appliance]:
    """Return the appliance as it is deployed anew on another card, with the same disk."""

    def make() -> Appliance:
        other = Appliance(appliance.base.parent / "b")
        marker = (appliance.config.archive_dir / MARKER).read_bytes()
        (other.config.archive_dir / MARKER).write_bytes(marker)
        return other

    return make


def test_snapshots_under_load_are_sound_and_each_is_one_moment(tmp_path: Path) -> None:
    source = tmp_path / "live.db"
    with closing(open_writer(source, durable=False)) as connection:
        connection.execute("CREATE TABLE a (n INTEGER, filler BLOB)")
        connection.execute("CREATE TABLE b (n INTEGER)")
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(source, timeout=30, isolation_level=None)) as writer:
            number = 0
            while not stop.is_set():
                number += 1
                writer.execute("BEGIN IMMEDIATE")
                writer.execute("INSERT INTO a VALUES (?, randomblob(2000))", (number,))
                writer.execute("INSERT INTO b VALUES (?)", (number,))
                writer.execute("COMMIT")
                stop.wait(0.001)  # busier than any appliance, but not a lock that is never free

    writer = threading.Thread(target=write)
    writer.start()
    try:
        counts = []
        for number in range(SNAPSHOTS):
            copy = tmp_path / f"{number}.db"
            take_snapshot(source, copy)
            with closing(sqlite3.connect(copy)) as connection:
                rows = connection.execute(
                    "SELECT (SELECT max(n) FROM a), (SELECT count(*) FROM a), (SELECT max(n) FROM b)"
                )
                counts.append(rows.fetchone())
            copy.unlink()
    finally:
        stop.set()
        writer.join()

    assert all((highest or 0) == count == (other or 0) for highest, count, other in counts)
    assert [count for _, count, _ in counts] == sorted(count for _, count, _ in counts)
    assert counts[-1][1] > counts[0][1], "nothing was written meanwhile, so nothing was proved"


def test_a_backup_is_for_its_owner_alone_and_has_its_digest_beside_it(appliance: Appliance) -> None:
    appliance.fill()

    archive = appliance.back_up()

    assert [oct(path.stat().st_mode & 0o777) for path in (archive, digest_file(archive))] == ["0o600", "0o600"]
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert digest_file(archive).read_text(encoding="ascii") == f"{digest}  backup.tar.gz\n"
    assert sorted(path.name for path in appliance.base.iterdir() if "backup" in path.name) == [
        "backup.tar.gz",
        "backup.tar.gz.sha256",
    ]


def test_a_backup_has_everything_that_cannot_be_made_again_and_pictures_only_on_request(appliance: Appliance) -> None:
    appliance.fill()

    names = set(read_archive(appliance.back_up()).files)
    appliance.archive = appliance.base / "with-captures.tar.gz"
    more = set(read_archive(appliance.back_up(with_captures=True)).files)

    assert names == {
        "state/auth.db",
        "state/events.db",
        "state/cameras/default/settings.json",
        "config/fieldcam.toml",
        "config/secrets/deploy.token",
        "archive/catalog.db",
        "archive/marker.json",
        "archive/cameras/default/identity.json",
    }
    assert {Path(name).suffix for name in more - names} == {".jpg", ".json"}


def test_a_file_that_is_there_is_not_overwritten(appliance: Appliance) -> None:
    appliance.archive.write_bytes(b"somebody else's")

    with pytest.raises(NameTakenError):
        appliance.back_up()

    assert appliance.archive.read_bytes() == b"somebody else's"


def test_a_damaged_database_is_not_backed_up_in_silence(appliance: Appliance) -> None:
    appliance.fill()
    events = appliance.config.layout.events
    events.write_bytes(b"x" * events.stat().st_size)

    with pytest.raises(CatalogError):
        appliance.back_up()

    assert not appliance.archive.exists()


def test_a_lost_card_comes_back_with_users_tokens_settings_and_secrets(
    appliance: Appliance, new_card: Callable[[], Appliance]
) -> None:
    token = appliance.fill()
    archive = appliance.back_up()
    other = new_card()

    done = other.restore(archive)

    layout = other.config.layout
    assert AuthStore(layout.auth, CLOCK).check(token).role == "admin"
    assert layout.camera("default").settings.read_text(encoding="utf-8") == '{"exposure": 5}'
    secret = other.config_dir / "secrets" / "deploy.token"
    assert (secret.read_text(encoding="utf-8"), oct(secret.stat().st_mode & 0o777)) == (token, "0o600")
    check_soundness(layout.events)
    assert done["config/fieldcam.toml"].done == "left out"
    assert not (other.config_dir / "fieldcam.toml").exists()
    assert list(other.base.rglob("*.tmp")) == []


def test_what_is_replaced_is_set_aside(appliance: Appliance) -> None:
    appliance.fill()
    archive = appliance.back_up()
    later = AuthStore(appliance.config.layout.auth, CLOCK).issue("later", "viewer")

    done = appliance.restore(archive)

    aside = appliance.config.layout.auth.parent / done["state/auth.db"].why.removeprefix("the one before is ")
    assert later.token.id in [one.id for one in AuthStore(aside, CLOCK).tokens()]
    assert later.token.id not in [one.id for one in AuthStore(appliance.config.layout.auth, CLOCK).tokens()]


def test_a_sound_catalog_and_higher_counters_stay(appliance: Appliance) -> None:
    appliance.fill()
    archive = appliance.back_up()
    identity = appliance.config.layout.camera("default").identity
    identity.write_text('{"schema": 1, "scope": "", "next_id": 900, "names": {}}', encoding="utf-8")

    done = appliance.restore(archive)

    assert (done["archive/catalog.db"].done, done["archive/cameras/default/identity.json"].done) == ("kept", "kept")
    assert appliance.next_id() == 900


def test_a_damaged_catalog_of_the_same_disk_is_replaced(appliance: Appliance) -> None:
    appliance.fill()
    archive = appliance.back_up()
    appliance.config.layout.catalog.write_bytes(b"not a database at all")

    done = appliance.restore(archive)

    assert done["archive/catalog.db"].done == "restored"
    check_soundness(appliance.config.layout.catalog)


def test_another_disk_has_to_be_meant_and_ids_given_since_are_not_given_again(
    appliance: Appliance, tmp_path: Path
) -> None:
    appliance.fill()
    archive = appliance.back_up()
    other = Appliance(tmp_path / "c")
    before = sorted(other.base.rglob("*"))

    with pytest.raises(BackupInvalidError, match="--into-other-archive"):
        other.restore(archive)
    untouched = sorted(other.base.rglob("*"))
    done = other.restore(archive, other=True)

    assert untouched == before
    assert other.next_id() == 100 + IDS_LEFT_FREE
    assert done["archive/catalog.db"].done == "left out"
    assert other.archive_id != appliance.archive_id


def test_pictures_that_are_missing_come_back_as_they_were_and_others_stay(appliance: Appliance, tmp_path: Path) -> None:
    appliance.fill()
    captures = appliance.config.layout.camera("default").captures
    image = next(captures.glob("*.jpg"))
    os.utime(image, ns=(1_700_000_000_123_000_000, 1_700_000_000_123_000_000))
    archive = appliance.back_up(with_captures=True)
    other = Appliance(tmp_path / "c")

    first = other.restore(archive, with_captures=True, other=True)
    copy = other.config.layout.camera("default").captures / image.name
    copy_bytes, copy_time = copy.read_bytes(), copy.stat().st_mtime_ns
    copy.write_bytes(b"another")
    second = other.restore(archive, with_captures=True, other=True)

    assert copy_bytes == image.read_bytes()
    assert abs(copy_time - image.stat().st_mtime_ns) < 1_000_000
    assert first["captures"].why == "2 restored"
    assert second["captures"].why == "2 kept"
    assert copy.read_bytes() == b"another"
    assert first["archive/catalog.db"].done == "restored"


def test_a_running_appliance_is_left_alone(appliance: Appliance) -> None:
    appliance.fill()
    archive = appliance.back_up()

    with owned(appliance.config.layout.manager_lock, "test"), pytest.raises(CameraInUseError, match="stop it first"):
        appliance.restore(archive)


def test_a_host_that_was_not_deployed_is_not_filled(appliance: Appliance) -> None:
    appliance.fill()
    archive = appliance.back_up()
    (appliance.config.archive_dir / MARKER).unlink()

    with pytest.raises(StorageUnavailableError, match="Deploy first"):
        appliance.restore(archive)


def rewrite(archive: Path, change: Callable[[dict[str, bytes]], Iterator[tarfile.TarInfo] | None]) -> None:
    """Write an archive again with other contents and a digest that fits."""
    with tarfile.open(archive) as tar:
        modes = {info.name: info.mode for info in tar}
        files = {name: (tar.extractfile(name) or io.BytesIO()).read() for name in modes}
    more = list(change(files) or ())
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), modes.get(name, 0o600)
            tar.addfile(info, io.BytesIO(data))
        for info in more:
            tar.addfile(info)
    archive.write_bytes(gzip.compress(raw.getvalue()))
    digest_file(archive).unlink()


def _link(name: str) -> Callable[[dict[str, bytes]], Iterator[tarfile.TarInfo]]:
    def change(_files: dict[str, bytes]) -> Iterator[tarfile.TarInfo]:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        yield info

    return change


def _without_manifest(files: dict[str, bytes]) -> None:
    del files[MANIFEST]


def _of_the_future(files: dict[str, bytes]) -> None:
    files[MANIFEST] = files[MANIFEST].replace(b'"schema": 1', b'"schema": 99')


def _other_secret(files: dict[str, bytes]) -> None:
    files["config/secrets/deploy.token"] = b"fc_other"


def _one_more(files: dict[str, bytes]) -> None:
    files["state/cameras/default/more.json"] = b"{}"


def _one_less(files: dict[str, bytes]) -> None:
    del files["state/cameras/default/settings.json"]


def _damaged_database(files: dict[str, bytes]) -> None:
    files["state/auth.db"] = files["state/auth.db"][:100] + b"\xff" * (len(files["state/auth.db"]) - 100)
    manifest = json.loads(files[MANIFEST])
    manifest["files"]["state/auth.db"]["sha256"] = hashlib.sha256(files["state/auth.db"]).hexdigest()
    files[MANIFEST] = json.dumps(manifest).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without_manifest, "no manifest"),
        (_of_the_future, "newer fieldcam"),
        (_other_secret, "not as it was made: config/secrets/deploy.token"),
        (_one_more, "not as it was made: state/cameras/default/more.json"),
        (_one_less, "not as it was made: state/cameras/default/settings.json"),
        (_damaged_database, "auth.db"),
        (_link("state/link"), "belongs into no backup"),
        (_link("../../etc/cron.d/x"), "belongs into no backup"),
    ],
)
def test_a_backup_that_is_not_as_it_was_made_is_refused_before_anything_is_touched(
    appliance: Appliance, new_card: Callable[[], Appliance], change: Callable[..., Any], words: str
) -> None:
    appliance.fill()
    rewrite(appliance.back_up(), change)
    other = new_card()
    before = sorted(other.base.rglob("*"))

    with pytest.raises(BackupInvalidError, match=words):
        other.restore(appliance.archive)

    assert sorted(other.base.rglob("*")) == before


@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.99])
def test_a_flipped_bit_or_a_copy_cut_short_is_found_by_the_digest_beside_it(appliance: Appliance, part: float) -> None:
    appliance.fill()
    archive = appliance.back_up()
    whole = archive.read_bytes()
    flipped = bytearray(whole)
    flipped[int(part * len(whole))] ^= 1

    for damaged in (bytes(flipped), whole[: int(part * len(whole))]):
        archive.write_bytes(damaged)
        with pytest.raises(BackupInvalidError, match="copy it again"):
            read_archive(archive)


def test_without_the_digest_a_copy_cut_short_is_found_too(appliance: Appliance) -> None:
    appliance.fill()
    archive = appliance.back_up()
    digest_file(archive).unlink()
    archive.write_bytes(archive.read_bytes()[:-200])

    with pytest.raises(BackupInvalidError):
        read_archive(archive)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("state/auth.db", True),
        ("captures/default/capture_20240501_000000_000.jpg", True),
        ("config/secrets/deploy.token", True),
        ("../x", False),
        ("state/../../etc/passwd", False),
        ("/etc/passwd", False),
        ("state/.hidden", False),
        ("other/x", False),
        ("state", False),
        ("state/a b", False),
        ("state//x", False),
    ],
)
def test_a_name_never_leads_out(name: str, *, expected: bool) -> None:
    assert is_allowed(name) is expected

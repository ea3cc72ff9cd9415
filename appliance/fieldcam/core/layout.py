# SPDX-License-Identifier: MIT
"""Where everything is. No other module joins these paths.

Two places hold images (contract section 1): the hand-off area that containers read, and the archive. The default
camera uses their roots; every further camera has the same trees under `cameras/<name>/`. Sockets and heartbeats live
under `run_dir` (a tmpfs on a Pi), users, tokens, events and settings under `state_dir`. Decoded frames are in
`ring_dir` (a tmpfs of its own), what consumers write in `results_dir`, a folder for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MARKER = ".fieldcam-volume"


@dataclass(frozen=True, slots=True)
class CameraPaths:
    """The folders, sockets and files of one camera."""

    name: str
    handoff_root: Path
    archive_root: Path
    run: Path
    state: Path
    captures: Path
    ring: Path

    @property
    def live(self) -> Path:
        """Rolling frames of the loop."""
        return self.handoff_root / "live"

    @property
    def metadata(self) -> Path:
        """One sidecar per frame in `live`."""
        return self.handoff_root / "metadata"

    @property
    def processed(self) -> Path:
        """Results of consumers, copied in by the manager."""
        return self.handoff_root / "processed"

    @property
    def thumbnails(self) -> Path:
        """Previews of captures, made by the manager."""
        return self.archive_root / "thumbnails"

    @property
    def quarantine(self) -> Path:
        """Damaged files put aside by recovery."""
        return self.archive_root / "quarantine"

    @property
    def identity(self) -> Path:
        """What capture remembers so that no id and no name of a capture is given twice."""
        return self.archive_root / "identity.json"

    @property
    def control_socket(self) -> Path:
        """Requests to the capture process."""
        return self.run / "control.sock"

    @property
    def preview_socket(self) -> Path:
        """Preview frames, published only while someone is subscribed."""
        return self.run / "preview.sock"

    @property
    def heartbeat(self) -> Path:
        """What the capture process last said of itself."""
        return self.run / "heartbeat.json"

    @property
    def owner_lock(self) -> Path:
        """Held by the one process that owns the camera."""
        return self.run / "owner.lock"

    @property
    def scratch(self) -> Path:
        """Where a camera tool may leave files of a shot in the making."""
        return self.run / "shot"

    @property
    def settings(self) -> Path:
        """Settings that a user changed and that outlive a restart."""
        return self.state / "settings.json"


@dataclass(frozen=True, slots=True)
class Layout:
    """All paths of one appliance."""

    capture_dir: Path
    archive_dir: Path
    run_dir: Path
    state_dir: Path
    ring_dir: Path
    results_dir: Path
    default_camera: str = "default"
    captures_folder: Path = Path("captures")

    def camera(self, name: str) -> CameraPaths:
        """Return the paths of one camera. The name must have been checked against `names.CAMERA_NAME`."""
        below = Path() if name == self.default_camera else Path("cameras") / name
        archive_root = self.archive_dir / below
        # An absolute captures_folder (IMAGE_SAVE_PATH may be one) replaces the archive's own: pathlib joins it so.
        captures = (
            archive_root / self.captures_folder
            if not self.captures_folder.is_absolute()
            else self.captures_folder / below
        )
        return CameraPaths(
            name=name,
            handoff_root=self.capture_dir / below,
            archive_root=archive_root,
            run=self.run_dir / "cameras" / name,
            state=self.state_dir / "cameras" / name,
            captures=captures,
            ring=self.ring_dir / below,
        )

    def results(self, service: str) -> Path:
        """Return the folder that one consumer may write to. The name must match `names.SERVICE_NAME`."""
        return self.results_dir / service

    @property
    def catalog(self) -> Path:
        """Catalog of captures and results."""
        return self.archive_dir / "catalog.db"

    @property
    def live_catalog(self) -> Path:
        """Catalog of the rolling frames."""
        return self.capture_dir / "live.db"

    @property
    def events(self) -> Path:
        """Events: crashes, recoveries, gaps, deletions."""
        return self.state_dir / "events" / "events.db"

    @property
    def auth(self) -> Path:
        """Users and tokens."""
        return self.state_dir / "auth" / "auth.db"

    @property
    def manager_socket(self) -> Path:
        """Announcements of capture processes and requests to the manager."""
        return self.run_dir / "manager" / "control.sock"

    @property
    def gateway_socket(self) -> Path:
        """Where a proxy on this machine reaches the API."""
        return self.run_dir / "api" / "gateway.sock"

    @property
    def manager_heartbeat(self) -> Path:
        """What the manager last said of itself."""
        return self.run_dir / "manager" / "heartbeat.json"

    @property
    def manager_lock(self) -> Path:
        """Held by the one process that writes the catalog."""
        return self.run_dir / "manager" / "owner.lock"

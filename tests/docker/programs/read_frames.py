# SPDX-License-Identifier: MIT
"""Print each frame that arrives, as JSON; `files` as argument leaves the ring alone, `hold` holds every frame."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from fieldcam import SharedVolumeError
from fieldcam.provider import SharedVolumeImageProvider


def main() -> None:
    """Read for ever."""
    choice = sys.argv[1] if len(sys.argv) > 1 else "any"
    options: dict[str, Any] = {"ring_dir": ""} if choice == "files" else {}
    provider = SharedVolumeImageProvider(max_age_seconds=2.0, **options)
    started = time.monotonic()
    while True:
        try:
            frame = provider.wait_for_frame(timeout=1.0)
        except SharedVolumeError as error:
            say(at=time.monotonic() - started, error=type(error).__name__)
            continue
        say(
            at=time.monotonic() - started,
            sequence=frame.sequence,
            boot_id=frame.metadata["boot_id"],
            source=frame.source,
            age=frame.metadata["age"],
            shape=frame.image.shape,
            mean=float(frame.image.mean()),
        )


def say(**what: Any) -> None:
    """Print one line."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""Take one picture after another and note what was answered: `<seconds> <file>`, or `<seconds> - <error>`.

take_pictures.py URL LOG
"""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.request

PAUSE_SECONDS = 0.3


def main(url: str, log: str) -> None:
    """Go on until ended."""
    pause = threading.Event()
    with open(log, "a", encoding="utf-8", buffering=1) as lines:  # noqa: PTH123 - line by line
        while not pause.wait(PAUSE_SECONDS):
            request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"}, method="POST")  # noqa: S310
            try:
                with urllib.request.urlopen(request, timeout=35) as answer:  # noqa: S310
                    word = json.load(answer)["filepath"]
            except (OSError, ValueError, KeyError) as error:
                word = f"- {error}"
            lines.write(f"{time.time():.1f} {word}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

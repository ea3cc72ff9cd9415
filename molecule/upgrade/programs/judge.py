# SPDX-License-Identifier: MIT
"""Compare what was acknowledged with what is there, and say how long nobody was served; JSON.

judge.py LOG SINCE     SINCE: seconds since the epoch; the wait from then until a picture was taken again is told
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path


def main(log: str, since: float) -> None:
    """Print `taken`, `lost` (files without image or sidecar), `longest_gap` and `back_after`, both in seconds."""
    rows = [line.split(" ", 1) for line in Path(log).read_text(encoding="utf-8").splitlines()]
    taken = [(float(at), Path(word)) for at, word in rows if not word.startswith("-")]
    lost = [str(path) for _, path in taken if not (path.is_file() and path.with_suffix(".json").is_file())]
    times = [at for at, _ in taken]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    back = next((at - since for at in times if at > since), None)
    told = {"taken": len(taken), "lost": lost, "longest_gap": max(gaps, default=0.0), "back_after": back}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))

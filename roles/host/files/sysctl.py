# SPDX-License-Identifier: MIT
"""Compare settings of the kernel with what is wanted: JSON of keys and values in, JSON out. Changes nothing.

`differ` has the keys with another value (and that value), `missing` those that this kernel does not have.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

SETTINGS = Path("/proc/sys")


def main() -> int:
    """Print what differs as one JSON object."""
    differ: dict[str, str] = {}
    missing: list[str] = []
    for key, wanted in json.loads(sys.argv[1]).items():
        try:
            value = " ".join(SETTINGS.joinpath(*key.split(".")).read_text(encoding="utf-8").split())
        except FileNotFoundError:
            missing.append(key)
        except OSError as error:
            differ[key] = error.strerror or str(error)
        else:
            if value != " ".join(str(wanted).split()):
                differ[key] = value
    print(json.dumps({"differ": differ, "missing": missing}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

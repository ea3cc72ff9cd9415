# SPDX-License-Identifier: MIT
"""A consumer that does nothing but beat."""

from __future__ import annotations

import time

from fieldcam.provider.results import ResultWriter


def main() -> None:
    """Beat for ever."""
    results = ResultWriter("sky-analysis")
    while True:
        results.beat()
        time.sleep(0.2)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""Whether a consumer lives, for Docker: `python -m fieldcam.provider.check_consumer`.

Exit 0 when its heartbeat is recent, 1 when it is not; one line says which. Neither curl nor a port is needed, and a
clock that is set does not matter: ages are CLOCK_BOOTTIME.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fieldcam.core.clock import Clock, Instant, SystemClock, is_fresh
from fieldcam.core.plain_file import read_plain_file
from fieldcam.core.result import BEAT_NAME, MAX_BEAT_BYTES, Beat
from fieldcam.provider.results import results_folder

MAX_SILENCE_SECONDS = 60.0  # as `consumer_max_silence` of the appliance


def main(arguments: Sequence[str] | None = None, clock: Clock | None = None) -> int:
    """Look once; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="check_consumer", description="Exit 0 when the consumer's heartbeat is recent."
    )
    parser.add_argument("--results", metavar="DIR", help="its folder; default: RESULTS_DIR, else /results")
    parser.add_argument(
        "--max-silence", metavar="S", type=float, default=MAX_SILENCE_SECONDS, help="seconds (default: %(default)g)"
    )
    options = parser.parse_args(arguments)
    alive, words = check(results_folder(options.results), options.max_silence, clock or SystemClock())
    sys.stdout.write(f"{words}\n")
    return 0 if alive else 1


def check(folder: Path, max_silence: float, clock: Clock) -> tuple[bool, str]:
    """Return whether the heartbeat in a folder is recent, and that in words."""
    try:
        beat = Beat.from_json(read_plain_file(folder / BEAT_NAME, MAX_BEAT_BYTES))
    except FileNotFoundError:
        return False, f"no heartbeat in {folder} yet"
    except (OSError, ValueError) as error:
        return False, f"the heartbeat in {folder} cannot be read: {error}"
    age = beat.age_seconds(Instant.now(clock))
    if is_fresh(age, max_silence):
        return True, f"{beat.service} spoke {age:.1f} s ago"
    if age == float("inf"):
        return False, f"{beat.service} has not spoken since the machine started"
    return False, f"{beat.service} spoke {age:.1f} s ago, more than {max_silence:g} s"


if __name__ == "__main__":
    raise SystemExit(main())

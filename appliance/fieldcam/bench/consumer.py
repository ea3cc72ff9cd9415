# SPDX-License-Identifier: MIT
"""A consumer as a process of its own: `python -m fieldcam.bench.consumer KIND ARGUMENTS…`, told what to do on stdin.

A line `take HOW` waits for one frame, `stream HOW` takes frames until the next line comes; the answers are lines of
JSON. `consumer_process.py` is the other end. A consumer that was told nothing waits for its stdin and costs nothing,
so that neither ours nor the baseline runs beside the other.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from fieldcam.bench.consumer_kinds import KINDS, STDIN, Consumer

STREAM_WAIT_SECONDS = 0.5  # so that the next line is seen soon
TAKE_WAIT_SECONDS = 20.0
_STDOUT = 1


def main(arguments: list[str]) -> None:
    """Do what stdin says until it ends."""
    kind, *rest = arguments
    consumer = KINDS[kind](*rest)
    try:
        _say({"ready": kind})
        for line in _lines():
            word, _, how = line.partition(" ")
            if word == "take":
                _say({"waiting": how})
                taken = consumer.take(how, TAKE_WAIT_SECONDS)
                _say(asdict(taken) if taken else {})
            elif word == "stream":
                _say(_stream(consumer, how))
            elif word == "facts":
                _say(consumer.facts())
    finally:
        consumer.close()


def _stream(consumer: Consumer, how: str) -> dict[str, Any]:
    """Take frames until a line comes, which is not read; return what that cost."""
    _say({"waiting": how})
    ages: list[float] = []
    marks: list[float] = []
    before, began = time.process_time(), time.monotonic()
    while not select.select([STDIN], [], [], 0)[0]:
        taken = consumer.take(how, STREAM_WAIT_SECONDS)
        if taken is not None:
            marks.append(time.process_time())
            ages.append(taken.age_seconds)
    return {
        "cpu_seconds": time.process_time() - before,
        "seconds": time.monotonic() - began,
        "ages": ages,
        # From one frame to the next: the waiting is in it, the start and the end of the stream are not.
        "frame_cpu_seconds": [after - earlier for earlier, after in itertools.pairwise(marks)],
    }


def _lines() -> Iterator[str]:
    """Yield the lines of stdin; none is kept in a buffer where `select` would not see it."""
    text = b""
    while piece := os.read(STDIN, 1):
        if piece != b"\n":
            text += piece
            continue
        yield text.decode("ascii")
        text = b""


def _say(data: dict[str, Any]) -> None:
    os.write(_STDOUT, json.dumps(data).encode("ascii") + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])

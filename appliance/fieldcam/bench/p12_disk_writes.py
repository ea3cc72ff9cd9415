# SPDX-License-Identifier: MIT
"""P12: live mode does not wear out the card: what the appliance writes to disk in an hour, hand-off area in RAM."""

from __future__ import annotations

from fieldcam.bench.live_run import LiveRun
from fieldcam.bench.row import NotMeasuredError, Row, judge

BAR_BYTES = 3_000_000
HOUR_SECONDS = 3600.0


def row(run: LiveRun) -> Row:
    """Return the line.

    Raises:
        NotMeasuredError: the temporary folder is not on a disk.
    """
    if run.loop_written_bytes == 0:
        raise NotMeasuredError(
            "the temporary folder is on no disk, so nothing is counted; set TMPDIR to a folder on one"
        )
    hourly = run.written_bytes * HOUR_SECONDS / run.seconds
    documented = run.loop_written_bytes / len(run.loop_began) * HOUR_SECONDS
    notes = [
        (
            f"write_bytes of /proc/PID/io over {run.seconds:.0f} s, all processes of the appliance, scaled to an hour; "
            f"hand-off area and run_dir on a tmpfs, archive, state and logs on disk; frames of "
            f"{run.image_bytes / 1e6:.1f} MB"
        ),
        "baseline: one such image a second written to disk",
    ]
    device = run.device_written_bytes * HOUR_SECONDS / run.seconds
    if run.device is not None:
        notes.append(
            f"{run.device} as a whole was written {device / 1e6:.1f} MB an hour meanwhile, by this machine's other "
            "programs and its file system, too"
        )
    return Row(
        row="P12",
        what="bytes written to disk in live mode, 1 Hz",
        ours=f"{hourly / 1e6:.2f} MB/h",
        baseline=f"{documented / 1e6:.0f} MB/h",
        ratio=hourly / documented,
        bar="≤ 3 MB/h",
        verdict=judge(holds=hourly <= BAR_BYTES),
        notes=tuple(notes),
        figures={
            "written_bytes": float(run.written_bytes),
            "seconds": run.seconds,
            "bytes_per_hour": hourly,
            "documented_bytes_per_hour": documented,
            "device_bytes_per_hour": device,
            "image_bytes": float(run.image_bytes),
        },
    )

# SPDX-License-Identifier: MIT
"""Stage 4: frames for other processes, decoded once, in shared memory; and notice of new ones."""

from fieldcam.handoff.ring_reader import Lease, RingReader
from fieldcam.handoff.ring_writer import RingStats, RingWriter
from fieldcam.handoff.watch import FolderWatch

__all__ = ["FolderWatch", "Lease", "RingReader", "RingStats", "RingWriter"]

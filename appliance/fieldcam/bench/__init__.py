# SPDX-License-Identifier: MIT
"""Measures what docs/performance.md promises, each figure beside a baseline of the same run (`fieldcam bench`)."""

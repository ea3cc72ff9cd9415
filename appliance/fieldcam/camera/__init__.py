# SPDX-License-Identifier: MIT
"""Stage 1: photons to bytes."""

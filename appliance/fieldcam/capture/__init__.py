# SPDX-License-Identifier: MIT
"""PROCESS: one per camera; the only one that adds images."""

# SPDX-License-Identifier: MIT
"""PROCESS: the only one that removes captures and writes the catalog."""

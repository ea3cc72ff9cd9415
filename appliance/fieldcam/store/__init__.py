# SPDX-License-Identifier: MIT
"""Stage 2: durable files."""

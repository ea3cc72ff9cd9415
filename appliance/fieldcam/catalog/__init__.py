# SPDX-License-Identifier: MIT
"""Stage 3: the searchable index; the only place with SQL about images."""

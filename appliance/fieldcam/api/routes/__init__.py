# SPDX-License-Identifier: MIT
"""The views, one module per family; each is parse, act, present."""

# SPDX-License-Identifier: MIT
"""Commands a person types."""

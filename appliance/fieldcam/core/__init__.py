# SPDX-License-Identifier: MIT
"""Floor 0: what every part knows; it knows nothing above it."""

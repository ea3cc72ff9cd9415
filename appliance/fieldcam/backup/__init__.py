# SPDX-License-Identifier: MIT
"""What an appliance cannot make again, in one file, and back."""

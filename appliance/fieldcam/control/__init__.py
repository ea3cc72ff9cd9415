# SPDX-License-Identifier: MIT
"""The side door to a running process: requests, answers and announcements over ZeroMQ."""

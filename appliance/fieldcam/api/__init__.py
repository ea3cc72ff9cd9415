# SPDX-License-Identifier: MIT
"""PROCESS: the HTTP API on gunicorn; it only reads."""

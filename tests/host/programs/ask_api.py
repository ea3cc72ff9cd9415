# SPDX-License-Identifier: MIT
"""Ask the API on the host itself; prints one JSON object for each line of a plan.

ask_api.py '[{"method": "GET", "url": "http://127.0.0.1:8001/health", "token_file": null, "body": null}, …]'
"""

from __future__ import annotations

import hashlib
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


def ask(one: dict[str, Any]) -> dict[str, Any]:
    """Return status, headers and body; a picture as its size, digest and ends."""
    headers = {"Content-Type": "application/json"} if one.get("body") is not None else {}
    if one.get("token_file"):
        headers["Authorization"] = "Bearer " + Path(one["token_file"]).read_text(encoding="utf-8").strip()
    body = json.dumps(one["body"]).encode() if one.get("body") is not None else None
    request = urllib.request.Request(one["url"], data=body, method=one.get("method", "GET"), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=35) as answer:
            status, told, data = answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        status, told, data = error.code, dict(error.headers), error.read()
    except (OSError, urllib.error.URLError) as error:
        return {"status": 0, "error": str(error)}
    if told.get("Content-Type", "").startswith("image/"):
        return {
            "status": status,
            "headers": told,
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "is_jpeg": data.startswith(b"\xff\xd8\xff") and data.rstrip(b"\0").endswith(b"\xff\xd9"),
        }
    try:
        return {"status": status, "headers": told, "json": json.loads(data)}
    except ValueError:
        return {"status": status, "headers": told, "text": data[:500].decode(errors="replace")}


print(json.dumps([ask(one) for one in json.loads(sys.argv[1])]))

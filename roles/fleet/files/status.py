# SPDX-License-Identifier: MIT
"""Say how one host is: what is deployed, whether it serves, and how disk, temperature and clock are.

Run on the host by tasks/look.yml with the host's own Python and nothing installed: where to look comes as JSON in the
first argument, what was found goes out as JSON. Changes nothing, and answers on a host where nothing is deployed.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SECONDS = 20  # fieldcam asks the API, which may hang
TIME_ERROR = 5  # adjtimex(2): the kernel's clock is not synchronised
CLOCKS_DIFFER_SECONDS = 15  # a connection takes its time, too
THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")
# What vcgencmd get_throttled means, by bit; the upper half is since the start.
THROTTLED = {0: "undervoltage", 1: "frequency capped", 2: "throttled", 3: "temperature limit"}


def main() -> int:
    """Print what was found as one JSON object."""
    asked = json.loads(sys.argv[1])
    current = Path(asked["install_dir"]) / "current"
    found: dict[str, Any] = {
        "deployment": deployment_of(current),
        "release": release_of(current),
        "health": "not deployed",
        "reasons": [],
        "frame_age": None,
        "error": "",
        "disk": disk_of(asked["archive_dir"]),
        "root_disk": disk_of("/"),
        "temperature": temperature(),
        "power": power(),
        "clock": clock(asked.get("now")),
        "uptime": round(time.clock_gettime(time.CLOCK_BOOTTIME)),
    }
    if found["deployment"]:
        found |= appliance(current / "venv" / "bin" / "fieldcam", asked["config"])
    print(json.dumps(found))
    return 0


def deployment_of(current: Path) -> str:
    """Return the name of the deployment in use; empty when there is none."""
    try:
        return current.readlink().name
    except OSError:
        return ""


def release_of(current: Path) -> str:
    """Return the name of the release in use."""
    venv = current / "venv"
    try:
        return venv.resolve(strict=True).parent.name
    except OSError:
        return ""


def appliance(command: Path, config: str) -> dict[str, Any]:
    """Return what the appliance says of itself."""
    try:
        said = subprocess.run(
            [command, "status", "--json", "--config", config],
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        told = json.loads(said.stdout)
    except subprocess.TimeoutExpired:
        return {"health": "unknown", "error": f"fieldcam status gave no answer for {SECONDS} s"}
    except (OSError, ValueError) as error:
        words = said.stderr.strip().splitlines() if "said" in locals() else [str(error)]
        return {"health": "unknown", "error": words[-1] if words else str(error)}
    reasons = [f"{one['code']}: {one['message']}" for one in told["reasons"]]
    served = told["status"] != "unhealthy" and not told["api"]
    return {
        "health": "API silent" if served else told["status"],
        "reasons": reasons,
        "frame_age": told["latest_image_age"],
        "simulated": told["simulated"],
        "error": reasons[0] if reasons else last_error(told["cameras"]),
    }


def last_error(cameras: list[dict[str, Any]]) -> str:
    """Return what went wrong last with any camera, also when it is over."""
    errors = [camera["last_error"] for camera in cameras if camera.get("last_error")]
    if not errors:
        return ""
    newest = max(errors, key=lambda error: str(error.get("at", "")))
    return f"{newest['code']} at {newest.get('at', 'an unknown time')} (over)"


def disk_of(path: str) -> dict[str, Any] | None:
    """Return how full the file system of a path is; None where it is not there."""
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    return {"used_percent": round(100 * (usage.total - usage.free) / usage.total, 1), "free_bytes": usage.free}


def temperature() -> float | None:
    """Return degrees Celsius of the processor; None where nothing measures them."""
    try:
        return round(int(THERMAL.read_text(encoding="ascii")) / 1000, 1)
    except (OSError, ValueError):
        return None


def power() -> str | None:
    """Return what the firmware of a Pi says of its power; None on other machines."""
    try:
        said = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, check=True, timeout=5)
        bits = int(said.stdout.strip().partition("=")[2], 16)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    now = [words for bit, words in THROTTLED.items() if bits >> bit & 1]
    earlier = [f"{words} earlier" for bit, words in THROTTLED.items() if bits >> (bit + 16) & 1 and words not in now]
    return ", ".join([*now, *earlier]) or "ok"


def clock(controller: float | None) -> str:
    """Return whether the clock is kept, and how far it is from that of the controller when that is far."""
    # struct timex has 208 bytes on 64-bit Linux; modes = 0 only reads.
    state: int = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    words = "synchronised" if 0 <= state < TIME_ERROR else "not synchronised"
    away = time.time() - controller if controller is not None else 0.0
    return f"{words}, {away:+.0f} s" if abs(away) > CLOCKS_DIFFER_SECONDS else words


if __name__ == "__main__":
    sys.exit(main())

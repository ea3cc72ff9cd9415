# SPDX-License-Identifier: MIT
"""Say how power, temperature and boot firmware of a Raspberry Pi are, in sentences; JSON out. Changes nothing.

The first argument is the temperature in degrees Celsius that counts as hot. `known` has what was found, `wrong` what
somebody should see to. What a tool does not say, or says in words not known here, is left out: this never fails.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
THROTTLED = {
    0: "the supply voltage is too low now: use the power supply and the cable made for this Pi",
    1: "the frequency is capped now",
    2: "it is throttled now",
    3: "the soft limit of temperature is active now: give it air",
    16: "the supply voltage was too low since the boot: use the power supply and the cable made for this Pi",
    17: "the frequency was capped since the boot",
    18: "it was throttled since the boot",
    19: "the soft limit of temperature was reached since the boot: give it air",
}


def main() -> int:
    """Print what was found as one JSON object."""
    hot = float(sys.argv[1])
    known: list[str] = []
    wrong: list[str] = []
    throttled = re.search(r"throttled=(0x[0-9a-fA-F]+)", said("vcgencmd", "get_throttled"))
    if throttled:
        bits = int(throttled[1], 16)
        known.append(f"throttled={throttled[1]}")
        wrong += [sentence for bit, sentence in THROTTLED.items() if bits >> bit & 1]
    celsius = temperature()
    if celsius is not None:
        known.append(f"{celsius:.1f} degrees Celsius")
        if celsius >= hot:
            wrong.append(f"it has {celsius:.1f} degrees Celsius, {hot:g} or more: give it air")
    firmware = said("rpi-eeprom-update")
    state = re.search(r"^BOOTLOADER: (.+)$", firmware, re.MULTILINE)
    current = re.search(r"^\s*CURRENT: (.+)$", firmware, re.MULTILINE)
    if state:
        known.append(f"boot firmware {current[1].strip() if current else ''}: {state[1].strip()}")
        if "update available" in state[1].lower():
            wrong.append("there is newer boot firmware: sudo rpi-eeprom-update -a, then reboot")
    print(json.dumps({"known": known, "wrong": wrong}))
    return 0


def said(*command: str) -> str:
    """Return what a tool says; empty when it is not there, hangs or fails to start."""
    path = shutil.which(command[0])
    if path is None:
        return ""
    try:
        run = subprocess.run([path, *command[1:]], capture_output=True, check=False, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout.decode("utf-8", "replace")


def temperature() -> float | None:
    """Return degrees Celsius of the processor, from the firmware or from the kernel."""
    measured = re.search(r"temp=(-?\d+(?:\.\d+)?)", said("vcgencmd", "measure_temp"))
    if measured:
        return float(measured[1])
    try:
        return int(Path("/sys/class/thermal/thermal_zone0/temp").read_text(encoding="ascii")) / 1000
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    sys.exit(main())

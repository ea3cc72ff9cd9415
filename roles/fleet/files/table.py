# SPDX-License-Identifier: MIT
"""Print what is known of hosts as a table that a person can read. Run on the controller.

table.py status     rows of tasks/look.yml as JSON on standard input
table.py changes    the same, each with `before`, `outcome` and `why` besides
table.py jobs       `host`, `outcome` and `why`
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

# Of a cell. Reasons are told in full below the table, and status has a file with all of it; a path is no use cut short.
WIDEST = {"status": 60, "changes": 90, "jobs": 250}
Row = Mapping[str, Any]


def main() -> int:
    """Print the table, and how many hosts are how."""
    kind, rows = sys.argv[1], json.load(sys.stdin)
    columns, counted = TABLES[kind]
    cells = [[cell(take(row), WIDEST[kind]) for take in columns.values()] for row in rows]
    print("\n".join(table(list(columns), cells)))
    counts = Counter(str(row[counted]) for row in rows)
    hosts = f"{len(rows)} host{'' if len(rows) == 1 else 's'}"
    print(f"\n{hosts}: {', '.join(f'{count} {name}' for name, count in sorted(counts.items()))}")
    return 0


def key(name: str, unit: str = "") -> Callable[[Row], Any]:
    """Return what takes a value out of a row, with its unit."""

    def take(row: Row) -> Any:
        value = row.get(name)
        return f"{value} {unit}" if unit and value is not None else value

    return take


def disk(row: Row) -> str | None:
    """Return how full the archive is; the root disk when that is fuller."""
    archive, root = row.get("disk"), row.get("root_disk")
    if not archive:
        return None
    if root and root["used_percent"] > archive["used_percent"]:
        return f"{archive['used_percent']} % (/: {root['used_percent']} %)"
    return f"{archive['used_percent']} %"


def warmth(row: Row) -> str | None:
    """Return the temperature, and what is wrong with the power."""
    words = [f"{row['temperature']} °C"] if row.get("temperature") is not None else []
    words += [row["power"]] if row.get("power") not in {None, "ok"} else []
    return ", ".join(words)


TABLES: dict[str, tuple[dict[str, Callable[[Row], Any]], str]] = {
    "status": (
        {
            "host": key("host"),
            "release": key("release"),
            "health": key("health"),
            "frame age": key("frame_age", "s"),
            "disk": disk,
            "temperature": warmth,
            "clock": key("clock"),
            "last error": key("error"),
        },
        "health",
    ),
    "changes": (
        {
            "host": key("host"),
            "outcome": key("outcome"),
            "before": key("before"),
            "now": key("release"),
            "health": key("health"),
            "why": key("why"),
        },
        "outcome",
    ),
    "jobs": ({"host": key("host"), "outcome": key("outcome"), "what": key("why")}, "outcome"),
}


def table(columns: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a table."""
    told = [columns, *rows]
    widths = [max(len(row[number]) for row in told) for number in range(len(columns))]
    told.insert(1, ["-" * width for width in widths])
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in told]


def cell(value: Any, widest: int) -> str:
    """Return a value in one line of words."""
    text = "-" if value is None or value == "" else " ".join(str(value).split())
    return text if len(text) <= widest else text[: widest - 1] + "…"


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""What a harness found, and how certain that makes us."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

EXAMPLES = 5


@dataclass
class Outcome:
    """Result of one harness for one promise.

    Attributes:
        promise: which.
        how: what was done.
        tries: how often.
        failures: tries in which something was wrong.
        acknowledged: captures acknowledged in all tries.
        examples: the first things that were wrong.
        seconds: how long it took.
    """

    promise: str
    how: str
    tries: int = 0
    failures: int = 0
    acknowledged: int = 0
    examples: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def tried(self, problems: Iterable[str]) -> None:
        """Note one try and what was wrong with it."""
        found = list(problems)
        self.tries += 1
        if found:
            self.failures += 1
            self.examples += found[: max(0, EXAMPLES - len(self.examples))]

    @property
    def bound(self) -> str:
        """The rate of failures that 95 % certainty excludes: 3/N after N tries without one."""
        if self.tries == 0:
            return "-"
        return (
            f"< {min(100, 300 / self.tries):.2g} %"
            if self.failures == 0
            else f"{100 * self.failures / self.tries:.1f} %"
        )


Progress = Callable[[], None]


def no_progress() -> None:
    """Tell nobody."""

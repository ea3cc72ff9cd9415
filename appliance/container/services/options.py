# SPDX-License-Identifier: MIT
"""Options from the environment: an option that cannot be used names itself, its value and what it may be."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from services.geometry import Box, Line, Point

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


class OptionError(ValueError):
    """An environment variable has a value that cannot be used.

    What to do: mend it in compose.yaml; docs/services.md has a table of all options.
    """


class Options:
    """Reads options.

    An empty variable is as good as none: compose files say `NAME: ${NAME:-}`.

    Args:
        environ: the environment.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str) -> str:
        """Return a text."""
        return self._environ.get(name, "").strip() or default

    def name(self, name: str, default: str) -> str:
        """Return a name as consumers have them.

        Raises:
            OptionError: it is none.
        """
        text = self.text(name, default)
        if _NAME.fullmatch(text) is None:
            raise OptionError(f"{name}={text[:64]!r}: give 1 to 32 of a-z, 0-9 and -, beginning with a letter or digit")
        return text

    def number(self, name: str, default: float, *, least: float, most: float) -> float:
        """Return a number from `least` to `most`.

        Raises:
            OptionError: it is none.
        """
        text = self.text(name, repr(default))
        numbers = _numbers(text)
        if len(numbers) != 1 or not least <= numbers[0] <= most:
            raise OptionError(f"{name}={text!r}: give a number from {least:g} to {most:g}")
        return numbers[0]

    def whole(self, name: str, default: int, *, least: int, most: int) -> int:
        """Return a whole number from `least` to `most`.

        Raises:
            OptionError: it is none.
        """
        number = self.number(name, default, least=least, most=most)
        if number != int(number):
            raise OptionError(f"{name}={self.text(name, '')!r}: give a whole number from {least} to {most}")
        return int(number)

    def line(self, name: str, default: Line) -> Line:
        """Return a line from `x1,y1,x2,y2`, fractions of the picture.

        Raises:
            OptionError: it is none, or so short that it has no sides.
        """
        text = self.text(name, "")
        if not text:
            return default
        numbers = _numbers(text)
        if len(numbers) != 4 or not all(0 <= number <= 1 for number in numbers):
            raise OptionError(f"{name}={text!r}: give x1,y1,x2,y2 as fractions of the picture, such as 0.5,0,0.5,1")
        line = Line(Point(numbers[0], numbers[1]), Point(numbers[2], numbers[3]))
        if (line.end - line.start).length < 0.05:
            raise OptionError(f"{name}={text!r}: the line is shorter than a twentieth of the picture")
        return line

    def box(self, name: str, default: Box) -> Box:
        """Return a rectangle from `left,top,right,bottom`, fractions of the picture.

        Raises:
            OptionError: it is none, or it is empty.
        """
        text = self.text(name, "")
        if not text:
            return default
        numbers = _numbers(text)
        if len(numbers) != 4 or not all(0 <= number <= 1 for number in numbers):
            raise OptionError(f"{name}={text!r}: give left,top,right,bottom as fractions, such as 0,0,1,0.33")
        box = Box(*numbers)
        if box.width < 0.01 or box.height < 0.01:
            raise OptionError(f"{name}={text!r}: left must be less than right, and top less than bottom")
        return box

    def corners(self, name: str) -> tuple[Point, ...] | None:
        """Return the corners of a polygon from `x,y x,y x,y …`, fractions of the picture; None when it is not set.

        Raises:
            OptionError: it is no polygon.
        """
        text = self.text(name, "")
        if not text:
            return None
        pairs = [_numbers(pair) for pair in text.split()]
        if len(pairs) < 3 or not all(len(pair) == 2 and min(pair) >= 0 and max(pair) <= 1 for pair in pairs):
            raise OptionError(f"{name}={text!r}: give three corners or more, such as 0,0.4 1,0.4 1,1 0,1")
        return tuple(Point(x, y) for x, y in pairs)

    def labels(self, name: str, default: tuple[str, str]) -> tuple[str, str]:
        """Return two different names from `one,other`.

        Raises:
            OptionError: they are not two.
        """
        text = self.text(name, ",".join(default))
        labels = [label.strip() for label in text.split(",")]
        if len(labels) != 2 or not all(labels) or labels[0] == labels[1] or max(map(len, labels)) > 64:
            raise OptionError(f"{name}={text!r}: give two different names, such as north,south")
        return labels[0], labels[1]

    def choice(self, name: str, default: str, among: tuple[str, ...]) -> str:
        """Return one of several words.

        Raises:
            OptionError: it is none of them.
        """
        text = self.text(name, default)
        if text not in among:
            raise OptionError(f"{name}={text!r}: give one of {', '.join(among)}")
        return text


def _numbers(text: str) -> list[float]:
    """Return the finite numbers of a list with commas; empty when anything in it is none."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return []
    return numbers if all(map(math.isfinite, numbers)) else []

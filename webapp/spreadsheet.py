"""CSV that people open in a spreadsheet. The one place that writes it: no cell is ever taken for a formula, whatever it names."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any, Protocol

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")


class Target(Protocol):
    def write(self, text: str, /) -> Any: ...


class Sheet:
    def __init__(self, target: Target) -> None:
        self._writer = csv.writer(target)

    def writerow(self, cells: Iterable[Any]) -> None:
        """Numbers stay numbers; a text that a spreadsheet would run gets an apostrophe before it."""
        self._writer.writerow([cell if isinstance(cell, int | float) else defused(cell) for cell in cells])


def defused(cell: Any) -> str:
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(FORMULA) else text

"""Files of nothing but texts, which stand between blank lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from webapp.datasets.reading import MIB
from webapp.datasets.reading.staging import Desk

FEWEST = 3  # texts
MOST_LINES = 20  # of a text on average; a list with a blank line here and there is still a list


def has_documents(head: str) -> bool:
    """Whether blank lines stand between the texts; else each line is one."""
    lines = [bool(line.strip()) for line in head.split("\n")]
    texts = sum(full and not before for before, full in zip([False, *lines], lines, strict=False))
    return texts >= FEWEST and sum(lines) <= MOST_LINES * texts and texts < len(lines) - 1 and not all(lines[: len(lines) // 2])


def rows(blocks: Iterable[bytes], desk: Desk) -> Iterator[tuple[int, list[str]]]:
    """(first line, [text]) of each text, its line breaks kept inside."""
    number, first, held, size = 0, 0, list[str](), 0

    def text() -> Iterator[tuple[int, list[str]]]:
        if size > desk.limits.cell:
            desk.reject(first, "too_long", f"The text in line {first:,} is longer than {desk.limits.cell // MIB} MB.", [held[0][:500]])
        elif held:
            yield first, ["\n".join(held)]

    for block in blocks:
        for line in block.decode().removesuffix("\n").split("\n"):
            number += 1
            if line.strip():
                first = number if not held else first
                size += len(line.encode()) + 1
                if size <= desk.limits.cell or not held:
                    held.append(line.rstrip())
            elif held:
                yield from text()
                held, size = [], 0
    yield from text()

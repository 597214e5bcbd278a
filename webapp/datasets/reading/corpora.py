"""Archives whose files are the rows, or columns of them: a text in each file, or a translation in each line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from webapp.datasets.reading import MIB, SPLIT, Problem, ReadingError, encodings, text
from webapp.datasets.reading.container import Archive, Member
from webapp.datasets.reading.members import Pair
from webapp.datasets.reading.staging import Desk

Row = tuple[int, list[str]]
Rows = Callable[[Desk, str], tuple[list[str], Iterator[Row], encodings.Guess]]  # (desk, encoding or "") to (columns, rows, the encoding)


def texts(archive: Archive, found: list[tuple[str, str, Member]], room: Path, with_parts: bool) -> Rows:
    """Rows of text, label and file, and (where folders say so) split: one for each file, numbered as they stand in the archive."""
    columns = ["text", "label", "file", *([SPLIT] if with_parts and any(part for part, _, _ in found) else [])]

    def rows(desk: Desk, ends: list[int], encoding: str) -> Iterator[Row]:
        with room.open("rb") as whole:
            for number, ((part, label, member), end) in enumerate(zip(found, ends, strict=True), 1):
                desk.progress("reading", number, len(found))
                size = end - whole.tell()
                data = whole.read(size)
                if size > desk.limits.cell:
                    start = [data[:500].decode(encoding, "replace"), label]
                    desk.reject(number, "too_long", f"{member.name} is longer than {desk.limits.cell // MIB} MB.", start)
                    continue

                def note(problem: Problem, member: Member = member, number: int = number) -> None:
                    desk.note(replace(problem, row=number, message=f"{member.name}: {problem.message}"))

                clean = text.tidy(*without_bom(data, encoding), 1, note).decode()
                cells = [clean.replace("\r\n", "\n").replace("\r", "\n").strip("\n"), label, member.name, part]
                if clean.strip():
                    yield number, cells[: len(columns)]
                else:
                    desk.blank += 1

    def read(desk: Desk, encoding: str) -> tuple[list[str], Iterator[Row], encodings.Guess]:
        ends = []
        with room.open("wb") as out:
            for _, _, member in found:
                archive.pour(member, out)
                ends.append(out.tell())
        guess = encodings.Guess(encoding) if encoding else text.detect(room, desk.name)
        return columns, rows(desk, ends, guess.encoding), guess

    return read


def without_bom(data: bytes, encoding: str) -> tuple[bytes, str]:
    """A file may say for itself how it is encoded."""
    bom, own = next(((bom, own) for bom, own in text.BOMS if data.startswith(bom)), (b"", encoding))
    return data[len(bom) :], own


def pairs(archive: Archive, pair: Pair, rooms: tuple[Path, Path]) -> Rows:
    """Rows of two files that have the same number of lines. Raises ReadingError with both numbers when they have not."""

    def rows(desk: Desk, guesses: list[encodings.Guess]) -> Iterator[Row]:
        counts = [0, 0]
        sides = [lines(room, guess.encoding, desk) for room, guess in zip(rooms, guesses, strict=True)]
        for number, (one, other) in enumerate(zip_longest(*sides), 1):
            counts = [counts[0] + (one is not None), counts[1] + (other is not None)]
            if one is None or other is None:
                continue
            if one.strip() or other.strip():
                yield number, [one, other]
            else:
                desk.blank += 1
        if counts[0] != counts[1]:
            first, second = (side.name for side in pair.sides)
            message = (
                f"{first} has {counts[0]:,} lines and {second} {counts[1]:,}, so they cannot be paired line by line. Align them first."
            )
            raise ReadingError("unequal_lines", message, file=archive.name, row=min(counts) + 1)

    def read(desk: Desk, encoding: str) -> tuple[list[str], Iterator[Row], encodings.Guess]:
        guesses = []
        for member, room in zip(pair.sides, rooms, strict=True):
            with room.open("wb") as out:
                archive.pour(member, out)
            guesses.append(encodings.Guess(encoding) if encoding else text.detect(room, member.name))
        return list(pair.columns), rows(desk, guesses), min(guesses, key=lambda guess: guess.confidence)

    return read


def lines(path: Path, encoding: str, desk: Desk) -> Iterator[str]:
    for block in text.blocks(path, desk.name, encoding, desk.note, desk.progress):
        yield from block.decode().removesuffix("\n").split("\n")

"""Plain text with its labels in it: fastText's `__label__x` before a text, CoNLL's words with a tag each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from webapp.datasets.reading import MIB, Finding
from webapp.datasets.reading.staging import Desk
from webapp.datasets.reading.values import as_json

PREFIX = "__label__"
LABEL = re.compile(rf"{PREFIX}([^\s,]+)")
AROUND = re.compile(rf"^\s*(?:{PREFIX}[^\s,]+\s*,?\s+)+|(?:\s+{PREFIX}[^\s,]+)+\s*$")
TAG = re.compile(r"O|[BIESUL]-\S+")
ENOUGH = 0.8  # of the lines
OUTSIDE = "-DOCSTART-"


# --- fastText ---------------------------------------------------------------------------------------------------------------
def is_fasttext(head: str) -> bool:
    lines = [line for line in head.split("\n") if line.strip()][:200]
    return bool(lines) and sum(bool(AROUND.search(line + " ")) for line in lines) >= ENOUGH * len(lines)


def fasttext_rows(blocks: Iterable[bytes], desk: Desk) -> Iterator[tuple[int, list[str]]]:
    """(line, [label, text]); several labels as a list, none as an empty cell."""
    for number, line in lines_of(blocks):
        if len(line) > desk.limits.line:
            desk.reject(number, "too_long", f"Line {number:,} is longer than {desk.limits.line // MIB} MB.", [line[:500]])
        elif line.strip():
            labels = [label for part in AROUND.finditer(line + " ") for label in LABEL.findall(part[0])]
            yield number, [labels[0] if len(labels) == 1 else as_json(labels) if labels else "", AROUND.sub("", line + " ").strip()]


# --- CoNLL ------------------------------------------------------------------------------------------------------------------
def is_conll(head: str) -> bool:
    """Words with a tag in the last column, an empty line after each sentence."""
    lines = head.split("\n")[:400]
    full = [line.split() for line in lines if line.strip() and not line.startswith(("#", OUTSIDE))]
    if len(full) > 5 and sum(is_conllu(cells) for cells in full) >= ENOUGH * len(full):
        return True
    tagged = [cells for cells in full if len(cells) > 1 and TAG.fullmatch(cells[-1])]
    gaps = any(not line.strip() for line in lines[:-1])
    return gaps and len(full) > 5 and len(tagged) >= ENOUGH * len(full) and len({cells[-1] for cells in tagged}) > 1


def is_conllu(cells: list[str]) -> bool:
    """A word of CoNLL-U: its number, the word, its lemma, its part of speech and six more."""
    return (
        len(cells) == 10
        and cells[0].replace(".", "").replace("-", "").isdigit()
        and cells[3].replace("_", "").isupper() | (cells[3] == "_")
    )


def conll_rows(blocks: Iterable[bytes], desk: Desk) -> Iterator[tuple[int, list[str]]]:
    """(first line, [text, words, tags]) of each sentence."""
    first, held = 0, list[list[str]]()

    def sentence() -> Iterator[tuple[int, list[str]]]:
        word, tag = (1, 3) if all(map(is_conllu, held)) else (0, -1)
        words, tags = [cells[word] for cells in held], [cells[tag] for cells in held]
        row = [" ".join(words), as_json(words), as_json(tags)]
        if sum(map(len, row)) > desk.limits.cell:
            desk.reject(first, "too_long", f"The sentence in line {first:,} is longer than {desk.limits.cell // MIB} MB.", [row[0][:500]])
        elif held:
            yield first, row

    for number, line in lines_of(blocks):
        if line.startswith("# ") and not TAG.fullmatch(line.split()[-1]):
            continue  # a remark about the sentence
        if line.strip() and not line.startswith(OUTSIDE):
            first = number if not held else first
            held.append(line.split())
        elif held:
            yield from sentence()
            held = []
    yield from sentence()


def no_task_yet(name: str) -> Finding:
    text = (
        f"{name} holds words with a tag for each (CoNLL): data for token classification (named entities), a task that Tunebench does "
        "not have yet. Its sentences can be used for another task if you choose the columns yourself."
    )
    return Finding("token_classification", text, "error", asks="confirmation")


def lines_of(blocks: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    number = 0
    for block in blocks:
        for line in block.decode("utf-8", "replace").removesuffix("\n").split("\n"):
            number += 1
            yield number, line

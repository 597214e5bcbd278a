"""Which of the first rows names the columns."""

from __future__ import annotations

import re
from collections import Counter

from worker.nlp import KINDS

NUMBER = re.compile(r"[-+]?[\d.,  ]*\d[%€$£]?")
USUAL = {"id", "no", "nr", "nummer", "number", "index", "date", "name", "user", "score", "rating", "split", "question", "answer", "context"}
TOTAL = re.compile(  # with what may stand beside the word; "Total rubbish, never again" is a review
    r"\s*(?:(?:(?:grand|sub|over ?all)[\s-]*)?totals?|sum|summe|gesamt\w*|insgesamt|somme|suma|totale|итого|всего|合计|合計|总计|總計|总数|小计|総計)"
    r"(?:\s+(?:of|for|all|number|count|amount|rows|records|reviews|texts|items|entries|lines|score|average|der|zeilen|texte|général|general))*"
    r"[\s:=：.#%()]*(?:[-+\d.,\s%]+(?:\s*(?:rows|records|reviews|texts|items|entries|lines|zeilen|texte|lignes|条|行))?[\s().]*)?",
    re.IGNORECASE,
)
NAMED = re.compile(r"[A-Za-z]*[-_.]?\d+")  # such as 17, X17 or doc-17
LOOK = 25  # rows in which a header may hide
SENTENCE_ENDS = ("!", "?", "。", "！", "？")
NEARLY_EMPTY = 0.1  # of the cells of a column that needs no name are filled
SHORT = 40  # characters of a name


def known_names() -> set[str]:
    return USUAL | {hint for task in KINDS.values() for role in task.roles for hint in role.hints}


def is_number(cell: str) -> bool:
    return bool(NUMBER.fullmatch(cell.strip()))


def is_sentence(cell: str) -> bool:
    """A name may end in a full stop, as "No." does."""
    return cell.endswith(SENTENCE_ENDS) or (cell.endswith(".") and len(cell) > 5)


def width_of(rows: list[list[str]]) -> int:
    widths = Counter(len(row) for row in rows if any(cell.strip() for cell in row))
    return max(widths, key=lambda w: (widths[w], w)) if widths else 0


def is_total(cells: list[str]) -> bool:
    """Whether these cells of a last row are sums of those above, not a record."""
    filled = [cell for cell in cells if cell.strip()]
    return len(cells) > 1 and 0 < len(filled) < len(cells) and any(len(cell) <= 2 * SHORT and TOTAL.fullmatch(cell) for cell in filled)


def names_rows(body: list[list[str]], names: list[str], width: int) -> tuple[bool, bool]:
    """(whether the first column holds the names of rows and has none itself, as R writes tables; whether that is sure)."""
    whole = [row for row in body if len(row) == width]
    first = [row[0].strip() for row in whole]
    if len(names) != width - 1 or not whole or not any(row[-1].strip() for row in whole):
        return False, True
    are_names = len(set(first)) == len(first) and sum(len(cell.split()) for cell in first) <= 3 * len(first)
    return are_names, are_names and all(map(NAMED.fullmatch, first))


def guess(rows: list[list[str]]) -> int:
    """Index of the header in `rows`, or -1 when the first rows look like all the others."""
    width = width_of(rows)
    for index, row in enumerate(rows[:LOOK]):
        filled = sum(bool(cell.strip()) for cell in row)
        body = [r for r in rows[index + 1 :] if len(r) == width]
        used = [c for c in range(width) if sum(bool(r[c].strip()) for r in body) > NEARLY_EMPTY * len(body)]
        named = sum(bool(row[c].strip()) for c in used) / len(used) if len(row) == width and used else filled / max(1, width)
        if abs(len(row) - width) <= (0 if index else 1) and filled and named >= 0.6:
            return index if names_columns(row, body, width) else -1
        if len(row) == width and filled > 0.3 * width and not body:
            return index
        if known_names() & {cell.strip().lower() for cell in row} and len(row) <= width and filled > 1:
            return index
    return 0 if rows and len(rows) == 1 else -1


def names_columns(row: list[str], body: list[list[str]], width: int) -> bool:
    cells = [cell.strip() for cell in row]
    if names_rows(body, cells, width)[0]:
        body, width = [r[1:] for r in body], width - 1
    if {cell.lower() for cell in cells} & known_names():
        return True
    below = [[v for r in body if (v := r[column].strip())] for column in range(width)]
    asked = questions(cells[:width], below)
    if any(is_number(cell) or len(cell) > 200 or (is_sentence(cell) and at not in asked) for at, cell in enumerate(cells)):
        return False
    if not body or row in body:  # repeated in the middle, as tables made of pages do
        return True
    named = against = 0
    for column, cell in enumerate(cells[:width]):
        full = below[column]
        if not cell or not full:
            continue
        typed = column in asked or are_numbers(full)
        shorter = len(cell) < 0.5 * sum(map(len, full)) / len(full)
        repeated = cell in full and is_choice(full)  # "neutral" above a column of labels is one of them
        named += not repeated and (typed or shorter)
        against += repeated
    return named > against or (not against and all(len(cell) <= SHORT for cell in cells))


def questions(cells: list[str], below: list[list[str]]) -> set[int]:
    """Columns that are called by the question of a form, with its answers below. Texts of another length alone do not show that:
    a short question may be the first of many texts."""
    chosen = {at for at, full in enumerate(below[: len(cells)]) if are_numbers(full) or (cells[at] not in full and is_choice(full))}
    asked = {at for at, cell in enumerate(cells) if cell.endswith(("?", "？")) and (at in chosen or is_of_other_length(cell, below[at]))}
    return asked if chosen else set()


def are_numbers(full: list[str]) -> bool:
    return bool(full) and sum(is_number(v) for v in full) > 0.7 * len(full)


def is_choice(full: list[str]) -> bool:
    return bool(full) and len(set(full)) < 0.6 * len(full)


def is_of_other_length(cell: str, full: list[str]) -> bool:
    usual = sum(map(len, full)) / max(1, len(full))
    return bool(full) and not 0.5 * len(cell) <= usual <= 2 * len(cell)

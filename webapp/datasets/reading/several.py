"""Rows with several labels. There is no training on several labels a row yet: a person says what one class a row shall be."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import polars as pl

from webapp.datasets.reading import Finding, ReadingError
from webapp.datasets.reading.values import as_json, as_text, opened

OPTION = "several_labels"
EXPLODE, FIRST, WHOLE, WAIT = "explode", "first", "whole", "wait"
CHOICES = (EXPLODE, FIRST, WHOLE, WAIT)
SEPARATORS = (";", "|", "#", ",", "、", "，", "；")
MOST_VALUES = 50_000  # different cells that are looked at
MOST_COMPARED = 5_000  # of which, the commonest, tell what stands between labels
LONGEST = 200  # characters of a cell with several labels; a longer one is a text
KNOWN = 0.5  # of the labels between separators stand alone elsewhere, or in two different cells
DECIMAL = re.compile(r"[-+]?\d+[.,]\d+")  # one number


@dataclass(frozen=True)
class Several:
    """What the cells of a column of labels hold. `parts` gives the labels of a cell, None for a record that is no label at all."""

    column: str
    counted: tuple[tuple[str, int], ...]  # (cell, rows)
    separator: str  # between labels in a text; empty: the cells are lists

    @classmethod
    def find(cls, rows: pl.LazyFrame, column: str) -> Several | None:
        """None where every cell is one label."""
        cells = pl.col(column).str.strip_chars().alias("cell")
        counted = rows.group_by(cells).agg(pl.len().alias("rows")).sort("rows", "cell", descending=[True, False]).head(MOST_VALUES)
        table = tuple(counted.collect(engine="streaming").iter_rows())
        if any(inside(cell) is not None for cell, _ in table):
            return cls(column, table, "")
        common = {cell for cell, _ in table[:MOST_COMPARED]}
        return next((cls(column, table, sign) for sign in SEPARATORS if between(common, sign)), None)

    def parts(self, cell: str) -> list[str] | None:
        bare = cell.strip()
        if self.separator:
            pieces = split(bare, self.separator)
            return pieces if len(pieces) > 1 else [bare] * bool(bare)
        value = inside(bare)
        return [bare] * bool(bare) if value is None else labels_in(value)

    @cached_property
    def _taken_apart(self) -> list[tuple[str, list[str] | None, int]]:
        return [(cell, self.parts(cell), rows) for cell, rows in self.counted]

    @property
    def records(self) -> int:
        """Rows in which the cell is some record, not one label nor several."""
        return sum(rows for _, parts, rows in self._taken_apart if parts is None)

    @property
    def rows(self) -> int:
        """Rows with several labels."""
        return sum(rows for _, parts, rows in self._taken_apart if parts and len(parts) > 1)

    @property
    def example(self) -> str:
        return next((", ".join(parts) for _, parts, _ in self._taken_apart if parts and len(parts) > 1), "")

    def gives(self, how: str) -> dict[str, int]:
        """How many rows and classes each answer gives."""
        found: Counter[str] = Counter()
        for cell, parts, rows in self._taken_apart:
            for label in self.chosen(cell, parts or [], how):
                found[label] += rows
        return {"rows": found.total(), "labels": len(found)}

    @staticmethod
    def chosen(cell: str, parts: list[str], how: str) -> list[str]:
        return [cell.strip()] * bool(cell.strip()) if how == WHOLE else parts[:1] if how == FIRST else parts

    def choices(self) -> tuple[str, ...]:
        return (EXPLODE, FIRST, WHOLE) if self.separator else (EXPLODE, FIRST)

    def applied(self, rows: pl.LazyFrame, how: str) -> pl.LazyFrame:
        """One label a row; a row without any keeps an empty cell. Not decided is shown as each label in a row of its own."""

        @lru_cache(MOST_VALUES)
        def labels(cell: str) -> list[str]:
            return self.chosen(cell, self.parts(cell) or [], how) or [""]

        return rows.with_columns(pl.col(self.column).map_elements(labels, return_dtype=pl.List(pl.String))).explode(self.column)

    def finding(self, how: str) -> list[Finding]:
        if not self.rows:
            return []
        gives = self.gives(how or EXPLODE)
        said = f'The column {self.column} holds several labels in a cell, such as "{self.example[:80]}": {self.rows:,} rows.'
        if how in self.choices():
            does = {
                EXPLODE: "Each label got a row of its own",
                FIRST: "The first label was taken",
                WHOLE: "Each cell was taken as one name",
            }
            return [Finding("several_labels", f"{said} {does[how]}: {gives['labels']:,} classes.", "info", self.rows, self.column)]
        ask = "One class a row is learnt, so choose: a row for each label, or the first label only"
        ask += ", or each cell as one name." if self.separator else "."
        if how == WAIT:
            return [
                Finding(
                    "several_labels",
                    f"{said} You chose to wait until several labels a row can be learnt.",
                    "error",
                    self.rows,
                    self.column,
                    OPTION,
                )
            ]
        return [Finding("several_labels", f"{said} {ask}", "warning", self.rows, self.column, OPTION)]

    def refuse(self, how: str) -> None:
        """Raises ReadingError where cells would become classes that nobody means."""
        if self.records > 0.5 * sum(rows for _, rows in self.counted):
            text = f"The column {self.column} holds records, not labels, in {self.records:,} rows. Choose another column."
            raise ReadingError("no_label", text, column=self.column)
        if self.rows and how not in self.choices():
            raise ReadingError("several_labels", self.finding(how)[0].message, column=self.column)

    @staticmethod
    def without_conflicts(findings: list[Finding], how: str) -> list[Finding]:
        """A text in a row for each of its labels does not contradict itself."""
        return findings if how in {FIRST, WHOLE} else [f for f in findings if f.code != "conflicting_labels"]

    def to_json(self, how: str) -> dict[str, Any]:
        gives = {choice: self.gives(choice) for choice in self.choices()}
        return {"column": self.column, "rows": self.rows, "example": self.example[:200], "chosen": how, "gives": gives}


@lru_cache(MOST_VALUES)
def inside(cell: str) -> Any:
    """The list or record that a cell writes down; None for a plain text."""
    return opened(cell)


def labels_in(value: Any) -> list[str] | None:
    """The labels of a list, or of what Label Studio puts into a cell: {"choices": ["A", "B"]}."""
    if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in {"choices", "labels", "taxonomy"}:
        value = next(iter(value.values()))
    if not isinstance(value, list):
        return None
    if value and all(isinstance(each, list) and not any(isinstance(step, list | dict) for step in each) for each in value):
        if all(isinstance(step, str) for each in value for step in each):
            return [" / ".join(each) for each in value]  # a path in a taxonomy
        return None
    if any(isinstance(each, list | dict) for each in value):
        return None
    return list(dict.fromkeys(text for each in value if (text := as_text(each).strip())))


def split(cell: str, sign: str) -> list[str]:
    pieces = [piece.strip() for piece in cell.split(sign)]
    return list(dict.fromkeys(filter(None, pieces)))


def between(cells: set[str], sign: str) -> bool:
    """Whether this sign stands between labels: half of what it parts stands alone in another cell, or beside something else."""
    joined = [tuple(pieces) for cell in cells if len(cell) <= LONGEST and sign in cell and len(pieces := split(cell, sign)) > 1]
    if not joined or all(DECIMAL.fullmatch(cell) for cell in cells if sign in cell):
        return False
    beside = Counter(piece for pieces in {frozenset(pieces) for pieces in joined} for piece in pieces)
    known = sum(piece in cells or times > 1 for piece, times in beside.items())
    return known >= KNOWN * len(beside)


# --- Columns of 0 and 1 ---------------------------------------------------------------------------------------------------
YES, NO = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no", ""}


def classes_beside(columns: list[tuple[str, set[str]]], rows: pl.LazyFrame) -> list[str]:
    """Columns of 0 and 1 that are called as classes: two or more of which exactly one is 1 in each row, or three or more.

    `columns`: (name, its different values).
    """
    flags = [name for name, values in columns if values and {value.strip().lower() for value in values} <= YES | NO]
    if len(flags) < 2:
        return []
    ones = pl.sum_horizontal(*(is_one(name).cast(pl.Int32) for name in flags))
    few, most = rows.select(ones.min().alias("few"), ones.max().alias("most")).collect(engine="streaming").row(0)
    return flags if (few, most) == (1, 1) or (len(flags) > 2 and most > 0) else []


def is_one(name: str) -> pl.Expr:
    return pl.col(name).str.strip_chars().str.to_lowercase().is_in(sorted(YES))


def gathered(rows: pl.LazyFrame, flags: list[str], name: str) -> pl.LazyFrame:
    """With one more column: the names of the columns that are 1, a list of them where there are several."""

    above = {flag.rpartition(".")[0] for flag in flags}  # of {"cats": {"SPAM": 1, "HAM": 0}}
    shared = len(above.pop()) + 1 if len(above) == 1 and all("." in flag for flag in flags) else 0

    def label(marks: dict[str, bool]) -> str:
        chosen = [flag for flag in flags if marks[flag]]
        names = [flag[shared:] for flag in chosen]
        return names[0] if len(names) == 1 else as_json(names) if names else ""

    return rows.with_columns(pl.struct(is_one(flag).alias(flag) for flag in flags).map_elements(label, return_dtype=pl.String).alias(name))

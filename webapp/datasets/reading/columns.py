"""What each column holds."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import polars as pl

from webapp.datasets.reading import Column
from webapp.datasets.reading.staging import beginnings

MOST_LABELS = 1_000
MOST_VALUES = 50_000  # of all histograms together, as they travel in the report
EXAMPLES = 3
LOOKED_AT = 500  # characters of a cell that tell its kind
NUMBER = r"^\s*[-+]?(\d+|\d{1,3}([,. ]\d{3})+)([.,]\d+)?([eE][-+]?\d+)?\s*%?\s*$"
DATE = (  # 2009-05-11T03:17, 11. May 2009, Mon May 11 03:17:00 UTC 2009
    r"(?i)^\s*(\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([T ]\d{1,2}:\d{2}.*)?"
    r"|((mon|tue|wed|thu|fri|sat|sun)[a-z]*[.,]?\s+)?(\d{1,2}(st|nd|rd|th)?[\s./-]+)?"
    r"(jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)(uary|ruary|ch|il|ust|ember|ober)?[\s.,/-]+\d{1,4}"
    r"([\s:.,+/-]|\d|st|nd|rd|th|at|[ap]m|\(?[A-Z]{2,5}\)?)*)\s*$"
)
SENTENCE = r"^\s*(\S+\s+){4}\S"  # five words,
UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
LONG = 16  # or so many letters of scripts without blanks between words
NO_SENTENCE = r"^\s*(https?://\S+$|\[\s*[\[{\"'\d-]|\{\s*[\"'])"  # an address, a list, a record
PART_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "训练": "train",
    "验证": "validation",
    "测试": "test",
}
SPLIT_HINTS = ("split", "part", "fold", "subset", "set", "partition", "数据集")


def describe(rows: pl.LazyFrame, originals: dict[str, str], labels: Collection[str] = ()) -> list[Column]:
    """What each column holds; which role it plays is told in roles.py. Of `labels` the file itself says that they are labels."""
    names = [n for n in rows.collect_schema().names() if n not in {"_row", "_part", "_file"}]
    facts = (
        rows.select(expression for i, name in enumerate(names) for expression in measures(i, name))
        .collect(engine="streaming")
        .row(0, named=True)
    )
    few = beginnings(rows.select(pl.col(names).str.strip_chars()), 5_000, LOOKED_AT)
    found = [column(i, name, facts, few, rows, originals) for i, name in enumerate(names)]
    return within_room([replace(each, is_label=True) if each.name in labels else each for each in found])


def within_room(columns: list[Column]) -> list[Column]:
    """Histograms while there is room, the short ones first: a table may have 2,000 columns of 1,000 values."""
    room, kept = MOST_VALUES, set()
    for column in sorted(columns, key=lambda c: len(c.histogram)):
        room -= len(column.histogram)
        if room >= 0:
            kept.add(column.name)
    return [c if c.name in kept else replace(c, histogram=[]) for c in columns]


def measures(i: int, name: str) -> list[pl.Expr]:
    cell = pl.col(name).str.strip_chars()
    full = cell != ""
    return [
        (~full).sum().alias(f"{i}.missing"),
        pl.col(name).hash().n_unique().alias(f"{i}.distinct"),
        pl.col(name).filter(full).str.len_chars().mean().alias(f"{i}.chars"),
    ]


def column(i: int, name: str, facts: dict[str, Any], few: pl.DataFrame, rows: pl.LazyFrame, originals: dict[str, str]) -> Column:
    cells = few[name].str.strip_chars()
    full = cells.filter(cells != "")
    distinct = int(facts[f"{i}.distinct"]) - (1 if facts[f"{i}.missing"] else 0)
    kind = "empty" if not full.len() else "number" if share(full, NUMBER) > 0.95 else "date" if share(full, DATE) > 0.95 else "text"
    histogram: list[dict[str, Any]] = []
    if 0 < distinct <= MOST_LABELS and (facts[f"{i}.chars"] or 0) <= 100:
        counted = rows.group_by(pl.col(name).alias("name")).agg(pl.len().alias("rows")).collect(engine="streaming")
        histogram = counted.sort("rows", "name", descending=[True, False]).to_dicts()
    return Column(
        name=name,
        original=originals.get(name, name),
        type=kind,
        missing=int(facts[f"{i}.missing"]),
        distinct=max(0, distinct),
        mean_chars=round(float(facts[f"{i}.chars"] or 0), 1),
        examples=[value[:200] for value in full.unique(maintain_order=True).head(EXAMPLES)],
        histogram=histogram,
        prose=prose(full),
    )


def prose(cells: pl.Series) -> float:
    """Share of the cells that read as sentences, rather than names, addresses, dates or records."""
    long = cells.str.contains(SENTENCE) | (cells.str.count_matches(UNSPACED) >= LONG)
    return int((long & ~cells.str.contains(NO_SENTENCE) & ~cells.str.contains(DATE)).sum()) / max(1, cells.len())


def share(cells: pl.Series, pattern: str) -> float:
    """Part of the cells that match, from 0 to 1."""
    return int(cells.str.contains(pattern).sum()) / max(1, cells.len())


def part_of(value: str) -> str:
    """train, validation or test, when the value is a name for one of them ("dev", "oos_val"); else empty."""
    named = {PART_NAMES[word] for word in re.split(r"[\W_]+", value.strip().lower()) if word in PART_NAMES}
    return named.pop() if len(named) == 1 and len(value) <= 30 else ""


def is_split(column: Column) -> bool:
    if all(h["rows"] == 1 for h in column.histogram):
        return False  # every row has one of its own, as the paths of files are
    named = {part_of(h["name"]) for h in column.histogram}
    return bool(named) and "" not in named and (len(named) > 1 or column.name.lower() in SPLIT_HINTS)

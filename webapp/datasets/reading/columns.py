"""What each column holds, and which of them plays which role."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import polars as pl

from webapp.datasets.reading import SPLIT, Column, FileReport, ReadingError
from worker.nlp import Task
from worker.spec import Role

MOST_LABELS = 1_000
MOST_VALUES = 50_000  # of all histograms together, as they travel in the report
EXAMPLES = 3
NUMBER = r"^\s*[-+]?(\d+|\d{1,3}([,. ]\d{3})+)([.,]\d+)?([eE][-+]?\d+)?\s*%?\s*$"
DATE = r"^\s*\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([T ]\d{1,2}:\d{2}.*)?\s*$"
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
EAST_ASIAN = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"


def describe(rows: pl.LazyFrame, task: Task, has_parts: bool, originals: dict[str, str]) -> list[Column]:
    names = [n for n in rows.collect_schema().names() if n not in {"_row", "_part"}]
    facts = (
        rows.select(expression for i, name in enumerate(names) for expression in measures(i, name))
        .collect(engine="streaming")
        .row(0, named=True)
    )
    few = rows.head(5_000).collect()
    columns = [column(i, name, facts, few, rows, originals) for i, name in enumerate(names)]
    total = int(facts["rows"]) if "rows" in facts else few.height
    return with_roles(within_room(columns), task, total, has_parts)


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
        *([pl.len().alias("rows")] if i == 0 else []),
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
    )


def share(cells: pl.Series, pattern: str) -> float:
    """Part of the cells that match, from 0 to 1."""
    return int(cells.str.contains(pattern).sum()) / max(1, cells.len())


def with_roles(columns: list[Column], task: Task, rows: int, has_parts: bool) -> list[Column]:
    """Each role goes to the best column that is still free: labels first, they are the most recognisable."""
    taken: dict[str, tuple[str, str]] = {}
    if not has_parts and (split := next((c for c in columns if is_split(c)), None)):
        taken[split.name] = (SPLIT, "its values are names of parts: " + ", ".join(h["name"] for h in split.histogram[:3]))
    for role in sorted(task.roles, key=lambda r: not r.is_label):
        texts = {hint for other in task.roles if role.is_label and not other.is_label for hint in other.hints}
        free = [c for c in columns if c.name not in taken and c.type != "empty" and c.name.strip().lower() not in texts]
        rated = [(fit(c, role, rows), c) for c in free]
        best = max(rated, key=lambda pair: pair[0][0], default=None)
        if best and best[0][0] > 0:
            taken[best[1].name] = (role.name, best[0][1])
    return [Column(**{**c.__dict__, "role": taken[c.name][0], "reason": taken[c.name][1]}) if c.name in taken else c for c in columns]


def part_of(value: str) -> str:
    """train, validation or test, when the value is a name for one of them ("dev", "oos_val"); else empty."""
    named = {PART_NAMES[word] for word in re.split(r"[\W_]+", value.strip().lower()) if word in PART_NAMES}
    return named.pop() if len(named) == 1 and len(value) <= 30 else ""


def is_split(column: Column) -> bool:
    values = {h["name"] for h in column.histogram}
    return bool(values) and all(part_of(value) for value in values) and (len(values) > 1 or column.name.lower() in SPLIT_HINTS)


def fit(column: Column, role: Role, rows: int) -> tuple[float, str]:
    """(how well, why). Zero or less: not at all."""
    name = re.sub(r"[\s_.]*\d*$", "", column.name.strip().lower())
    last = name.rsplit(".", 1)[-1]
    words = re.split(r"[\s_.\-]+", name)
    strong, weak = ([at for at, h in enumerate(role.hints) if h in where] for where in ((name, last), words))
    hinted = (3.0 if strong else 1.0) - min(strong or weak) / 100 if strong or weak else 0.0  # the first hints are the surest
    called = f'called "{column.name}"' if hinted else ""
    if role.is_label:
        if column.distinct > 0.5 * rows + 5 or column.distinct > MOST_LABELS:
            return (hinted - 1.5, f"{called}, though nearly every row has a value of its own") if strong else (-1.0, "")
        short = column.mean_chars <= 40
        score = hinted + (1.0 if short else -1.5) + (0.5 if 2 <= column.distinct <= 20 else 0.0)
        score -= 1.0 if column.type in {"number", "date"} and not hinted and column.distinct > 20 else 0.0
        score -= 2.0 if last in {"id", "ids", "no", "nr", "index", "key"} else 0.0
        score -= 0.5 if column.distinct < 2 else 0.0
        score -= column.missing / max(1, rows)
        about = f"{column.distinct:,} distinct {'value' if column.distinct == 1 else 'values'}" + (", short" if short else "")
        return score - (0.0 if hinted else 0.9), "; ".join(filter(None, (called, about)))
    if column.type != "text" and not hinted:
        return (-1.0, "")
    long = min(column.mean_chars, 400.0) / 100 + (0.3 if column.distinct > 0.5 * rows else -0.3)
    about = f"the longest texts, {column.mean_chars:.0f} characters on average" if column.mean_chars > 20 else ""
    return hinted + long, "; ".join(filter(None, (called, about)))


def refuse_other_tasks(rows: pl.LazyFrame, columns: list[Column], task: Task, files: list[FileReport]) -> None:
    """A clear word now for what only later tasks can use."""
    needed = [role.label for role in task.roles if role.required]
    mapped = {c.role for c in columns}
    full = [c for c in columns if c.type != "empty"]
    name = files[0].name
    if len(full) < len(needed):
        has = "has only one column" if len(columns) == 1 else f"has {len(full) or 'no'} column{'s'[: len(full) != 1]} with anything in it"
        text = f"{name} {has}; {task.title.lower()} needs {len(needed)}: {' and '.join(needed).lower()}."
        if files[0].format == "lines":
            text = f"Each line of {name} is one text without a label; {task.title.lower()} needs a text and a label in each row. "
            text += "If it is one side of a translation, that task comes later."
        raise ReadingError("one_column", text, file=name)
    if all(role.name in mapped for role in task.roles if role.required):
        return
    texts = [c.name for c in full if c.type == "text" and c.distinct > 2]
    if len(texts) < 2:
        return
    few = rows.select(texts).head(1_000).collect()
    shares = [share(few[t], EAST_ASIAN) for t in texts]
    if max(shares) > 0.6 and min(shares) < 0.4:
        first, second = texts[0], texts[shares.index(max(shares[1:]))] if shares[0] < 0.5 else texts[1]
        text = f"{name} looks like pairs of sentences in two languages ({first} and {second}) for translation. That task comes later; "
        raise ReadingError("other_task", text + "for classification bring texts with one label each.", file=name)

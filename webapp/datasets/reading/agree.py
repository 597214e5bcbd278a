"""Tables that shall become one. Where one lacks a column that the rows are learnt by, it is left out: nothing could be learnt from
it or measured on it. Where it lacks any other, that column is empty there. Either is said, and a person confirms it."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from webapp.datasets.reading import SPLIT, FileReport, Finding, roles, templates
from webapp.datasets.reading import columns as columns_of
from webapp.datasets.reading.staging import Desk
from worker.nlp import KINDS

Table = tuple[FileReport, Desk]
FEW = 5  # in one sentence


@dataclass
class Settled:
    base: str  # the title of the table that the others are held against
    stay: list[Table]
    left_out: dict[str, list[str]] = field(default_factory=dict)  # by title, the columns that it lacks
    filled: dict[str, list[str]] = field(default_factory=dict)

    def keeps(self, desk: Desk) -> bool:
        return any(desk is stays for _, stays in self.stay)

    def why_left_out(self) -> str:
        title, names = next(iter(self.left_out.items()))
        has = f"{title} has no column {quoted(names)}, which {self.base} has"
        return f"{has}: nothing can be learnt from its rows or measured on them."

    def about_filled(self) -> list[Finding]:
        return [
            Finding(
                "other_columns",
                f"{title} has no column {quoted(names)}, which {self.base} has: it stays empty there.",
                count=len(names),
                column=f"{title}: {names[0]}",
                asks="confirmation",
            )
            for title, names in list(self.filled.items())[:FEW]
        ]


def settle(tables: list[Table], slug: str, wanted: dict[str, str]) -> Settled:
    """What becomes of tables of which some lack columns. `slug` is the task, empty where nobody has said it; `wanted` the mapping,
    if somebody has."""
    base = base_of(tables)
    model = next(table for table in tables if frozenset(table[1].originals) == base)
    if all(base <= desk.originals.keys() for _, desk in tables):
        return Settled(model[0].title, tables)
    needed, settled = learnt_by(model, slug, wanted), Settled(model[0].title, [])
    for file, desk in tables:
        lacking = [name for name in model[1].originals if name not in desk.originals]
        if needed & set(lacking) or not base & desk.originals.keys():
            settled.left_out[file.title] = [name for name in lacking if name in needed] or lacking
            continue
        settled.stay.append((file, desk))
        for name in lacking:
            fill(desk, name)
        if lacking:
            settled.filled[file.title] = lacking
    return settled


def base_of(tables: list[Table]) -> frozenset[str]:
    """The columns of the training rows, or else of the most rows."""
    rows = dict[frozenset[str], int]()
    for file, desk in tables:
        columns = frozenset(desk.originals)
        rows[columns] = rows.get(columns, 0) + file.rows_read + (1 << 40 if file.part == "train" else 0)
    return max(rows, key=rows.__getitem__)


def learnt_by(table: Table, slug: str, wanted: dict[str, str]) -> set[str]:
    """The columns that have a role, as somebody said or else as the table itself suggests."""
    file, desk = table
    rows = pl.scan_parquet(file.staged, glob=False).with_columns(pl.lit(file.part).alias("_part"), pl.lit(file.title).alias("_file"))
    if wanted:
        return templates.sources(wanted, list(desk.originals)) - {wanted.get(SPLIT, "")}
    columns = columns_of.describe(rows, originals=desk.originals, labels=desk.labels)
    task = KINDS[slug] if slug else roles.guess(columns, rows, file.rows_read, False).task
    found = roles.with_roles(columns, task, file.rows_read, False)
    mapping, _joined = roles.templated({c.role: c.name for c in found if c.role and c.role != SPLIT}, found, task)
    return templates.sources(mapping, [c.name for c in found])


def fill(desk: Desk, name: str) -> None:
    """One more column, without anything in it."""
    wider = desk.staged_path.with_suffix(".told")
    table = pl.scan_parquet(desk.staged_path, glob=False).with_columns(pl.lit("").alias(name))
    table.sink_parquet(wider, compression="zstd")
    wider.replace(desk.staged_path)
    desk.originals[name] = name


def quoted(names: list[str], most: int = FEW) -> str:
    return ", ".join(f"“{name[:80]}”" for name in names[:most])

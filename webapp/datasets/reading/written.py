"""Cells of a table in which a record is written down, in JSON or in Python's notation: they are read as that record's columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from webapp.datasets.reading import shapes
from webapp.datasets.reading.json_records import FIRST, Record
from webapp.datasets.reading.several import labels_in
from webapp.datasets.reading.values import opened

MOSTLY = 0.9  # of the cells of a column hold a record
FEWEST = 3  # cells with one; fewer are an oddity


def columns_of(table: pl.LazyFrame, depth: int) -> list[str] | None:
    """The columns to be read as records, none where only the shape of the rows is known; None where the table is as it should be."""
    head = table.head(FIRST).collect()
    names = [name for name in head.columns if name != "_row" and head[name].str.contains(r"^\s*[\[{]").any()]
    inside = {name: [opened(cell, depth) for cell in head[name]] for name in names}
    written = [name for name in names if holds_records(inside[name], head[name])]
    columns = {name: head[name].to_list() for name in head.columns if name != "_row"}
    whole = {name: [cell if value is None else value for cell, value in zip(columns[name], inside[name], strict=True)] for name in names}
    records = [dict(zip(columns, row, strict=True)) for row in zip(*(columns | whole).values(), strict=True)]
    return written if written or shapes.recognised(records).title else None


def holds_records(values: list[Any], cells: pl.Series) -> bool:
    full = int((cells.str.strip_chars() != "").sum())
    return sum(map(is_record, values)) >= max(FEWEST, MOSTLY * full)


def is_record(value: Any) -> bool:
    """An object, or a list of objects; what labelling tools put into a cell, {"choices": [..]}, is no record but labels."""
    return (isinstance(value, dict) and labels_in(value) is None) or (bool(value) and value == shapes.dicts(value))


def records(table: pl.LazyFrame, columns: list[str], depth: int) -> Iterator[tuple[int, Record]]:
    for frame in table.collect_batches(maintain_order=True):
        for record in frame.iter_rows(named=True):
            number = record.pop("_row")
            for name in columns:
                inside = opened(record[name], depth)
                if is_record(inside):
                    record[name] = inside
                elif not record[name].strip():
                    del record[name]
            yield number, record

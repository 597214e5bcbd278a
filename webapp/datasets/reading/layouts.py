"""Where the records of a JSON document lie: in a list, beside each other, by key, or below a key, as many programs have it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from webapp.datasets.reading import header, hub

ROW_NUMBER = re.compile(r"-?\d+")
FEWEST = 10  # bare values by key that are a table; fewer are one record
MORE = 3  # times as many rows as columns, where names alone do not tell rows from columns
DEEP = 4


@dataclass(frozen=True)
class Laid:
    """The records of a document. `title` names the program that lays them out so, `labels` are columns that the file calls labels."""

    records: list[Any]
    title: str = ""
    labels: tuple[str, ...] = ()
    cut: str = ""  # what of the data is not in this file


def laid_out(value: Any, level: int = 0) -> Laid | None:
    """None where there is no list of records."""
    if isinstance(value, list):
        return Laid(value) if any(isinstance(item, dict | list) for item in value[:100]) or level == 0 else None
    if not isinstance(value, dict) or level > DEEP or not value:
        return None
    return next((found for layout in LAYOUTS if (found := layout(value, level))), None)


def named_by_first(laid: Laid) -> Laid:
    """Lists of cells of which the first names the columns."""
    first, *others = laid.records or [None]
    if not (isinstance(first, list) and len(first) > 1 and all(isinstance(cell, str) for cell in first) and others):
        return laid
    if len({cell.strip().lower() for cell in first} & header.known_names()) < len(first) / 2 or not all(
        isinstance(o, list) for o in others
    ):
        return laid
    return replace(laid, records=[dict(zip(first, cells, strict=False)) for cells in others], title="lists of cells below a list of names")


def of_the_hub(value: dict[str, Any], _level: int) -> Laid | None:
    """What the datasets server answers: {"features": [{"name", "type"}], "rows": [{"row_idx", "row"}]}."""
    rows = value.get("rows")
    if not (isinstance(rows, list) and rows and all(isinstance(r, dict) and isinstance(r.get("row"), dict) for r in rows[:50])):
        return None
    listed = value.get("features")
    features = {str(f.get("name")): f.get("type") for f in listed if isinstance(f, dict)} if isinstance(listed, list) else {}
    names = hub.class_names(features)
    whole = [r for r in rows if isinstance(r, dict) and isinstance(r.get("row"), dict)]
    records = [hub.named(r["row"], names) for r in whole]
    cut, total = "", value.get("num_rows_total")
    if short := sum(bool(r.get("truncated_cells")) for r in whole):
        cut = f"{short:,} of its rows have cells that the server cut short"
    elif isinstance(total, int) and total > len(rows):
        cut = f"it holds {len(rows):,} of {total:,} rows"
    return Laid(records, "rows of the Hugging Face datasets server", tuple(names), cut)


def split(value: dict[str, Any], _level: int) -> Laid | None:
    """{"columns": [..], "index": [..], "data": [[..], ..]}."""
    names, rows = value.get("columns"), value.get("data")
    if not (isinstance(names, list) and isinstance(rows, list) and all(isinstance(row, list) for row in rows[:50])):
        return None
    if any(isinstance(name, dict) for name in names):
        return None
    called = [" ".join(map(str, name)) if isinstance(name, list) else str(name) for name in names]
    return Laid([dict(zip(called, row, strict=False)) for row in rows if isinstance(row, list)], "a table by pandas (orient split)")


def table(value: dict[str, Any], _level: int) -> Laid | None:
    """{"schema": {"fields": [..], "primaryKey": ["index"]}, "data": [{..}, ..]}."""
    schema, rows = value.get("schema"), value.get("data")
    if not (isinstance(schema, dict) and isinstance(schema.get("fields"), list) and isinstance(rows, list)):
        return None
    key = schema.get("primaryKey")
    index = str(key[0]) if isinstance(key, list) and len(key) == 1 else ""
    counts = index and all(isinstance(row, dict) and row.get(index) == at for at, row in enumerate(rows))
    records = [{name: cell for name, cell in row.items() if name != index} for row in rows] if counts else rows
    return Laid(records, "a table by pandas (orient table)")


def columns_by_row(value: dict[str, Any], _level: int) -> Laid | None:
    """{column: {row: cell}}, which is what pandas writes when it is not told otherwise; {row: {column: cell}} is its other way round."""
    inner = list(value.values())
    if not all(isinstance(each, dict) and each for each in inner):
        return None
    keys = list(inner[0])
    if any(each.keys() != inner[0].keys() for each in inner):
        return None
    by_column, by_row = (all(ROW_NUMBER.fullmatch(key) for key in names) for names in (keys, value))
    if by_row and not (by_column and len(keys) > len(value)):
        return Laid(inner, "a table by pandas (orient index)")
    if not by_column and (len(keys) < MORE * len(value) or not all(map(of_one_kind, inner))):
        return None
    cells = [list(each.values()) for each in inner]
    return Laid([dict(zip(value, row, strict=True)) for row in zip(*cells, strict=True)], "a table by pandas (orient columns)")


def of_one_kind(column: dict[str, Any]) -> bool:
    """As the cells of a column are."""
    kinds = {type(cell) for cell in column.values() if cell is not None}
    return len(kinds) <= 1 and dict not in kinds


def columns(value: dict[str, Any], _level: int) -> Laid | None:
    """{column: [cells]}."""
    lists = {key: v for key, v in value.items() if isinstance(v, list) and v}
    lengths = {len(v) for v in lists.values()}
    if len(lists) < 2 or len(lengths) != 1 or lengths == {1} or not any(is_bare(v) for v in lists.values()):
        return None
    return Laid([dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)])


def is_bare(cells: list[Any]) -> bool:
    return not any(isinstance(cell, dict | list) for cell in cells[:50])


def parts(value: dict[str, Any], _level: int) -> Laid | None:
    """Lists of records: one, or several by part, such as {"train": [..], "test": [..]}."""
    lists = {key: v for key, v in value.items() if isinstance(v, list) and v and isinstance(v[0], dict | list)}
    if len(lists) > 1:
        return Laid([{**as_record(record), "split": key} for key, v in lists.items() for record in v])
    return Laid(next(iter(lists.values()))) if lists else None


def by_key(value: dict[str, Any], _level: int) -> Laid | None:
    """{key: record}, or many {text: label}."""
    inner = [v for v in value.values() if isinstance(v, dict)]
    if len(inner) > 1 and len(inner) == len(value) and len({tuple(sorted(v)) for v in inner[:50]}) <= len(inner[:50]) / 2:
        return Laid([{"key": key, **v} for key, v in value.items()])
    if len(value) >= FEWEST and not any(isinstance(v, dict | list) for v in value.values()):
        return Laid([{"key": key, "value": v} for key, v in value.items()])
    return None


def below(value: dict[str, Any], level: int) -> Laid | None:
    found = [laid for v in value.values() if isinstance(v, dict) and (laid := laid_out(v, level + 1))]
    return max(found, key=lambda laid: len(laid.records)) if found else None


LAYOUTS: tuple[Callable[[dict[str, Any], int], Laid | None], ...] = (
    of_the_hub,
    split,
    table,
    columns_by_row,
    columns,
    parts,
    by_key,
    below,
)


def as_record(value: Any) -> dict[str, Any]:
    """A pair or a longer list is a record of columns without names; a bare value has one column."""
    if isinstance(value, dict):
        return value
    cells = value if isinstance(value, list) else [value]
    return {f"column_{number}": cell for number, cell in enumerate(cells, 1)}

"""What data sets of the Hugging Face hub say about themselves: the names of classes that stand as numbers in the rows."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from webapp.datasets.reading import Finding
from webapp.datasets.reading.staging import Desk

Names = dict[str, list[str]]  # dotted column: the names of its classes, by number


def class_names(features: Any, prefix: str = "") -> Names:
    """The classes of each column of labels, lists of labels included."""
    found: Names = {}
    if isinstance(features, list):  # as the cards of data sets have them
        features = {str(f["name"]): f.get("dtype", f) for f in features if isinstance(f, dict) and "name" in f}
    for name, feature in features.items() if isinstance(features, dict) else ():
        if names := names_of(feature):
            found[f"{prefix}{name}"] = names
        elif isinstance(feature, dict) and "_type" not in feature:
            found |= class_names(feature, f"{prefix}{name}.")
    return found


def names_of(feature: Any) -> list[str]:
    """Of ClassLabel itself, and of a list of it in the three ways in which it was written over the years."""
    if isinstance(feature, list):
        return names_of(feature[0]) if len(feature) == 1 else []
    if not isinstance(feature, dict):
        return []
    if feature.get("_type") in ("Sequence", "List", "LargeList"):
        return names_of(feature.get("feature"))
    inner = next((feature[name] for name in ("sequence", "list") if isinstance(feature.get(name), dict)), feature)
    card = inner.get("class_label")
    names = card.get("names") if isinstance(card, dict) else feature.get("names") if feature.get("_type") == "ClassLabel" else None
    names = list(names.values()) if isinstance(names, dict) else names
    return [str(name) for name in names] if isinstance(names, list) else []


def of_metadata(text: str | bytes | None) -> Names:
    """From the entry `huggingface` of a file's metadata, or the text of dataset_info.json."""
    try:
        known = json.loads(text or "{}")
        features = known.get("info", known).get("features")
    except (ValueError, AttributeError, RecursionError):
        return {}
    return class_names(features)


def name_for(value: Any, names: list[str]) -> Any:
    """-1 stands for "not told"; a number without a name stays as it is."""
    if isinstance(value, list):
        return [name_for(each, names) for each in value]
    number = value if isinstance(value, int) and not isinstance(value, bool) else None
    return value if number is None or number >= len(names) or number < -1 else "" if number == -1 else names[number]


def named(record: dict[str, Any], names: Names, prefix: str = "") -> dict[str, Any]:
    """A record with the names of its classes."""
    return {
        key: named(cell, names, f"{prefix}{key}.")
        if isinstance(cell, dict)
        else name_for(cell, names[f"{prefix}{key}"])
        if f"{prefix}{key}" in names
        else cell
        for key, cell in record.items()
    }


def with_names(table: pl.LazyFrame, classes: Names, desk: Desk) -> pl.LazyFrame:
    """The same for the columns of a table, lists and objects included."""
    schema = table.collect_schema()
    named = {name: column for name in schema if (column := naming(name, schema[name], classes)) is not None}
    for name in classes:
        if any(name == column or name.startswith(f"{column}.") for column in named):
            desk.labels.add(name)
            text = f"The names of the classes in {name} were taken from {desk.name} itself: {', '.join(classes[name][:10])}."
            desk.findings.append(Finding("class_names", text, "info", len(classes[name]), name))
    return table.with_columns(named.values())


def naming(path: str, kind: Any, classes: Names, cell: pl.Expr | None = None) -> pl.Expr | None:
    """Numbers of classes by name; None where there is nothing to name."""
    cell = pl.col(path) if cell is None else cell
    if isinstance(kind, pl.Struct):
        inner = {f.name: naming(f"{path}.{f.name}", f.dtype, classes, cell.struct.field(f.name)) for f in kind.fields}
        named = [column.alias(name) for name, column in inner.items() if column is not None]
        return cell.struct.with_fields(*named).alias(path) if named else None
    if path not in classes:
        return None
    if isinstance(kind, pl.List):
        return cell.list.eval(words(pl.element(), classes[path])).alias(path) if kind.inner.is_integer() else None  # type: ignore[attr-defined]
    return words(cell, classes[path]).alias(path) if kind.is_integer() else None


def words(numbers: pl.Expr, names: list[str]) -> pl.Expr:
    known = {-1: "", **dict(enumerate(names))}
    return numbers.cast(pl.Int64).replace_strict(known, default=numbers.cast(pl.String), return_dtype=pl.String)

"""What data sets of the Hugging Face hub say about themselves: the names of classes that stand as numbers in the rows."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

Names = dict[str, list[str]]  # dotted column: the names of its classes, by number


def class_names(features: Any, prefix: str = "") -> Names:
    """The classes of each column of labels, lists of labels included."""
    found: Names = {}
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
    if feature.get("_type") in {"Sequence", "List", "LargeList"}:
        return names_of(feature.get("feature"))
    names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
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


def naming(column: str, kind: pl.DataType, names: list[str]) -> pl.Expr | None:
    """The same for a column of numbers, or of lists of numbers, in a table; None for any other column."""
    is_list = isinstance(kind, pl.List | pl.Array)
    inner = kind.inner if isinstance(kind, pl.List | pl.Array) else kind
    if not isinstance(inner, pl.DataType) or not inner.is_integer():
        return None
    known = {-1: "", **dict(enumerate(names))}

    def words(numbers: pl.Expr) -> pl.Expr:
        return numbers.cast(pl.Int64).replace_strict(known, default=numbers.cast(pl.String), return_dtype=pl.String)

    cell = pl.col(column)
    return (cell.list.eval(words(pl.element())) if is_list else words(cell)).alias(column)

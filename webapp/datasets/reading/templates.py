"""One text made of several columns: in a mapping, "{instruction}\\n\\n{input}" may stand where a column's name stands.

A paragraph, or a line of one, in which all columns are empty is left out: an empty input leaves no blank lines behind.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

FIELD = re.compile(r"\{([^{}]+)\}")
LONGEST = 4_000  # characters
MOST = 20  # columns


def of(columns: list[str]) -> str:
    return "\n\n".join(f"{{{name}}}" for name in columns)


def is_template(source: str, columns: Collection[str]) -> bool:
    """A column that is called so goes first."""
    return source not in columns and bool(FIELD.search(source))


def fields(template: str) -> list[str]:
    return FIELD.findall(template)


def sources(mapping: Mapping[str, str], columns: Collection[str]) -> set[str]:
    """The columns that a mapping uses, alone or in a template."""
    return {name for source in mapping.values() for name in (fields(source) if is_template(source, columns) else [source])}


def problem(template: str, columns: Collection[str]) -> str:
    """What is wrong with it, as a sentence; empty when it can be used."""
    names = fields(template)
    unknown = [name for name in names if name not in columns]
    if unknown:
        return f"The template names {{{unknown[0][:80]}}}. The file has {', '.join(f'{{{name}}}' for name in list(columns)[:20])}."
    if twice := next((name for name in names if names.count(name) > 1), ""):  # else a few bytes would become gigabytes
        return f"The template names {{{twice[:80]}}} twice. Name each column once."
    if len(template) > LONGEST or len(names) > MOST:
        return f"The template is too long. It may have {LONGEST:,} characters and {MOST} columns."
    return ""


def with_made(rows: pl.LazyFrame, mapping: Mapping[str, str]) -> pl.LazyFrame:
    """Each template of the mapping as a column that is called as it is written."""
    columns = rows.collect_schema().names()
    return rows.with_columns(made(source) for source in mapping.values() if is_template(source, columns) and not problem(source, columns))


def shown(template: str, row: Mapping[str, str | None]) -> str:
    """What it makes of one row; nothing where it cannot be used."""
    import polars as pl

    if not fields(template) or problem(template, row.keys()):
        return ""
    cells = {name: [row[name] or ""] for name in fields(template)}
    return str(pl.DataFrame(cells, schema=dict.fromkeys(cells, pl.String)).select(made(template)).item())


def made(template: str) -> pl.Expr:
    import polars as pl

    paragraphs = [_paragraph(each) for each in re.split(r"\n[ \t]*\n\s*", template.strip())]
    text = pl.concat_str(paragraphs, separator="\n\n", ignore_nulls=True).str.strip_chars()
    return pl.when(_any_of(template)).then(text).otherwise(pl.lit("")).alias(template)


def _paragraph(text: str) -> pl.Expr:
    import polars as pl

    lines = [
        _unless_empty(line, pl.concat_str([pl.lit(part) if at % 2 == 0 else pl.col(part) for at, part in enumerate(FIELD.split(line))]))
        for line in text.split("\n")
    ]
    return _unless_empty(text, pl.concat_str(lines, separator="\n", ignore_nulls=True))


def _unless_empty(template: str, text: pl.Expr) -> pl.Expr:
    import polars as pl

    return pl.when(_any_of(template)).then(text) if fields(template) else text


def _any_of(template: str) -> pl.Expr:
    import polars as pl

    return pl.any_horizontal(pl.col(name).str.strip_chars() != "" for name in fields(template))

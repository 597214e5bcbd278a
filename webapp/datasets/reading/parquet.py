"""Parquet. The footer is read first, by ourselves, so that nothing is unfolded on the word of a stranger."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from webapp.datasets.reading import MIB, Finding, hub
from webapp.datasets.reading.staging import Desk, size_of

FOOTER = 16 * MIB
LEAST_TEXT = 512 * MIB  # bytes of text that any file may unfold to
GROUP = 1024 * MIB  # bytes of one row group after unpacking
CODEC_RATIO = 2_000  # zstd and dictionaries shrink repetitive columns a lot, but not without end


class Thrift:
    """The compact protocol, just enough to look at a footer: {field id: value}. Raises ValueError on nonsense."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.left = data, 0, 5_000_000

    def byte(self) -> int:
        self.left -= 1
        if self.at >= len(self.data) or self.left < 0:
            raise ValueError("footer cut short")
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        value, shift = 0, 0
        while True:
            b = self.byte()
            value |= (b & 127) << shift
            if b < 128:
                return value
            shift += 7
            if shift > 70:
                raise ValueError("number too long")

    def zigzag(self) -> int:
        n = self.varint()
        return (n >> 1) ^ -(n & 1)

    def value(self, kind: int, depth: int = 0) -> Any:
        if depth > 16:
            raise ValueError("footer too deep")
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self.byte()
        if kind in (4, 5, 6):
            return self.zigzag()
        if kind == 7:
            self.at += 8
            return None
        if kind == 8:
            size = self.varint()
            self.at += size
            return self.data[self.at - size : self.at]
        if kind in (9, 10):
            head = self.byte()
            size = head >> 4 if head >> 4 < 15 else self.varint()
            if size > len(self.data):
                raise ValueError("list too long")
            return [self.byte() == 1 if head & 15 in (1, 2) else self.value(head & 15, depth + 1) for _ in range(size)]
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError(f"unknown type {kind}")

    def struct(self, depth: int = 0) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        last = 0
        while (head := self.byte()) != 0:
            last = last + (head >> 4) if head >> 4 else self.zigzag()
            fields[last] = self.value(head & 15, depth)
        return fields


def check_footer(path: Path, desk: Desk) -> int:
    """The declared number of rows, once all that the footer declares is within the limits."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            file.seek(-8, 2)
            length, magic = struct.unpack("<I4s", file.read(8))
            if magic != b"PAR1" or length > min(size - 12, FOOTER):
                raise ValueError("no footer")
            file.seek(-8 - length, 2)
            meta = Thrift(file.read(length)).struct()
        rows, groups = int(meta[3]), meta.get(4, [])
        columns = sum(1 for element in meta[2] if not element.get(5))
        unfolded = [int(group[2]) for group in groups]
        counted = sum(int(group[3]) for group in groups)
        if rows < 0 or counted != rows or any(n < 0 for n in unfolded):
            raise ValueError("numbers that do not fit together")
    except (ValueError, KeyError, TypeError, AttributeError, OSError, struct.error, IndexError):
        raise desk.fail("damaged", f"{desk.name} is a damaged Parquet file. Write it again.") from None
    limits = desk.limits
    if columns > limits.columns:
        raise desk.fail("too_many_columns", f"{desk.name} has {columns:,} columns; at most {limits.columns:,} can be read.")
    if rows > limits.rows:
        raise desk.fail("bomb", f"{desk.name} declares {rows:,} rows; at most {limits.rows:,} can be read. Upload a part of it.")
    if max(unfolded, default=0) > GROUP or sum(unfolded) > min(4 * limits.plain, max(CODEC_RATIO * size, 64 * MIB)):
        raise desk.fail(
            "bomb", f"{desk.name} would unfold to {sum(unfolded) // MIB:,} MB. Write it in smaller row groups, or upload a part."
        )
    return rows


def table(path: Path, desk: Desk) -> tuple[pl.LazyFrame, int]:
    """(the table with the names of its classes, rows)."""
    rows = check_footer(path, desk)
    desk.most_text = max(CODEC_RATIO * path.stat().st_size, LEAST_TEXT)
    try:
        lazy = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        lazy = lazy.with_columns(decoded(name, desk) for name, kind in lazy.collect_schema().items() if kind == pl.Binary)
        return hub.with_names(lazy, hub.of_metadata(pl.read_parquet_metadata(path).get("huggingface")), desk), rows
    except pl.exceptions.PolarsError:
        raise desk.fail("damaged", f"{desk.name} is a damaged Parquet file. Write it again.") from None


def is_nested(lazy: pl.LazyFrame) -> bool:
    return any(kind.is_nested() for kind in lazy.collect_schema().dtypes())


def records(lazy: pl.LazyFrame, rows: int, desk: Desk) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, record) of a table with lists and objects in its cells, as a file of JSON would hold them."""
    schema = lazy.collect_schema()
    bare = [as_text(name, kind) for name, kind in schema.items() if kind.is_temporal() or kind == pl.Decimal]
    objects = [name for name, kind in schema.items() if isinstance(kind, pl.Struct)]
    number = 0
    for frame in batches(lazy.with_columns(bare), rows, desk):
        for record in frame.iter_rows(named=True):
            number += 1
            for name in objects:
                if record[name] is None:
                    del record[name]
            yield number, record


def frames(lazy: pl.LazyFrame, rows: int, desk: Desk) -> Iterator[pl.DataFrame]:
    """A flat table as text; `_row` counts records from 1."""
    done = 0
    for frame in batches(lazy.select(as_text(name, kind) for name, kind in lazy.collect_schema().items()), rows, desk):
        yield frame.with_row_index("_row", done + 1).with_columns(pl.col("_row").cast(pl.Int64))
        done += frame.height


def batches(lazy: pl.LazyFrame, rows: int, desk: Desk) -> Iterator[pl.DataFrame]:
    done, unfolded = 0, 0
    try:
        for frame in lazy.collect_batches(chunk_size=20_000, maintain_order=True):
            desk.progress("reading", done, rows)
            unfolded += size_of(frame)
            if unfolded > desk.most_text:  # one entry of a dictionary may stand for a million cells, of which the footer knows nothing
                text = f"{desk.name} unfolds to more than {desk.most_text // MIB:,} MB before row {done + frame.height:,}."
                raise desk.fail("bomb", f"{text} Upload it as CSV, or a part of it.")
            yield frame
            done += frame.height
    except pl.exceptions.PolarsError:
        raise desk.fail("damaged", f"{desk.name} is damaged after row {done:,}. Write it again.", done) from None


def decoded(name: str, desk: Desk) -> pl.Expr:
    """Bytes as the text that Impala and old Spark wrote without saying so; null for all others, which is told once."""

    def text_of(value: bytes) -> str | None:
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None

    def all_of(values: pl.Series) -> pl.Series:
        try:
            return values.cast(pl.String)
        except pl.exceptions.PolarsError:
            text = f"The column {name} holds bytes that are no text, such as pictures. These cells were read as empty."
            if all(finding.message != text for finding in desk.findings):
                desk.findings.append(Finding("bytes", text, "info", column=name))
            return pl.Series(values.name, [None if value is None else text_of(value) for value in values], pl.String)

    return pl.col(name).map_batches(all_of, return_dtype=pl.String)


def as_text(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if kind == pl.Duration:
        column = column.dt.to_string()
    return column.cast(pl.String, strict=False).fill_null("").str.replace_all("\0", "", literal=True).alias(name)

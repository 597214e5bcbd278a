"""What every reader leaves: a Parquet file of text columns with `_row`, and the rows that it had to reject."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from webapp.datasets.reading import MOST_PROBLEMS, ROW_GROUP, Finding, Limits, Problem, ReadingError

Progress = Callable[[str, int, int], None]
DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n")
BATCH = 20_000


@dataclass
class Desk:
    """Where one file is worked on: its limits, its problems, its rejected rows."""

    name: str
    part: str
    out: Path
    limits: Limits
    progress: Progress
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    blank: int = 0  # records without anything in their cells
    originals: dict[str, str] = field(default_factory=dict)  # unique name: name in the file
    labels: set[str] = field(default_factory=set)  # columns of which the file itself says that they hold labels
    findings: list[Finding] = field(default_factory=list)  # about the file as a whole

    def __post_init__(self) -> None:
        self._rejects = self.rejects_path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._rejects)

    @property
    def staged_path(self) -> Path:
        return self.out / f"staged-{self.part}.parquet"

    @property
    def rejects_path(self) -> Path:
        return self.out / f"rejected-{self.part}.csv"

    def name_columns(self, originals: list[str]) -> list[str]:
        names = unique_names(originals)
        self.originals = dict(zip(names, originals, strict=True))
        return names

    def note(self, problem: Problem) -> None:
        self.counts[problem.code] += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(**{**problem.__dict__, "file": self.name}))

    def reject(self, row: int, code: str, message: str, cells: Iterable[str], column: str = "") -> None:
        self.rejected += 1
        self.note(Problem(row, code, message, column))
        self._writer.writerow([row, self.name, message, *(defused(cell) for cell in cells)])

    def close(self) -> None:
        self._rejects.close()

    def fail(self, code: str, message: str, row: int | None = None) -> ReadingError:
        return ReadingError(code, message, file=self.name, row=row)


def defused(cell: str) -> str:
    """Text that a spreadsheet shows instead of running it."""
    return "'" + cell if cell.startswith(DANGEROUS) else cell


def bare_name(original: str) -> str:
    """A column's name as it is shown: without blanks around it, one between its words, of a bearable length."""
    return " ".join(original.split())[:200]


def unique_names(originals: list[str]) -> list[str]:
    """Names that tell columns apart: "text", "text_2", "column_4" for one without a name."""
    taken: set[str] = set()
    names = []
    for number, original in enumerate(originals, 1):
        base = bare_name(original) or f"column_{number}"
        base = f"column{base}" if base in {"_row", "_part", "_split"} else base
        name, again = base, 1
        while name in taken:
            again += 1
            name = f"{base}_{again}"
        taken.add(name)
        names.append(name)
    return names


def write(frames: Iterator[pl.DataFrame], columns: list[str], path: Path) -> int:
    """Stream frames of `_row` and text columns into Parquet; the number of rows."""
    schema = pl.Schema({"_row": pl.Int64(), **{name: pl.String() for name in columns}})
    done = 0

    def source(_with: list[str] | None, _where: pl.Expr | None, _n: int | None, _size: int | None) -> Iterator[pl.DataFrame]:
        nonlocal done
        for frame in frames:
            done += frame.height
            yield frame.select(schema.names())

    failure: list[BaseException] = []

    def guarded(*args: object) -> Iterator[pl.DataFrame]:
        try:
            yield from source(*args)  # type: ignore[arg-type]
        except BaseException as error:  # polars would wrap it; the real one is raised below
            failure.append(error)

    register_io_source(guarded, schema=schema, validate_schema=False, is_pure=False).sink_parquet(
        path, compression="zstd", row_group_size=ROW_GROUP
    )
    if failure:
        raise failure[0]
    return done


def frames_of(rows: Iterator[tuple[int, list[str]]], columns: list[str], size: int = BATCH) -> Iterator[pl.DataFrame]:
    """Rows of cells, as many as columns each, gathered into frames."""
    schema = {"_row": pl.Int64, **dict.fromkeys(columns, pl.String)}
    numbers: list[int] = []
    cells: list[list[str]] = []

    def frame() -> pl.DataFrame:
        values = list(zip(*cells, strict=True)) or [()] * len(columns)
        return pl.DataFrame({"_row": numbers, **dict(zip(columns, values, strict=True))}, schema=schema)

    for row, values in rows:
        numbers.append(row)
        cells.append(values)
        if len(numbers) == size:
            yield frame()
            numbers, cells = [], []
    yield frame()
